"""What a network has said, kept in files as it is said: a killed evaluation goes on where it was.

Several processes may share what is to be asked; by the files they learn of each other's answers.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mcqlora import files


class Cache:
    """A mapping from keys to JSON values; every `add` is one line at the end of a file.

    A line that is cut off, as a kill may leave one, counts as never written. Floats come back as they went
    in. Without a path nothing is kept on disk.

    Process `rank` of `ranks` writes to a file of its own, `path` with its number (a single one to `path`
    itself), and reads those of all, whatever their number was. `meetings` is their common folder, empty at
    first. Files are only ever added to, so that another evaluation of the same network loses nothing.
    """

    def __init__(self, path: Path | None = None, rank: int = 0, ranks: int = 1, meetings: Path | None = None):
        self.rank, self.ranks, self._meetings, self._met = rank, ranks, meetings, 0
        self._path, self._all = path, path
        self._known: dict[str, Any] = {}
        if path is None:
            return
        if ranks > 1:
            self._path = path.with_stem(f"{path.stem}-{rank}")
        files.end_last_line(self._path)
        self._read_all()

    def get(self, key: str) -> Any:
        """The value of `key`, or None."""
        return self._known.get(key)

    def add(self, found: Mapping[str, Any]) -> None:
        self._known |= found
        if self._path is not None and found:
            files.append_jsonl(self._path, found)

    def takes(self, turn: int) -> bool:
        """Whether the piece of work number `turn` is this process's."""
        return turn % self.ranks == self.rank

    def meet(self) -> None:
        """Wait until all processes have come as far as this, and learn what the others have said.

        By files, not by a collective operation, which gives up after some minutes: one process may have more
        to do than the others. If one dies, msrun ends all.
        """
        if self.ranks == 1:
            return
        self._met += 1
        (self._meetings / f"{self._met}-{self.rank}").touch()
        others = [self._meetings / f"{self._met}-{rank}" for rank in range(self.ranks)]
        while not all(other.exists() for other in others):
            time.sleep(0.1)
        self._read_all()

    def _read_all(self) -> None:
        for path in sorted(self._all.parent.glob(f"{self._all.stem}*{self._all.suffix}")):
            self._known |= _read(path)


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for row in files.read_appended_jsonl(path):
        found |= row
    return found
