"""The project's side of test_harness.py and test_squad.py, for the interpreter that has MindSpore.

python -m tests.parity.ours prepare FOLDER   the demo's questions and a tokenizer
python -m tests.parity.ours score FOLDER     our items for the weights that stand there by now
"""

import sys
from pathlib import Path

from mcqlora import demo, files
from mcqlora.data.alpaca import shuffled_record
from mcqlora.data.questions import Question
from mcqlora.evaluate import protocols, scoring, squad_metrics
from mcqlora.evaluate.engine import Engine
from mcqlora.evaluate.forward import load
from mcqlora.model.architecture import Architecture
from mcqlora.tokens import prompt, segments, tokenizer
from tests.helpers.questions import read_layout

LIMIT = 512


def questions(folder: Path) -> list[Question]:
    """Of one subject in English and one in Chinese: the development questions and twenty others."""
    found = []
    for name, layout, language in (("island_en", "mmlu", "en"), ("island_zh", "cmmlu", "zh")):
        read, _ = read_layout(folder / "data", name, layout, name, language)
        subject = sorted({question.subject for question in read})[0]
        inside = [question for question in read if question.subject == subject]
        found += [q for q in inside if q.split == "dev"] + [q for q in inside if q.split == "test"][:20]
    return found


def prepare(folder: Path) -> None:
    demo.write(folder / "data", seed=7, repeats=1)
    tokenizer.train(tokenizer.corpus_texts(folder / "data/corpus.jsonl"), folder / "tokenizer.model", 1200)
    processor = tokenizer.load(folder / "tokenizer.model")
    files.write_json(folder / "questions.json", questions(folder))
    files.write_json(folder / "pieces.json", processor.vocab_size())


def score(folder: Path) -> None:
    from mcqlora.model import weights

    network = files.read_json(folder / "network.json")
    processor = tokenizer.load(folder / "tokenizer.model")
    template, encoder = prompt.template(processor), segments.SegmentEncoder(processor)
    config = Architecture(**network).model_config(LIMIT, 8, "CPU", template.pad, template.eos)
    forward = load(config, "CPU", weights.read(folder / "model.safetensors"), "parity")
    asked = [Question(**row) for row in files.read_json(folder / "questions.json")]
    tested = [shuffled_record(question, "ABCD") for question in asked if question.split == "test"]
    found = {}
    for shots in (0, 3):
        context = protocols.Context(
            questions={question.id: question for question in asked},
            tokens=protocols.Tokenization(processor, encoder, template),
            limit=LIMIT,
            development=protocols.development(asked),
            shots=shots,
        )
        items = [protocols.harness(record, context) for record in tested]
        scored = scoring.score(Engine(forward, 8, LIMIT), [item.tree for item in items])
        answers = map(protocols.Answer, scored)
        found[shots] = [protocols.by_sum(item, answer) for item, answer in zip(items, answers, strict=True)]
        found[shots] = [
            row | {"prompt": processor.decode(item.tree.prompt[1:]), "truncated": item.truncated}
            for row, item in zip(found[shots], items, strict=True)
        ]
    files.write_json(folder / "ours.json", {str(shots): rows for shots, rows in found.items()})


def official(folder: Path) -> None:
    pairs = files.read_json(folder / "pairs.json")
    files.write_json(folder / "scores.json", [tuple(squad_metrics.official(*pair)) for pair in pairs])


if __name__ == "__main__":
    {"prepare": prepare, "score": score, "official": official}[sys.argv[1]](Path(sys.argv[2]))
