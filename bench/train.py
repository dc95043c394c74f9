"""LoRA training: tokens per second of our network in MindSpore against the same in torch + peft, same rows.

    .venv/bin/python bench/train.py [--help]
    .venv/bin/python bench/train.py --shape smollm2 --seq-length 128 --batch-size 2 [--recompute]

Both sides take one random LLaMA, with InternLM's biases or in SmolLM2's shape, the same rows, AdamW and
clipping, in float32 on all cores, in turns. Documents are as long as questions of MMLU and CMMLU (median
125, mean 153 ids); a row is one of them padded, as in the report, or several packed. The first step's loss
must be one on both sides. A useful token is one that is no padding. The first steps are apart: they build the
graph, and MindSpore's CPU kernels search for their number of threads in them (ParallelLaunchAutoSearch), one
thread for five steps. The peak of memory is that of a side's process.

Needs .venv and .venv-parity (`make parity` makes both).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
PYTHON = {"ours": ROOT / ".venv/bin/python", "torch": ROOT / ".venv-parity/bin/python"}
LAYOUTS = {"small": ("padded", "packed"), "smollm2": ("padded",)}
BOS, PAD = 1, 0
RANK, ALPHA, DROPOUT = 16, 32, 0.05
LEARNING_RATE, MAX_GRAD_NORM = 1e-4, 1.0
USEFUL, RAW = 3.0, 0.7  # targets of tokens/s: useful ones, ours packed over torch padded; raw ones, padded
MEMORY = 1.5  # target of the largest peak of memory, ours over torch, in SmolLM2's shape


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shape", choices=LAYOUTS, default="small", help="smollm2: 30 layers, 576 wide")
    parser.add_argument("--seq-length", type=int, default=1024)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--hidden-size", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--vocab-size", type=int, default=4096)
    parser.add_argument("--warmup", type=int, default=6, help="first steps, whose time is printed apart")
    parser.add_argument("--steps", type=int, default=6, help="timed steps per layout and round")
    parser.add_argument("--recompute", action="store_true", help="ours with train.recompute: layer by layer")
    parser.add_argument("--rounds", type=int, default=2, help="turns of each side")
    parser.add_argument("--side", choices=PYTHON, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(time_side(options.side, options.folder, options)))
        return
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), options)
        found = {side: [] for side in PYTHON}
        for _ in range(options.rounds):
            for side, python in PYTHON.items():
                found[side].append(run_side(python, side, Path(folder)))
        report(Path(folder), found, options)


def prepare(folder: Path, options: argparse.Namespace) -> None:
    """Write the network, in our format and in Hugging Face's, and the rows of both layouts."""
    sys.path.insert(0, str(ROOT / "src"))
    from mcqlora import files
    from mcqlora.interop.export import llama_config
    from mcqlora.interop.names import name_of
    from mcqlora.model import tensorfiles
    from mcqlora.model.architecture import Architecture, write_architecture
    from mcqlora.model.weights import save
    from mcqlora.tokens import packing
    from mcqlora.tokens.packing import Document

    if options.shape == "smollm2":
        options.hidden_size, options.layers, options.vocab_size = 576, 30, 49152
    network = Architecture(
        vocab_size=options.vocab_size,
        hidden_size=options.hidden_size,
        num_layers=options.layers,
        num_heads=max(1, options.hidden_size // 64),
        n_kv_heads=None,
        intermediate_size=options.hidden_size * 11008 // 4096,
        rms_norm_eps=1e-6,
        theta=10000.0,
        has_bias=True,
        init_std=0.02,
    )
    if options.shape == "smollm2":
        network = replace(network, n_kv_heads=3, intermediate_size=1536, has_bias=False, tied=True)
    random = np.random.default_rng(0)
    weights = {
        name: np.ones(shape, np.float32)
        if "norm" in name
        else random.normal(0, 0.05, shape).astype(np.float32)
        for name, shape in network.shapes().items()
    }
    save(weights, folder / "model.safetensors")
    write_architecture(folder, network)
    theirs = {name_of(name): value for name, value in weights.items()}
    tensorfiles.write_safetensors(
        folder / "llama" / "model.safetensors",
        {name: value.shape for name, value in theirs.items()},
        "F32",
        theirs.__getitem__,
        {"format": "pt"},
    )
    marks = {"bos_token_id": BOS, "eos_token_id": 2, "pad_token_id": PAD}
    files.write_json(
        folder / "llama" / "config.json", llama_config(network, marks, "F32", options.seq_length)
    )

    # Log-normal with the median and the mean measured on MMLU and CMMLU: exp(sigma**2 / 2) = mean / median.
    size, rows_wanted = options.seq_length + 1, options.batch_size * (options.warmup + options.steps)
    lengths = np.exp(random.normal(np.log(125), np.sqrt(2 * np.log(153 / 125)), 100 * rows_wanted))
    documents = []
    for length in np.clip(lengths, 16, size - 1).astype(int):
        ids = np.concatenate([[BOS], random.integers(6, options.vocab_size, length - 1)]).astype(np.int32)
        documents.append(Document(ids, int(0.9 * length)))
    columns = ("input_ids", "labels", "document_ids")

    def row(documents: list[Document]) -> dict[str, np.ndarray]:
        held, form = packing.Documents.of(documents), packing.RowFormat(size, PAD, "packed")
        (batch,) = packing.batches(held, packing.plan(held.lengths, size, "packed"), form)
        return {name: column[0] for name, column in batch.items()}

    padded = [row([document]) for document in documents[:rows_wanted]]
    bins = packing.best_fit_decreasing([len(document.ids) for document in documents], size)
    chosen = random.permutation(len(bins))[:rows_wanted]
    packed = [row([documents[i] for i in bins[k]]) for k in chosen]
    for layout, rows in (("padded", padded), ("packed", packed)):
        np.savez(
            folder / f"{layout}.npz", **{name: np.stack([row[name] for row in rows]) for name in columns}
        )


def run_side(python: Path, side: str, folder: Path) -> dict:
    """Times of one side, in a process of its own with its own interpreter."""
    command = [str(python), __file__, *sys.argv[1:], "--side", side, "--folder", str(folder)]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "HF_HUB_OFFLINE": "1"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)
    if result.returncode:
        sys.exit(f"{side}: {result.stderr[-3000:]}")
    return json.loads(result.stdout.splitlines()[-1])


