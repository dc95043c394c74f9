"""Our side of test_smollm2, in MindSpore's venv: `python -m tests.parity.smollm2_compute PART FOLDER MMLU`.

FOLDER/network is the Hugging Face folder. Of the parts, each a function, `rows` writes `records.json` and
`rows.npz` (every row of MMLU, ids end to end and their lengths), `logits` writes `logits.npz` (ids int32
[N, S], logits float32 [N, S, ids]), `harness` writes `questions.json` and `harness.json` (our items of them).
"""

import sys
from itertools import groupby, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mcqlora import files
from mcqlora.data.alpaca import shuffled_record
from mcqlora.data.questions import Question
from mcqlora.evaluate import protocols, scoring
from mcqlora.evaluate.engine import Engine
from mcqlora.evaluate.forward import load
from mcqlora.interop import huggingface
from mcqlora.model import weights
from mcqlora.model.architecture import read_architecture
from mcqlora.tokens import prompt, segments, tokenizer
from tests.helpers.questions import read_layout
from tests.parity import compute

LIMIT, BATCH, LENGTH, SHOWN, OF_SUBJECT = 512, 8, 64, 10, 4


class Real(NamedTuple):
    """The network, its tokenizer, and MMLU."""

    folder: Path
    questions: list[Question]
    tokens: protocols.Tokenization

    @classmethod
    def read(cls, folder: Path, mmlu: Path) -> "Real":
        processor = tokenizer.load(folder / "network" / "tokenizer.json")
        template = prompt.template(processor)
        questions, _ = read_layout(mmlu.parent, "mmlu", "mmlu", mmlu.name, "en")
        tokens = protocols.Tokenization(processor, segments.SegmentEncoder(processor), template)
        return cls(folder, questions, tokens)

    def network(self) -> tuple[files.Json, dict[str, np.ndarray]]:
        """MindFormers' configuration and the weights, as rule `base` converts them."""
        given, base, template = self.folder / "network", self.folder / "base", self.tokens.template
        path = str(given / "tokenizer.json")
        huggingface.convert(folder=given, tokenizer_path=path, output=base, asked={}, device="CPU")
        config = read_architecture(base).model_config(LIMIT, BATCH, "CPU", template.pad, template.eos)
        return config, weights.read(base / "model.safetensors")

    def rows(self) -> tuple[list[tuple[str, str, str]], list[list[int]]]:
        """Records as texts, and their ids."""
        records = [shuffled_record(question, question.letters) for question in self.questions]
        texts = [(record["instruction"], record["input"], record["output"]) for record in records]
        return texts, [prompt.row_ids(self.tokens.encode, self.tokens.template, *text)[0] for text in texts]


def rows(real: Real) -> None:
    texts, found = real.rows()
    files.write_json(real.folder / "records.json", texts)
    np.savez(real.folder / "rows.npz", ids=np.concatenate(found), lengths=[len(row) for row in found])


def logits(real: Real) -> None:
    long = [row[:LENGTH] for row in real.rows()[1] if len(row) >= LENGTH]
    ids = np.array(long[:: len(long) // SHOWN][:SHOWN], np.int32)
    made = compute.logits(*real.network(), ids, "SmolLM2")
    np.savez(real.folder / "logits.npz", ids=ids, logits=made)


def harness(real: Real) -> None:
    tested = [question for question in real.questions if question.split == "test"]
    groups = groupby(sorted(tested, key=lambda one: (one.subject, one.row)), lambda one: one.subject)
    chosen = [question for _, group in groups for question in islice(group, OF_SUBJECT)]
    context = protocols.Context({question.id: question for question in chosen}, real.tokens, LIMIT)
    items = [protocols.harness(shuffled_record(question, question.letters), context) for question in chosen]
    config, held = real.network()
    engine = Engine(load(config, "CPU", held, "SmolLM2"), BATCH, LIMIT)
    answers = map(protocols.Answer, scoring.score(engine, [item.tree for item in items]))
    files.write_json(real.folder / "questions.json", chosen)
    judged = [protocols.by_sum(item, answer) for item, answer in zip(items, answers, strict=True)]
    files.write_json(real.folder / "harness.json", judged)


if __name__ == "__main__":
    {"rows": rows, "logits": logits, "harness": harness}[sys.argv[1]](Real.read(*map(Path, sys.argv[2:])))
