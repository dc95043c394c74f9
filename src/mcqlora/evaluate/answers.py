"""A network's responses, kept in files as they come: a killed evaluation goes on where it stopped.

Several processes may share what is asked; through the files they learn each other's answers.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcqlora import files


@dataclass(frozen=True)
class Share:
    """Which of an evaluation's processes this one is; they meet in the folder `meetings`, empty at first."""

    rank: int = 0
    ranks: int = 1
    meetings: Path | None = None


ALONE = Share()


class Cache:
    """A mapping from keys to JSON values; every `add` is one line at the end of a file.

    A line that is cut off, as a kill may leave one, counts as never written. Floats come back as they went
    in. Without a path nothing is kept on disk.

    One of several processes writes to a file of its own, `path` with its rank (a single one to `path`
    itself). It reads those of all, however many there were. Files are only ever added to, so that another
    evaluation of the same network loses nothing.
    """

    def __init__(self, path: Path | None = None, share: Share = ALONE) -> None:
        self._shared, self._share, self._met = path, share, 0
        self._own = path.with_stem(f"{path.stem}-{share.rank}") if path and share.ranks > 1 else path
        self._known: dict[str, Any] = {}
        if self._own:
            files.end_last_line(self._own)
        self._read_all()

    def get(self, key: str) -> Any:
        """The value of `key`, or None."""
        return self._known.get(key)

    def add(self, found: files.Json) -> None:
        """Keep the values of these keys, on disk before this returns."""
        self._known |= found
        if self._own and found:
            files.append_jsonl(self._own, found)

    def due(self, turn: int, keys: Iterable[str]) -> bool:
        """Whether piece of work number `turn` is this process's, and the value of one of its keys missing."""
        return turn % self._share.ranks == self._share.rank and any(key not in self._known for key in keys)

    def meet(self) -> None:
        """Wait until all processes have come as far as this, and learn what the others have said.

        By files, not by a collective operation, which gives up after some minutes: one process may have more
        to do than the others. If one dies, msrun ends all.
        """
        if self._share.meetings is None:
            return
        self._met += 1
        signs = [self._share.meetings / f"{self._met}-{rank}" for rank in range(self._share.ranks)]
        signs[self._share.rank].touch()
        while not all(sign.exists() for sign in signs):
            time.sleep(0.1)
        self._read_all()

    def _read_all(self) -> None:
        if self._shared:
            for path in sorted(self._shared.parent.glob(f"{self._shared.stem}*{self._shared.suffix}")):
                for row in files.read_appended_jsonl(path):
                    self._known |= row
