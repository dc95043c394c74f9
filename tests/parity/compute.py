"""Our side of the comparison, run in MindSpore's venv: `compute.py JOB.json` writes the job's output (.npz).

ids int32 [N, S] with their lengths; logits float32 [N, S, vocabulary] of `base`, of `tuned` (LoRA layers as
trained) and of `merged`; greedy continuations of the prompts, -1 after their end; ids of sample texts.
"""

import sys
from pathlib import Path

import numpy as np

from mcqlora import files
from mcqlora.evaluate import generation
from mcqlora.evaluate.engine import Engine
from mcqlora.evaluate.forward import load
from mcqlora.model.architecture import Lora, read_architecture
from mcqlora.model.weights import load_into, merge, read
from mcqlora.tokens import prompt, segments, tokenizer


def padded(rows: list[list[int]], width: int, fill: int) -> np.ndarray:
    table = np.full((len(rows), width), fill, np.int32)
    for row, ids in enumerate(rows):
        table[row, : len(ids)] = ids
    return table


def logits(config: dict, weights: dict, ids: np.ndarray, name: str) -> np.ndarray:
    import mindspore as ms
    from mindformers import MindFormerConfig
    from mindformers.models import build_network

    from mcqlora.model.decoder import InternLMForCausalLM

    ms.set_context(mode=ms.GRAPH_MODE, device_target="CPU")
    described = {"model_config": config, "arch": {"type": "InternLMForCausalLM"}}
    network = build_network(MindFormerConfig(model=described).model)
    load_into(network, weights, name)
    # LoRA comes in a wrapper that computes losses only.
    llama = next(cell for _, cell in network.cells_and_names() if isinstance(cell, InternLMForCausalLM))

    class Logits(ms.nn.Cell):
        def __init__(self):
            super().__init__(auto_prefix=False)
            self.decoder, self.head = llama.model, llama.lm_head

        def construct(self, tokens):
            return self.head(self.decoder(tokens))

    cell = Logits()
    cell.set_train(False)
    return np.concatenate([cell(ms.Tensor(ids[i : i + 10])).asnumpy() for i in range(0, len(ids), 10)])


def main(job: dict) -> None:
    processor = tokenizer.load(job["tokenizer"])
    template = prompt.template(processor)
    encoder = segments.SegmentEncoder(processor)
    records = list(files.read_json_array(job["test"]))[: job["prompts"]]
    prompts = [prompt.prompt_ids(encoder, template, r["instruction"], r["input"]) for r in records]
    size, lora = job["seq_length"], Lora(**job["lora"])
    rows = [
        [*start, *encoder(record["output"])][:size] for start, record in zip(prompts, records, strict=True)
    ]
    ids = padded(rows, size, template.pad)

    base = Path(job["base"])
    network = read_architecture(base)
    plain = network.model_config(size, 1, "CPU", template.pad, template.eos)
    tuned = network.model_config(size, 1, "CPU", template.pad, template.eos, lora)
    weights, adapter = read(base / "model.safetensors"), read(job["adapter"])
    merged = merge(weights, adapter, lora.alpha / lora.rank)
    found = {
        "ids": ids,
        "lengths": np.array([len(row) for row in rows], np.int32),
        "base": logits(plain, weights, ids, "base"),
        "tuned": logits(tuned, weights | adapter, ids, "tuned"),
        "merged": logits(plain, merged, ids, "merged"),
        "prompts": padded(prompts, size, -1),
        "stop": np.array(list(template.stop), np.int32),
    }
    for name, tensors in (("base", weights), ("merged", merged)):
        forward = load(plain, "CPU", tensors, name)
        stop = set(template.stop)
        written = generation.generate(Engine(forward, 10, size), prompts, job["new_tokens"], stop)
        found[f"{name}_written"] = padded(written, job["new_tokens"], -1)
    for i, text in enumerate(job["texts"]):
        found[f"text_{i}"] = np.array([*template.start, *encoder(text)], np.int32)
    np.savez(job["output"], **found)


if __name__ == "__main__":
    main(files.read_json(sys.argv[1]))
