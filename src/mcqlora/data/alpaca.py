"""Questions as Alpaca records: the wording that every later stage relies on.

A record is {"instruction", "input", "output"}.
A copy record is {"id", "order", "instruction", "input", "output"}: the record of a question whose options are
shown in `order`, with the right option's text completing the output.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from mcqlora.data import option_orders, option_references
from mcqlora.data.questions import LETTERS
from mcqlora.errors import UserError

_ANSWER = "The right option is "

# The reference's expression: a letter, a period and white space at the start of a line, then everything up to
# the next such line or the end. Nothing in it knows where the question stops and the options begin.
_OPTION = re.compile(r"(?<=\n)[A-D]\.\s*(.*?)(?=\n[A-D]\.|$)", re.DOTALL)


def record(question: dict) -> dict:
    """The question as it stands, answered by the letter alone."""
    return {
        "instruction": instruction(question["subject"]),
        "input": _input(question["question"], question["options"]),
        "output": f"{_ANSWER}{question['answer']}.",
    }


def instruction(subject: str) -> str:
    return (
        f"Here is a question about {subject.replace('_', ' ')}, "
        "the correct answer is one of the options A/B/C/D. "
        "Please select the correct option and answer the question with 'The right option is'."
    )


def answer_text(letter: str, option: str) -> str:
    """The completed output, "The right option is D.text": stripped of white space, with no period added."""
    return f"{_ANSWER}{letter}.{option.strip()}"


def shown_letter(record: Mapping[str, str]) -> str:
    """The letter under which a record shows its right option."""
    return record["output"].removeprefix(_ANSWER)[0]


def shuffled_record(question: dict, order: str) -> dict:
    """The copy record of a question whose options are shown in `order`."""
    return _shuffled(question)(order)


def copies(
    question: dict,
    count: int = 6,
    *,
    seed: int,
    pin_references: bool = True,
    balance_letters: bool = True,
    reparse_options: bool = False,
    patterns: option_references.Table = option_references.DEFAULT,
) -> list[dict]:
    """The first `count` copies of a question, the first in its original order.

    The reference recipe differs in three ways, each a switch of its own.

    Args:
        pin_references: options that speak of others stay where they are, see `optionrefs.pins`.
        balance_letters: the right option visits every letter, see `shuffle.orders`; else orders are drawn
            uniformly.
        reparse_options: options are cut out of the record's text, see `parse_options`.
    """
    pinned = option_references.pins(question, patterns) if pin_references else ""
    draw = option_orders.orders if balance_letters else option_orders.reference_orders
    show = (_reparsed if reparse_options else _shuffled)(question)
    return [show(order) for order in draw(question, seed, count, pinned)]


def epoch(questions: Iterable[dict], k: int, **options: Any) -> Iterator[dict]:
    """The k-th copy (from 1) of every question, in the questions' order, streaming; see `copies`."""
    for question in questions:
        yield copies(question, k, **options)[-1]


def parse_options(text: str) -> tuple[str, ...]:
    """Cut four options out of a record's input, as the reference recipe does and nothing else should.

    White space after "A." goes. If anything but four pieces is found the first one is thrown away, which
    mends a question with one line of its own that starts like an option and no worse case.
    """
    pieces = _OPTION.findall(text)
    return tuple(pieces if len(pieces) == 4 else pieces[1:])[:4]


def reference_record(question: dict, order: str) -> dict:
    """The reference recipe's copy record, with its defect: options come from the text.

    The identity keeps the input as it is. Any other order keeps what stands before the first line "A." and
    appends the parsed options, so a passage from such a line on is lost.

    Raises:
        UserError: fewer than four options were found; the reference crashes there too.
    """
    return _reparsed(question)(order)


# What the copies of a question share is made once; the function that is returned shows it in an order.


def _shuffled(question: dict) -> Callable[[str], dict]:
    said = instruction(question["subject"])

    def show(order: str) -> dict:
        options, letter = option_orders.present(question, order)
        return _copy(question, order, said, _input(question["question"], options), options, letter)

    return show


def _reparsed(question: dict) -> Callable[[str], dict]:
    plain = record(question)
    parsed = parse_options(plain["input"])
    if len(parsed) < 4:
        raise UserError(
            f"{question['id']}: {len(parsed)} options found in the text instead of 4; "
            "set shuffle.reparse_options: false"
        )
    mangled = {**question, "options": parsed}
    start = plain["input"].split("\nA.", 1)[0]

    def show(order: str) -> dict:
        options, letter = option_orders.present(mangled, order)
        text = plain["input"] if order == option_orders.IDENTITY else start + _lines(options)
        return _copy(question, order, plain["instruction"], text, options, letter)

    return show


def _copy(question: dict, order: str, said: str, text: str, options: list[str], letter: str) -> dict:
    return {
        "id": question["id"],
        "order": order,
        "instruction": said,
        "input": text,
        "output": answer_text(letter, options[LETTERS.index(letter)]),
    }


def _input(question: str, options: list[str]) -> str:
    return f"Question: {question} {_lines(options)}"


def _lines(options: list[str]) -> str:
    a, b, c, d = options
    return f"\nA.{a}\nB.{b}\nC.{c}\nD.{d}"
