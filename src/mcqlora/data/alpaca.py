"""Questions as Alpaca records: the wording that every later stage relies on.

Records are JSON rows, so they stay dicts: `AlpacaRecord` and `Record`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NotRequired, TypedDict

from mcqlora.data.questions import LETTERS, Question


class AlpacaRecord(TypedDict):
    """A question as instruction tuning has it; the output is the letter alone."""

    instruction: str
    input: str
    output: str


class Record(AlpacaRecord):
    """A copy of a question: options shown in `order`, and the right one's text at the end of the output.

    `passage` says how many of the input's first characters are `passage_text`, where there is one.
    """

    id: str
    order: str
    passage: NotRequired[int]


_ANSWER = "The right option is "


def record(question: Question) -> AlpacaRecord:
    """The question as it stands in the file, answered by the letter alone."""
    return {
        "instruction": instruction(question.subject, question.letters),
        "input": question_text(question.question, question.options, question.passage),
        "output": f"{_ANSWER}{question.answer}.",
    }


def shuffled_record(question: Question, order: str) -> Record:
    """The copy of a question whose options are shown in `order`, see `Question.shown`."""
    options, _ = question.shown(order)
    return copy_record(question, order, question_text(question.question, options, question.passage))


def copy_record(question: Question, order: str, text: str) -> Record:
    """The same with `text` as the input."""
    letter, right = LETTERS[order.index(question.answer)], question.options[LETTERS.index(question.answer)]
    made: Record = {
        "id": question.id,
        "order": order,
        "instruction": instruction(question.subject, question.letters),
        "input": text,
        "output": answer_text(letter, right),
    }
    if question.passage:
        made["passage"] = len(passage_text(question.passage))
    return made


@cache
def instruction(subject: str, letters: str) -> str:
    return (
        f"Here is a question about {subject.replace('_', ' ')}, "
        f"the correct answer is one of the options {'/'.join(letters)}. "
        "Please select the correct option and answer the question with 'The right option is'."
    )


def question_text(question: str, options: Sequence[str], passage: str = "") -> str:
    return f"{passage_text(passage)}Question: {question} {option_lines(options)}"


def passage_text(passage: str) -> str:
    """What stands before a question that is about a passage; the wording is ours."""
    return f"Passage: {passage}\n" if passage else ""


def option_lines(options: Sequence[str]) -> str:
    """The options, each on a line of its own that starts with its letter."""
    return "".join([f"\n{letter}.{option}" for letter, option in zip(LETTERS, options, strict=False)])


def answer_text(letter: str, option: str) -> str:
    """The output "The right option is D.text": stripped of outer white space, with no period added."""
    return f"{_ANSWER}{letter}.{option.strip()}"


def shown_letter(record: AlpacaRecord) -> str:
    """The letter under which a record shows its right option."""
    return record["output"].removeprefix(_ANSWER)[0]
