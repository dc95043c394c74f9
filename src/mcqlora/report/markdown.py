"""Markdown that more than one document needs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table."""
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


def plain(text: str) -> str:
    """A name from outside, of which no renderer takes a part for a tag, a link or code."""
    return re.sub(r"[\\`*\[\]<>]", lambda found: f"&#{ord(found[0])};", text.replace("&", "&amp;"))
