"""Questions as Alpaca records: the wording that every later stage relies on.

Records are JSON rows, so they stay dicts: `AlpacaRecord` and `Record`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TypedDict

from mcqlora.data.questions import LETTERS, Question


class AlpacaRecord(TypedDict):
    """A question as instruction tuning has it; the output is the letter alone."""

    instruction: str
    input: str
    output: str


class Record(AlpacaRecord):
    """A copy of a question: options shown in `order`, and the right one's text at the end of the output."""

    id: str
    order: str


_ANSWER = "The right option is "


def record(question: Question) -> AlpacaRecord:
    """The question as it stands in the file, answered by the letter alone."""
    return {
        "instruction": instruction(question.subject),
        "input": question_text(question.question, question.options),
        "output": f"{_ANSWER}{question.answer}.",
    }


def shuffled_record(question: Question, order: str) -> Record:
    """The copy of a question whose options are shown in `order`, see `Question.shown`."""
    return copy_record(question, order, question_text(question.question, question.shown(order)[0]))


def copy_record(question: Question, order: str, text: str) -> Record:
    """The same with `text` as the input."""
    options, letter = question.shown(order)
    return {
        "id": question.id,
        "order": order,
        "instruction": instruction(question.subject),
        "input": text,
        "output": answer_text(letter, options[LETTERS.index(letter)]),
    }


@cache
def instruction(subject: str) -> str:
    return (
        f"Here is a question about {subject.replace('_', ' ')}, "
        "the correct answer is one of the options A/B/C/D. "
        "Please select the correct option and answer the question with 'The right option is'."
    )


def question_text(question: str, options: Sequence[str]) -> str:
    return f"Question: {question} {option_lines(options)}"


def option_lines(options: Sequence[str]) -> str:
    """Four options, each on a line of its own that starts with its letter."""
    a, b, c, d = options
    return f"\nA.{a}\nB.{b}\nC.{c}\nD.{d}"


def answer_text(letter: str, option: str) -> str:
    """The output "The right option is D.text": stripped of outer white space, with no period added."""
    return f"{_ANSWER}{letter}.{option.strip()}"


def shown_letter(record: AlpacaRecord) -> str:
    """The letter under which a record shows its right option."""
    return record["output"].removeprefix(_ANSWER)[0]