def time_side(side: str, folder: Path, options: argparse.Namespace) -> dict:
    """{layout: {"loss": of the first step, "seconds": of each step, "peak": bytes of memory so far}}."""
    make = {"ours": mindspore_step, "torch": torch_step}[side]
    found = {}
    for layout in LAYOUTS[options.shape]:
        rows = np.load(folder / f"{layout}.npz")
        batches = [
            {name: rows[name][start : start + options.batch_size] for name in rows.files}
            for start in range(0, len(rows["input_ids"]), options.batch_size)
        ]
        step = make(folder, layout, options)
        losses, seconds = [], []
        for batch in batches:
            start = time.perf_counter()
            losses.append(step(batch))
            seconds.append(time.perf_counter() - start)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        found[layout] = {"loss": losses[0], "seconds": seconds, "peak": peak}
    return found


def mindspore_step(folder: Path, layout: str, options: argparse.Namespace):
    """Our network under our training cell, as `worker.run_worker` has MindFormers build them."""
    import mindspore as ms
    from mindformers import MindFormerConfig
    from mindformers.core.optim import AdamW
    from mindformers.models import build_network

    import mcqlora.model.decoder  # noqa: F401  (registers the network)
    from mcqlora.model.architecture import Lora, read_architecture
    from mcqlora.model.weights import read
    from mcqlora.train.step import PortableTrainOneStepCell

    ms.set_context(mode=ms.GRAPH_MODE, device_target="CPU")
    ms.set_seed(0)
    lora = Lora(rank=RANK, alpha=ALPHA, dropout=DROPOUT, target_modules=".*wq|.*wk|.*wv|.*wo")
    model = read_architecture(folder).model_config(
        options.seq_length, options.batch_size, "CPU", PAD, 2, lora
    )
    model |= {"parallel_config": {"recompute": {"recompute": options.recompute}}}
    described = {"model_config": model, "arch": {"type": "InternLMForCausalLM"}}
    network = build_network(MindFormerConfig(model=described).model)
    weights = read(folder / "model.safetensors")
    for name, parameter in network.parameters_dict().items():
        if name in weights:
            parameter.set_data(ms.Tensor(weights[name]))
    optimizer = AdamW(network.trainable_params(), learning_rate=LEARNING_RATE, weight_decay=0.01)
    cell = PortableTrainOneStepCell(
        network,
        optimizer,
        use_clip_grad=True,
        max_grad_norm=MAX_GRAD_NORM,
        scale_sense=ms.nn.DynamicLossScaleUpdateCell(16384, 2, 1000),
    )
    cell.set_train()
    names = ("input_ids", "labels") + (("document_ids",) if layout == "packed" else ())

    def step(batch) -> float:
        return float(cell(*(ms.Tensor(batch[name]) for name in names))[0].asnumpy())

    return step


