"""The pieces of a record in any form: lines, sentences, options without their letters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

# Where a sentence may start within a line, and where an option does: "A. x", "(B) x", "is C.x".
_SENTENCE = re.compile(r"(?<=[:：。？！])|(?<=[.?!])\s")
_OPTION = re.compile(r"(?:^|(?<=[\s:：是为]))[(（]?[A-Z][)）.．:：、]\s*")


def strings(value: Any) -> Iterator[str]:
    """All texts of a JSON value, at any depth, in order; numbers count as they are written."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from strings(part)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)


def pieces(texts: Iterable[str]) -> Iterator[str]:
    """The texts, their lines, and of each line its sentences and options; some more than once."""
    for text in texts:
        yield text
        for line in text.split("\n"):
            yield line
            for start in _SENTENCE.split(line):
                yield start
                yield from _OPTION.split(start)
            yield from _OPTION.split(line)


def options(line: str) -> list[str]:
    """What stands after each letter of an option in a line, after what stands before the first."""
    return _OPTION.split(line)
