"""What a question is: its letters, its splits and its category."""

from __future__ import annotations

LETTERS = "ABCD"
SPLITS = ("dev", "val", "test")


def category(question: dict) -> str:
    """ "benchmark/subject": 32 subject names occur in both MMLU and CMMLU, so a subject alone is no key."""
    return f"{question['benchmark']}/{question['subject']}"
