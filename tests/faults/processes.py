"""The processes of a run, found by their working directory."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import psutil


def at_work(folder: Path) -> list[psutil.Process]:
    """Processes whose working directory is in `folder`."""
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def running(folder: Path, program: str) -> list[psutil.Process]:
    """Those of them with a word of their command line that ends in `program`, the oldest first."""
    named = []
    for process in at_work(folder):
        try:
            if any(word.endswith(program) for word in process.cmdline()):
                named.append((process.create_time(), process.pid, process))
        except psutil.Error:
            continue
    return [process for *_, process in sorted(named)]


def wait_until(condition: Callable[[], object], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.2)
    return condition()
