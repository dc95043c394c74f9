"""What a network has said, kept in a file as it is said: a killed evaluation goes on where it was."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mcqlora import io


class Cache:
    """A mapping from keys to JSON values; every `add` is one line at the end of the file.

    A line that is cut off, as a kill may leave the last one, counts as never written. Floats come back as
    they went in. Without a path nothing is kept on disk. One process may use a file at a time.
    """

    def __init__(self, path: Path | None = None):
        self._path = path
        self._known: dict[str, Any] = {}
        if path is not None and path.exists():
            for found in io.read_appended_jsonl(path):
                self._known |= found
            io.write_jsonl(path, [self._known])  # without a cut line, that the next one would be joined to

    def get(self, key: str) -> Any:
        """The value of `key`, or None."""
        return self._known.get(key)

    def add(self, found: Mapping[str, Any]) -> None:
        self._known |= found
        if self._path is not None and found:
            io.append_jsonl(self._path, found)
