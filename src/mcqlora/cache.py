"""What a network has said, kept in a file as it is said: a killed evaluation goes on where it was."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from mcqlora import io


class Cache:
    """A mapping from keys to JSON values; every `add` is one line at the end of the file.

    A line that is cut off, as a kill may leave the last one, counts as never written. Floats come back as
    they went in. Without a path nothing is kept on disk. One process may use a file at a time.
    """

    def __init__(self, path: Path | None = None):
        self._path = path
        self._known: dict[str, Any] = {}
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        data = path.read_bytes() if path.exists() else b""
        whole = data[: data.rfind(b"\n") + 1]
        for line in whole.splitlines():
            with contextlib.suppress(orjson.JSONDecodeError):
                self._known |= orjson.loads(line)
        if len(whole) < len(data):
            io.write_bytes(path, whole)

    def get(self, key: str) -> Any:
        """The value of `key`, or None."""
        return self._known.get(key)

    def add(self, found: Mapping[str, Any]) -> None:
        self._known |= found
        if self._path is not None and found:
            with open(self._path, "ab") as file:  # one write: no other line can stand inside this one
                file.write(orjson.dumps(found, option=orjson.OPT_APPEND_NEWLINE))
