"""What a run looks at before its first job: can it write, is there room, do the clocks agree.

Otherwise Snakemake would end in a traceback, or a job would fail after its work is done.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from mcqlora.errors import UserError

ROOM = 1 << 20  # bytes; Snakemake's own logs and records need some of them
SKEW = 5  # seconds that a file's time may be ahead of the clock, since servers' clocks differ


def check(made: Iterable[Path], state: Iterable[Path], given: Iterable[Path]) -> None:
    """Check the places that a run writes to, and the times of its files.

    `made` are folders of artefacts, which need not exist yet; `state` other folders that are written to;
    `given` input files.

    Raises:
        UserError: a folder is read-only or full, or a file is from the future. What is made of such a file
            would be older than it, so that every run would make it again.
    """
    latest = time.time() + SKEW
    for folder in (*made, *state):
        _check_room(next(place for place in (folder, *folder.absolute().parents) if place.exists()))
    for path in given:
        _check_time(path, latest)
    for folder in made:
        for place, _, names in os.walk(folder):
            _check_room(Path(place))
            for name in names:
                _check_time(Path(place, name), latest)


def _check_room(folder: Path) -> None:
    if not os.access(folder, os.W_OK | os.X_OK):  # false on a read-only file system, for root as well
        raise UserError(f"{folder}: cannot write there; mend permissions, or mount it writable")
    if shutil.disk_usage(folder).free < ROOM:
        raise UserError(f"{folder}: the disk is full; free space")


def _check_time(path: Path, latest: float) -> None:
    try:
        changed = path.stat().st_mtime
    except FileNotFoundError:
        return  # a dangling link
    if changed > latest:
        said = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(changed))
        raise UserError(f"{path}: was changed at {said}, in the future; set the clock right, then touch it")
