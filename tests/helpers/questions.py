"""Questions, one at a time, and the orders of their options."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

from mcqlora.config import presets
from mcqlora.data import readers
from mcqlora.data.layouts import Layout
from mcqlora.data.ledger import LedgerEntry
from mcqlora.data.questions import Question


def make_question(number: int = 0, **changes: Any) -> Question:
    """A question of a small English benchmark; its row is `number`."""
    made = Question(
        id=f"toy/old_birds/test/{number}",
        benchmark="toy",
        subject="old_birds",
        split="test",
        row=number,
        language="en",
        question=f"Which bird is number {number}?",
        options=["Dodo", "Moa", "Auk", "Rail"],
        answer="B",
    )
    return replace(made, **changes)


def read_source(source: readers.Source, **options: Any) -> tuple[list[Question], list[LedgerEntry]]:
    """The questions of a benchmark, and an entry of each row; the options are those of `readers.Reading`."""
    with readers.opened(source) as benchmark:
        rows = list(benchmark.rows(readers.Reading(**options)))
    return [row.question for row in rows if row.question], [row.entry for row in rows]


def read_layout(
    root: Path, name: str, layout: str, path: str, language: str, sha256: str | None = None, **options: Any
) -> tuple[list[Question], list[LedgerEntry]]:
    """The same for a benchmark in MMLU's or CMMLU's layout."""
    laid_out = Layout(**presets.LAYOUTS[layout])
    return read_source(readers.Source(root, name, laid_out, path, language, sha256), **options)


def permitted_orders(question: Question, pinned: str = "") -> list[str]:
    """All orders that leave the options in `pinned` (letters) in place, the identity first."""
    letters = question.letters
    everything = map("".join, permutations(letters))
    return [order for order in everything if all(order[letters.index(p)] == p for p in pinned)]
