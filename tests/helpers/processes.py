"""Runs as a user starts them, and their processes, found by their working directory."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

from tests.helpers.runs import ROOT, TINY

RUN = str(ROOT / "scripts" / "run")


def start(
    folder: Path, *arguments: str, config: Sequence[str] = (), configfile: Path = TINY
) -> subprocess.Popen:
    """`make run` in `folder`, with targets and options before the configuration; in its own session."""
    command = [RUN, *arguments, "--configfile", str(configfile), *(["--config", *config] if config else [])]
    return subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def ended(process: subprocess.Popen) -> subprocess.CompletedProcess:
    """What it has said, when it has ended."""
    output, error = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, output, error)


def run(folder: Path, *arguments: str, **options: Any) -> subprocess.CompletedProcess:
    return ended(start(folder, *arguments, **options))


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
