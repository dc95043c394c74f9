"""The project's side of test_harness.py and test_squad.py, for the interpreter that has MindSpore.

python ours.py prepare FOLDER   the demo's questions and a tokenizer
python ours.py score FOLDER     our items for the weights that stand there by now
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "src"))

from mcqlora import demo, files
from mcqlora.data.readers import read_benchmark
from mcqlora.evaluate import protocols, scoring, squad_metrics
from mcqlora.evaluate.forward import load
from mcqlora.model import architecture
from mcqlora.tokens import prompt, segments, tokenizer

LIMIT = 512


def questions(folder: Path) -> list[dict]:
    """Of one subject in English and one in Chinese: the development questions and twenty others."""
    found = []
    for name, layout, language in (("island_en", "mmlu", "en"), ("island_zh", "cmmlu", "zh")):
        read, _ = read_benchmark(folder / "data", name, layout, name, language)
        subject = sorted({question["subject"] for question in read})[0]
        inside = [question for question in read if question["subject"] == subject]
        found += [q for q in inside if q["split"] == "dev"] + [q for q in inside if q["split"] == "test"][:20]
    return found


def prepare(folder: Path) -> None:
    demo.write(folder / "data", seed=7, repeats=1)
    tokenizer.train(demo.tokenizer_text(folder / "data"), folder / "tokenizer.model", 1200)
    processor = tokenizer.load(folder / "tokenizer.model")
    files.write_json(folder / "questions.json", questions(folder))
    files.write_json(folder / "pieces.json", processor.vocab_size())


def score(folder: Path) -> None:
    from mcqlora.model import weights

    network = files.read_json(folder / "network.json")
    processor = tokenizer.load(folder / "tokenizer.model")
    template, encoder = prompt.from_tokenizer(processor), segments.SegmentEncoder(processor)
    config = architecture.model_config(network, LIMIT, 8, "CPU", template.pad, template.eos, None)
    forward = load(config, "CPU", weights.read(folder / "model.safetensors"), "parity")
    asked = files.read_json(folder / "questions.json")
    tested = [question for question in asked if question["split"] == "test"]
    examples = protocols.worked(asked)
    found = {}
    for shots in (0, 3):
        items = protocols.harness(tested, examples, encoder, template, shots, LIMIT)
        scored = scoring.score(forward, [item.tree for item in items], 8, LIMIT)
        found[shots] = [protocols.by_sum(item, four) for item, four in zip(items, scored, strict=True)]
        found[shots] = [
            row | {"prompt": processor.decode(item.tree.prompt[1:]), "truncated": item.truncated}
            for row, item in zip(found[shots], items, strict=True)
        ]
    files.write_json(folder / "ours.json", {str(shots): rows for shots, rows in found.items()})


def official(folder: Path) -> None:
    pairs = files.read_json(folder / "pairs.json")
    files.write_json(folder / "scores.json", [squad_metrics.official(said, golds) for said, golds in pairs])


if __name__ == "__main__":
    {"prepare": prepare, "score": score, "official": official}[sys.argv[1]](Path(sys.argv[2]))
