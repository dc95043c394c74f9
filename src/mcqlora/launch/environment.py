"""The environment of a process that computes on MindSpore. Older Pythons must be able to import this."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path


def environment(logs: Path) -> dict[str, str]:
    """That of this process with what MindSpore, MindFormers and our own modules need; `logs` is theirs.

    PYTHONPATH keeps what it has: CANN's set_env.sh puts CANN's packages there.
    """
    logs = logs.resolve()
    paths = {
        "PATH": Path(sys.executable).parent,  # msrun starts `python`
        "PYTHONPATH": Path(__file__).parents[2],
    }
    first = {
        name: os.pathsep.join([str(path), *filter(None, [os.environ.get(name)])])
        for name, path in paths.items()
    }
    return {**os.environ, **first, "LOG_MF_PATH": str(logs), "HOME": home(logs / "home")}


def home(instead: Path) -> str:
    """This user's HOME, or the folder `instead` where nothing can be written there, or somebody else owns it.

    MindFormers' LoRA is MindPet's, which keeps a log in HOME and stops without one.
    """
    own = Path(os.environ.get("HOME", ""))
    with contextlib.suppress(OSError):
        if own.is_absolute() and own.stat().st_uid == os.geteuid():
            (own / ".cache").mkdir(exist_ok=True)
            if os.access(own / ".cache", os.W_OK | os.X_OK):
                return str(own)
    instead.mkdir(parents=True, exist_ok=True)
    return str(instead)
