"""Items per second: letters in one pass, batched generation, and generation one by one as the reference does.

    PYTHONPATH=src .venv/bin/python bench/evaluate.py  # a random network of the demo's size
    PYTHONPATH=src .venv/bin/python bench/evaluate.py --results results/demo --model checkpoint_5
    PYTHONPATH=src .venv/bin/python bench/evaluate.py --network smollm2/network --mmlu FOLDER/mmlu

One by one: batch 1, every new id a pass over the whole text, padded to the network's length as MindFormers'
generation pads it where it keeps no keys and values. Compilation is left out on both sides, the best of
`--repeats` counts, and both must write the same texts.

With --network, a Hugging Face folder, and questions of MMLU: ours against lm-evaluation-harness' own scoring
loop on torch (`HFLM`, in .venv-parity), the same ids on the same cores in turns, float32. Letters of a
question are one pass there, too. The first pass of a shape, which compiles it, is timed apart. Both must
find the same likelihoods.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import groupby, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sentencepiece import SentencePieceProcessor

from mcqlora import demo, files
from mcqlora.config import presets
from mcqlora.data.alpaca import Record, shuffled_record
from mcqlora.data.layouts import Layout
from mcqlora.data.questions import Question, read_questions
from mcqlora.data.readers import Source, opened
from mcqlora.evaluate import generation, protocols, scoring
from mcqlora.evaluate.engine import Engine
from mcqlora.evaluate.forward import compilation, load
from mcqlora.evaluate.trees import Forward, Rows, greedy_start
from mcqlora.interop import huggingface
from mcqlora.model.architecture import Architecture, read_architecture
from mcqlora.model.weights import merge, read
from mcqlora.tokens import prompt, segments, tokenizer

ARCHITECTURE = Architecture(
    vocab_size=None,
    hidden_size=128,
    num_layers=3,
    num_heads=4,
    n_kv_heads=None,
    intermediate_size=344,
    rms_norm_eps=1e-6,
    theta=1e4,
    has_bias=True,
    init_std=0.08,
)
LIMIT, BATCH, SCALING = 128, 32, 2.0
LONG, FEW = 512, 8  # as LIMIT and BATCH, beside the harness
ROOT = Path(__file__).resolve().parents[1]
PARITY = ROOT / ".venv-parity/bin/python"


class Asked(NamedTuple):
    """A network and what it is asked."""

    questions: dict[str, Question]
    records: list[Record]
    processor: SentencePieceProcessor
    weights: dict[str, np.ndarray]
    architecture: Architecture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, help="a finished run; default: a random network")
    parser.add_argument("--model", default="base", help="base or checkpoint_k of that run")
    parser.add_argument("--items", type=int, default=450)
    parser.add_argument("--alone", type=int, default=64, help="items that are also generated one by one")
    parser.add_argument("--max-new-tokens", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--network", type=Path, help="a Hugging Face folder, asked here and in the harness")
    parser.add_argument("--mmlu", type=Path, help="the folder with dev, val, test; needed with --network")
    parser.add_argument("--of-subject", type=int, default=4, help="questions of each subject of MMLU")
    parser.add_argument("--harness", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.harness:
        in_the_harness(options.network, options.harness)
        return
    if options.network:
        beside_the_harness(options)
        return

    asked = finished(options.results, options.model) if options.results else random()
    encoder, template = segments.SegmentEncoder(asked.processor), prompt.template(asked.processor)
    tokens = protocols.Tokenization(asked.processor, encoder, template)
    context = protocols.Context(questions=asked.questions, tokens=tokens, limit=LIMIT)
    items = [protocols.recipe(record, context) for record in asked.records[: options.items]]
    letters = [protocols.letters(item) for item in items]
    stop, most = set(template.stop), options.max_new_tokens
    config = asked.architecture.model_config(LIMIT, BATCH, "CPU", template.pad, template.eos)
    forward = load(config, "CPU", asked.weights, "bench")

    def engine():
        """Without what an earlier repeat has kept."""
        return Engine(forward, BATCH, LIMIT)

    def score(items):
        return scoring.score(engine(), [item.tree for item in items])

    def generate(items):
        pairs = zip(items, score(items), strict=True)
        starts = [greedy_start(item.tree, found)[0] for item, found in pairs]
        return generation.generate(engine(), [item.tree.prompt for item in items], most, stop, starts)

    def one_by_one(items):
        return [alone(forward, item.tree.prompt, most, stop) for item in items]

    few = items[: options.alone]
    for work in (lambda: score(letters), lambda: generate(items), lambda: one_by_one(few[:4])):
        work()  # compiles
    works = {
        "letters, one pass": (score, letters),
        "full answers, one pass": (score, items),
        "generation, batched": (generate, items),
        "generation, one by one": (one_by_one, few),
    }
    seconds = {
        name: (timed(lambda work=work, asked=asked: work(asked), options.repeats), len(asked))
        for name, (work, asked) in works.items()
    }
    same = sum(a == b for a, b in zip(generate(few), one_by_one(few), strict=True))
    slowest = len(few) / seconds["generation, one by one"][0]
    for name, (spent, count) in seconds.items():
        rate = count / spent
        print(f"{name:24} {rate:9.1f} items/s   {rate / slowest:6.1f} times   (n = {count})")
    print(f"{'same text both ways':24} {same} of {len(few)}")


def beside_the_harness(options: argparse.Namespace) -> None:
    """Letters by the harness' prompt, full answers by the recipe's: items per second on both sides."""
    with tempfile.TemporaryDirectory() as name:
        base, path = Path(name, "base"), str(options.network / "tokenizer.json")
        huggingface.convert(folder=options.network, tokenizer_path=path, output=base, asked={}, device="CPU")
        processor, network = tokenizer.load(path), read_architecture(base)
        template = prompt.template(processor)
        tokens = protocols.Tokenization(processor, segments.SegmentEncoder(processor), template)
        questions = of_each_subject(options.mmlu, options.of_subject)
        context = protocols.Context({one.id: one for one in questions}, tokens, LONG)
        records = [shuffled_record(one, one.letters) for one in questions]
        trees = {
            "letters": [protocols.harness(record, context).tree for record in records],
            "full answers": [protocols.recipe(record, context).tree for record in records],
        }
        config = network.model_config(LONG, FEW, "CPU", template.pad, template.eos)
        forward = load(config, "CPU", read(base / "model.safetensors"), "bench")
        head = network.vocabulary / (12 * network.num_layers * network.hidden_size)
        for what, asked in trees.items():
            warm = Warm(forward)
            start = time.perf_counter()
            engine = Engine(warm, FEW, LONG, head=head, compilation=compilation("CPU", network.num_layers))
            scored = scoring.score(engine, asked)
            ours = time.perf_counter() - start - warm.apart
            files.write_json(Path(name, "asked.json"), [tuple(tree) for tree in asked])
            command = [PARITY, __file__, "--network", options.network, "--harness", name]
            environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "HF_HUB_OFFLINE": "1"}
            subprocess.run(list(map(str, command)), check=True, env=environment, stdout=sys.stderr)
            theirs, sums = files.read_json(Path(name, "answered.json"))
            mine = [float(one.logprobs.sum()) for branches in scored for one in branches]
            apart = np.abs(np.array(mine) - sums).max()
            rates = f"ours {len(asked) / ours:.2f} items/s, the harness {len(asked) / theirs:.2f}"
            print(f"{what}, n = {len(asked)}: {rates}, {theirs / ours:.2f} times; sums within {apart:.1e};")
            print(f"    first passes of {len(warm.known)} shapes: {warm.apart:.0f} s, not counted")


class Warm:
    """A network's scoring function that feeds the first batch of a shape twice; `apart` are its seconds."""

    def __init__(self, forward: Forward) -> None:
        self.forward, self.known, self.apart = forward, set(), 0.0

    def __call__(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        shape = rows.ids.shape, rows.targets.shape
        if shape not in self.known:
            self.known.add(shape)
            start = time.perf_counter()
            self.forward(rows)
            self.apart += time.perf_counter() - start
        return self.forward(rows)


def of_each_subject(mmlu: Path, count: int) -> list[Question]:
    source = Source(mmlu.parent, "mmlu", Layout(**presets.LAYOUTS["mmlu"]), mmlu.name, "en")
    with opened(source) as benchmark:
        found = [row.question for row in benchmark.rows() if row.question and row.question.split == "test"]
    ordered = sorted(found, key=lambda one: (one.subject, one.row))
    return [one for _, group in groupby(ordered, lambda one: one.subject) for one in islice(group, count)]


def in_the_harness(network: Path, place: Path) -> None:
    """Seconds of the harness' loop over the trees of asked.json, and its sums, branch by branch."""
    from lm_eval.models.huggingface import HFLM

    model = HFLM(pretrained=str(network), dtype="float32", batch_size=FEW, max_length=LONG, device="cpu")
    requests = [
        ((str(number), str(branch)), tree[0], branch)
        for number, tree in enumerate(files.read_json(place / "asked.json"))
        for branch in tree[1]
    ]
    model._loglikelihood_tokens(requests[:4], disable_tqdm=True)
    start = time.perf_counter()
    sums = model._loglikelihood_tokens(requests, disable_tqdm=True)
    spent = time.perf_counter() - start
    files.write_json(place / "answered.json", [spent, [float(total) for total, _ in sums]])


def alone(forward: Forward, start: list[int], most: int, stop: set[int]) -> list[int]:
    """Greedy generation as the reference does it: one prompt, a pass over the whole text for each new id."""
    written: list[int] = []
    while len(written) < most:
        text = (start + written)[-LIMIT:]
        rows = Rows(*(np.zeros((1, size), np.int32) for size in (LIMIT, LIMIT, LIMIT, 1, 1)))
        rows.ids[0, : len(text)], rows.places[0] = text, np.arange(LIMIT)
        rows.positions[0, 0] = len(text) - 1
        token = int(forward(rows)[1][0, 0])
        if token in stop:
            break
        written.append(token)
    return written


def timed(work: Callable[[], object], repeats: int) -> float:
    """Seconds of the fastest of some repeats."""
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return min(found)


def finished(results: Path, model: str) -> Asked:
    questions = {question.id: question for question in read_questions(results / "questions.jsonl")}
    records = list(files.read_json_array(results / "splits" / "test.json"))
    weights = read(results / "base" / "model.safetensors")
    if model != "base":
        weights = merge(weights, read(results / f"adapters/{model}.safetensors"), SCALING)
    processor = tokenizer.load(results / "tokenizer.model")
    return Asked(questions, records, processor, weights, read_architecture(results / "base"))


def random() -> Asked:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        demo.write(folder, seed=7, repeats=1)
        tokenizer.train(tokenizer.corpus_texts(folder / "corpus.jsonl"), folder / "tokenizer.model", 1200)
        processor = tokenizer.load(folder / "tokenizer.model")
        source = Source(folder, "island_en", Layout(**presets.LAYOUTS["mmlu"]), "island_en", "en")
        with opened(source) as benchmark:
            found = [row.question for row in benchmark.rows()]
    architecture = ARCHITECTURE.for_tokenizer(processor.vocab_size())
    records = [shuffled_record(question, "BCDA") for question in found]
    return Asked({q.id: q for q in found}, records, processor, random_weights(architecture), architecture)


def random_weights(architecture: Architecture) -> dict[str, np.ndarray]:
    """Weights by MindSpore's names, from the network itself so that the shapes are its own."""
    from mindformers import MindFormerConfig
    from mindformers.models import build_network

    import mcqlora.model.decoder
    import mcqlora.train.callbacks
    import mcqlora.train.step  # noqa: F401  (registers the network)

    config = architecture.model_config(LIMIT, BATCH, "CPU", 0, 2)
    arch = {"type": "InternLMForCausalLM"}
    made = build_network(MindFormerConfig(model={"model_config": config, "arch": arch}).model)
    generator = np.random.default_rng(0)
    return {
        name: generator.normal(0, architecture.init_std, parameter.shape).astype(np.float32)
        for name, parameter in made.parameters_dict().items()
    }


if __name__ == "__main__":
    main()
