"""Searches by an expression that we have not written, which may come to no end."""

from __future__ import annotations

import re
import signal

from mcqlora.errors import UserError

SECONDS = 10.0  # of a processor, for one search


def bounded(expression: re.Pattern[str], key: str, text: str) -> re.Match[str] | None:
    """`expression.search(text)`, given up after `SECONDS`: some expressions would take years.

    Raises:
        UserError: it comes to no end; names `key`, where a user wrote it.
    """

    def give_up(*_: object) -> None:
        raise UserError(
            f"{key}: {expression.pattern!r} comes to no end in {text[:60]!r}; "
            "write it without a repetition inside a repetition"
        )

    before = signal.signal(signal.SIGVTALRM, give_up)  # `re` lets signals in while it searches
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        return expression.search(text)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
