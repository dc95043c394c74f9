"""Markdown that several documents share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

Row = Sequence[str | int]


def table(header: Sequence[str], rows: Iterable[Row]) -> list[str]:
    """The lines of a table; numbers are counts."""
    lines: list[Row] = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(map(_cell, line)) + " |" for line in lines]


def _cell(cell: str | int) -> str:
    return f"{cell:,}" if isinstance(cell, int) else cell.replace("|", "\\|")


def plain(text: str) -> str:
    """A name from outside, escaped so that no renderer finds a tag, a link or code in it."""
    return re.sub(r"[\\`*\[\]<>]", lambda found: f"&#{ord(found[0])};", text.replace("&", "&amp;"))