def torch_step(folder: Path, layout: str, options: argparse.Namespace):
    """The same in torch; padded rows need no mask, since causal attention never looks at what follows."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaForCausalLM

    torch.manual_seed(0)
    torch.set_num_threads(os.cpu_count())
    network = LlamaForCausalLM.from_pretrained(folder / "llama", dtype=torch.float32)
    modules = ["q_proj", "k_proj", "v_proj", "o_proj"]
    lora = LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=DROPOUT, target_modules=modules)
    model = get_peft_model(network, lora).train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE, weight_decay=0.01)

    def step(batch) -> float:
        ids, labels, documents = (
            torch.from_numpy(batch[name]).long() for name in ("input_ids", "labels", "document_ids")
        )
        mask = {}
        if layout == "packed":
            document = documents[:, :-1]
            same = document[:, :, None] == document[:, None, :]
            causal = torch.ones(same.shape[-2:], dtype=torch.bool).tril()
            mask = {"attention_mask": (same & causal)[:, None]}
        logits = model(input_ids=ids[:, :-1], use_cache=False, **mask).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, MAX_GRAD_NORM)
        optimizer.step()
        return loss.item()

    return step


def report(folder: Path, found: dict[str, list[dict]], options: argparse.Namespace) -> None:
    raw, useful, warmup, peak = {}, {}, {}, {}
    for layout in LAYOUTS[options.shape]:
        share = float((np.load(folder / f"{layout}.npz")["document_ids"] > 0).mean())
        losses = [turn[layout]["loss"] for turns in found.values() for turn in turns]
        if max(losses) - min(losses) > 1e-3:
            sys.exit(f"{layout}: the first step's losses differ ({losses}): not the same network or rows")
        for side, turns in found.items():
            seconds = statistics.median(
                s for turn in turns for s in turn[layout]["seconds"][options.warmup :]
            )
            warmup[side, layout] = statistics.mean(
                sum(turn[layout]["seconds"][: options.warmup]) for turn in turns
            )
            raw[side, layout] = options.batch_size * options.seq_length / seconds
            useful[side, layout] = raw[side, layout] * share
            peak[side, layout] = max(turn[layout]["peak"] for turn in turns) / 1e9
    network = f"{options.layers} layers, hidden {options.hidden_size}, vocabulary {options.vocab_size}"
    print(f"{network}; {options.batch_size} x {options.seq_length} a step; {os.cpu_count()} cores; float32\n")
    print(f"| side | layout | tokens/s | useful tokens/s | first {options.warmup} steps | peak GB |")
    print("| --- | --- | --- | --- | --- | --- |")
    for side, layout in raw:
        rates = f"{raw[side, layout]:,.0f} | {useful[side, layout]:,.0f}"
        print(f"| {side} | {layout} | {rates} | {warmup[side, layout]:.1f} s | {peak[side, layout]:.2f} |")
    ours, torch = ("ours", "padded"), ("torch", "padded")
    said = [("raw tokens/s, ours padded over torch padded", raw[ours] / raw[torch], RAW, 1)]
    if "packed" in LAYOUTS[options.shape]:
        gain = useful["ours", "packed"] / useful[torch]
        said.append(("useful tokens/s, ours packed over torch padded", gain, USEFUL, 1))
    if options.shape == "smollm2":
        said.append(("peak memory, ours padded over torch padded", peak[ours] / peak[torch], MEMORY, -1))
    print()
    for name, ratio, target, sign in said:
        met = "met" if sign * ratio >= sign * target else "missed"
        print(f"{name}: {ratio:.2f} (target {'at least' if sign > 0 else 'at most'} {target}: {met})")


if __name__ == "__main__":
    main()
