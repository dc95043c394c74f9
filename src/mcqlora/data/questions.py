"""What a question is, and its file: questions.jsonl, one question per line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields

from mcqlora import files

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"  # of a question with as many options as can be
SPLITS = ("dev", "val", "test")


@dataclass(frozen=True, slots=True)
class Question:
    """One question of a benchmark, its text as it stands in the file.

    `id` is "benchmark/subject/split/row"; `row` counts the data rows of a file from 0; the 2 to 26 `options`
    stand in the file's order, and `answer` is the letter of the right one; `passage` is the text that the
    question is about, "" where it is about none.
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
    passage: str = ""

    @property
    def letters(self) -> str:
        """The letters of its options: "AB" of two, "ABCD" of four."""
        return LETTERS[: len(self.options)]

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


def write_questions(path: files.PathLike, questions: Iterable[Question]) -> None:
    """Write questions.jsonl, streaming; an empty `passage` is left out."""
    files.write_jsonl(path, map(_row, questions))


_KEYS = [field.name for field in fields(Question)]


def _row(question: Question) -> object:
    if question.passage:
        return question
    return {name: getattr(question, name) for name in _KEYS if name != "passage"}


def read_questions(path: files.PathLike) -> Iterator[Question]:
    """Yield the questions of questions.jsonl, streaming.

    Raises:
        UserError: a line is not JSON; names the line.
    """
    return (Question(**row) for row in files.read_jsonl(path))
