"""Our side of test_smollm2, run in MindSpore's venv: `python -m tests.parity.smollm2_compute FOLDER MMLU`.

FOLDER/smollm2 is the Hugging Face folder. FOLDER gets `logits.npz` (ids int32 [N, S], logits float32
[N, S, ids]), `records.json` with `rows.npz` (every row of MMLU, its ids end to end and their lengths), and
`questions.json` with `harness.json` (some questions, and our items of them).
"""

import sys
from itertools import groupby, islice
from pathlib import Path

import numpy as np

from mcqlora import files
from mcqlora.data.alpaca import shuffled_record
from mcqlora.evaluate import protocols, scoring
from mcqlora.evaluate.engine import Engine
from mcqlora.evaluate.forward import load
from mcqlora.interop import huggingface
from mcqlora.model import weights
from mcqlora.model.architecture import read_architecture
from mcqlora.tokens import prompt, segments, tokenizer
from tests.helpers.questions import read_layout
from tests.parity.compute import logits

LIMIT, BATCH, LENGTH, SHOWN, OF_SUBJECT = 512, 8, 64, 10, 4


def compute(folder: Path, mmlu: Path) -> None:
    given, base = folder / "smollm2", folder / "base"
    path = str(given / "tokenizer.json")
    huggingface.convert(folder=given, tokenizer_path=path, output=base, asked={}, device="CPU")
    processor, network = tokenizer.load(path), read_architecture(base)
    encoder, template = segments.SegmentEncoder(processor), prompt.template(processor)
    config = network.model_config(LIMIT, BATCH, "CPU", template.pad, template.eos)
    held = weights.read(base / "model.safetensors")

    questions, _ = read_layout(mmlu.parent, "mmlu", "mmlu", mmlu.name, "en")
    records = [shuffled_record(question, question.letters) for question in questions]
    texts = [(record["instruction"], record["input"], record["output"]) for record in records]
    rows = [prompt.row_ids(encoder, template, *text)[0] for text in texts]
    files.write_json(folder / "records.json", texts)
    np.savez(folder / "rows.npz", ids=np.concatenate(rows), lengths=[len(row) for row in rows])

    long = [row[:LENGTH] for row in rows if len(row) >= LENGTH]
    ids = np.array(long[:: len(long) // SHOWN][:SHOWN], np.int32)
    np.savez(folder / "logits.npz", ids=ids, logits=logits(config, held, ids, "SmolLM2"))

    tested = [question for question in questions if question.split == "test"]
    groups = groupby(sorted(tested, key=lambda one: (one.subject, one.row)), lambda one: one.subject)
    chosen = [question for _, group in groups for question in islice(group, OF_SUBJECT)]
    tokens = protocols.Tokenization(processor, encoder, template)
    context = protocols.Context({question.id: question for question in chosen}, tokens, LIMIT)
    items = [protocols.harness(shuffled_record(question, question.letters), context) for question in chosen]
    engine = Engine(load(config, "CPU", held, "SmolLM2"), BATCH, LIMIT)
    answers = map(protocols.Answer, scoring.score(engine, [item.tree for item in items]))
    files.write_json(folder / "questions.json", chosen)
    judged = [protocols.by_sum(item, answer) for item, answer in zip(items, answers, strict=True)]
    files.write_json(folder / "harness.json", judged)


if __name__ == "__main__":
    compute(*map(Path, sys.argv[1:]))
