"""What a question is, and its file: questions.jsonl, one question per line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mcqlora import files

LETTERS = "ABCD"
SPLITS = ("dev", "val", "test")


@dataclass(frozen=True, slots=True)
class Question:
    """One question of a benchmark, its text as it stands in the file.

    `id` is "benchmark/subject/split/row"; `row` counts the data rows of a file from 0; `options` stand in the
    file's order, and `answer` is the letter of the right one.
    """

    id: str
    benchmark: str
    subject: str
    split: str
    row: int
    language: str
    question: str
    options: list[str]
    answer: str

    @property
    def category(self) -> str:
        """Benchmark and subject: 32 subject names occur in both MMLU and CMMLU, so a subject is no key."""
        return f"{self.benchmark}/{self.subject}"

    def shown(self, order: str) -> tuple[list[str], str]:
        """The options in `order`, and the letter under which the right one then stands.

        An order is a string such as "CABD": its i-th letter is the file's letter of the option shown at
        place i.
        """
        options = [self.options[LETTERS.index(letter)] for letter in order]
        return options, LETTERS[order.index(self.answer)]


def read_questions(path: files.PathLike) -> Iterator[Question]:
    """Yield the questions of questions.jsonl, streaming.

    Raises:
        UserError: a line is not JSON; names the line.
    """
    return (Question(**row) for row in files.read_jsonl(path))
