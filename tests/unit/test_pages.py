"""The pages of the documentation that say facts: the worked example of docs/architecture.md, the glossary."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from mcqlora import demo
from mcqlora.config.sections import Settings
from mcqlora.data import shuffle
from mcqlora.interop import peft
from mcqlora.interop.names import name_of
from mcqlora.model import weights
from mcqlora.tokens import packing, prompt, tokenizer
from mcqlora.tokens.packing import Document
from tests.helpers.questions import read_layout

DOCS = Path(__file__).parents[2] / "docs"
ARCHITECTURE = (DOCS / "architecture.md").read_text(encoding="utf-8")
LIFE = ARCHITECTURE.split("## The life of a question")[1].split("\n## ")[0]
BLOCKS = re.findall(r"^```\n(.*?)^```$", LIFE, re.MULTILINE | re.DOTALL)
ROW, ORDERS, RECORD, TEMPLATE, IDS = BLOCKS
SIZE = 129  # ids of a training row of `make run`


@pytest.fixture(scope="module")
def island(tmp_path_factory) -> Path:
    """The embedded benchmark of `make run`, with its tokenizer."""
    folder = tmp_path_factory.mktemp("island")
    defaults = Settings()
    demo.write(folder, **defaults.demo.model_dump())
    texts = tokenizer.corpus_texts(folder / "corpus.jsonl")
    tokenizer.train(texts, folder / "tokenizer.model", defaults.tokenizer.vocab_size)
    return folder


@pytest.fixture(scope="module")
def records(island) -> list[dict]:
    found, _ = read_layout(island, "island_en", "mmlu", "island_en", "en")
    (question,) = (question for question in found if question.id == "island_en/clan_trees/val/0")
    assert ROW.strip() == ",".join([question.question, *question.options, question.answer])
    return shuffle.copies(question, shuffle.Shuffle(seed=42))


@pytest.fixture(scope="module")
def document(island, records) -> Document:
    processor = tokenizer.load(island / "tokenizer.model")
    record = records[1]
    ids, n_prompt = prompt.row_ids(
        processor.encode,
        prompt.template(processor),
        *(record[key] for key in ("instruction", "input", "output")),
    )
    return Document(np.array(ids, np.int32), n_prompt)


def test_the_copies_of_the_worked_example(records):
    assert ORDERS.split() == [record["order"] for record in records]
    cut = json.loads(RECORD)
    assert cut["instruction"].endswith(" ...")
    assert records[1]["instruction"].startswith(cut["instruction"].removesuffix("..."))
    assert cut | {"instruction": records[1]["instruction"]} == records[1]


def test_the_template_of_the_worked_example():
    assert TEMPLATE.strip() in prompt.__doc__.replace("\\\\", "\\")


def test_the_ids_of_the_worked_example(document):
    assert list(map(int, IDS.split())) == document.ids.tolist()
    assert f"{len(document.ids)} ids, of which the first {document.n_prompt} are the prompt" in LIFE
    assert list(map(int, IDS.strip().split("\n")[-1].split())) == document.ids[document.n_prompt :].tolist()


def cells(text: str, of: int) -> list[int]:
    """The ids that a cell of the page's table shows for `of` places; of `a ... b` those between are None."""
    numbers = [None if number == "..." else int(number) for number in re.findall(r"-?\d+|\.\.\.", text)]
    if None in numbers:
        before, after = numbers[: numbers.index(None)], numbers[numbers.index(None) + 1 :]
        return before + [None] * (of - len(before) - len(after)) + after
    return numbers if len(numbers) == of else numbers * of


def test_the_row_of_the_worked_example(document):
    (padded,) = packing.batches(
        packing.Documents.of([document]), np.array([[0, 0]]), packing.RowFormat(SIZE, 2, "padded")
    )
    table = {
        row[0].strip("` "): row[1:]
        for row in (line.strip("| \n").split(" | ") for line in LIFE.split("\n") if line.startswith("| "))
    }
    ends = [1, document.n_prompt, len(document.ids), SIZE]
    assert [int(cell.split(" ... ")[-1]) + 1 for cell in table["place"]] == ends
    widths = np.diff([0, *ends]).tolist()
    for name, made in padded.items():
        shown = [id for cell, of in zip(table[name], widths, strict=True) for id in cells(cell, of)]
        assert len(shown) == SIZE
        assert [(a, b) for a, b in zip(shown, made[0].tolist(), strict=True) if a not in (None, b)] == []
    both, form = packing.Documents.of([document] * 2), packing.RowFormat(2 * SIZE, 2, "packed")
    (packed,) = packing.batches(both, packing.plan(both.lengths, form.size, form.layout), form)
    size = len(document.ids)
    assert packed["document_ids"][0].tolist() == [1] * size + [2] * size + [0] * 2 * (SIZE - size)


def test_the_names_in_the_life_of_a_tensor():
    life = ARCHITECTURE.split("## The life of a tensor")[1].split("\n## ")[0]
    ours = "model.layers.0.attention.wq"
    names = {f"{ours}.weight", name_of(f"{ours}.weight")}
    for kind in weights.LORA:
        names |= {f"{ours}.{kind}", peft.peft_name(f"{ours}.{kind}")}
    assert {name for name in names if f"`{name}`" not in life} == set()


def test_the_glossary_is_in_order():
    rows = re.findall(r"^\| ([^|]+) \|", (DOCS / "glossary.md").read_text(encoding="utf-8"), re.MULTILINE)
    words = rows[2:]  # after the table's head
    assert words == sorted(set(words), key=str.lower)
