"""Questions, one at a time, and the orders of their options."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import Any

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


def permitted_orders(question: Question, pinned: str = "") -> list[str]:
    """All orders that leave the options in `pinned` (letters) in place, the identity first."""
    letters = question.letters
    everything = map("".join, permutations(letters))
    return [order for order in everything if all(order[letters.index(p)] == p for p in pinned)]
