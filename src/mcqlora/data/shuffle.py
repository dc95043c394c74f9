"""Shuffled copies of a question: the same question again, its options in another order."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from mcqlora.data import alpaca, option_orders
from mcqlora.data.alpaca import Record
from mcqlora.data.option_references import DEFAULT, Table, pins
from mcqlora.data.questions import Question
from mcqlora.errors import UserError

# The reference's expression: a letter, a period and white space at the start of a line, then everything up to
# the next such line or the end. It does not know where the question ends and the options begin.
_OPTION = re.compile(r"(?<=\n)[A-D]\.\s*(.*?)(?=\n[A-D]\.|$)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shuffle:
    """How copies are made. The reference recipe differs in three switches."""

    seed: int  # decides the orders, together with each question's id
    pin_references: bool = True  # options that refer to others stay, see `option_references.pins`
    balance_letters: bool = True  # see `option_orders.orders`; otherwise orders are drawn uniformly
    reparse_options: bool = False  # options are cut out of the record's text, see `parse_options`


def copies(question: Question, settings: Shuffle, count: int = 6, patterns: Table = DEFAULT) -> list[Record]:
    """The first `count` copies of a question, the first in its original order.

    Raises:
        UserError: options are to be cut out of a text that does not show four.
    """
    pinned = pins(question, patterns) if settings.pin_references else ""
    draw = option_orders.orders if settings.balance_letters else option_orders.reference_orders
    orders = draw(question, settings.seed, count, pinned)
    if settings.reparse_options:
        return reparsed_records(question, orders)
    return [alpaca.shuffled_record(question, order) for order in orders]


def parse_options(text: str) -> tuple[str, ...]:
    """Cut four options out of a record's input, as the reference recipe does and nothing else should.

    White space after "A." is lost. If anything but four pieces is found, the first one is thrown away. That
    is right for a question with one line of its own that starts like an option, and for no worse case.
    """
    pieces = _OPTION.findall(text)
    return tuple(pieces if len(pieces) == 4 else pieces[1:])[:4]


def reparsed_records(question: Question, orders: Iterable[str]) -> list[Record]:
    """The reference recipe's copies in these orders, with their defect: options come from the text.

    The identity keeps the input as it is. Any other order keeps what stands before the first line "A." and
    appends the parsed options. So a passage that starts at such a line is lost.

    Raises:
        UserError: the question has not four options, or fewer were found; the reference crashes there too.
    """
    text = alpaca.question_text(question.question, question.options, question.passage)
    parsed = parse_options(text)
    if len(question.options) != 4 or len(parsed) < 4:
        found = f"{len(parsed)} options found in the text instead of 4"
        if len(question.options) != 4:
            found = f"it has {len(question.options)} options, and the reference recipe is for four"
        raise UserError(f"{question.id}: {found}; set shuffle.reparse_options: false")
    mangled, start = replace(question, options=list(parsed)), text.split("\nA.", 1)[0]
    records = []
    for order in orders:
        cut = start + alpaca.option_lines(mangled.shown(order)[0])
        records.append(alpaca.copy_record(mangled, order, text if order == question.letters else cut))
    return records
