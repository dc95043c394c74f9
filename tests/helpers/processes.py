"""Runs as a user starts them, and their processes, found by their working directory."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import termios
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


def on_terminal(folder: Path, *arguments: str, stop_at: str = "", columns: int = 100) -> tuple[int, str]:
    """`make run` of the tiny configuration on a terminal: (exit status, all that was written to it).

    Ctrl-C is typed when `stop_at` is seen.
    """
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(folder)
        os.environ["TERM"] = "xterm"
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # which a shell's background job ignores
        os.execv(RUN, [RUN, *arguments, "--configfile", str(TINY)])
    termios.tcsetwinsize(terminal, (24, columns))
    said = b""
    while True:
        try:
            part = os.read(terminal, 4096)
        except OSError:  # how Linux says that nobody has it open any more
            break
        if not part:
            break
        said += part
        if stop_at and stop_at.encode() in said:
            os.write(terminal, b"\x03")
            stop_at = ""
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), said.decode()


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


def running(folder: Path, program: str, first: bool = False) -> list[psutil.Process]:
    """Those of them with a word of their command line that ends in `program`, the oldest first.

    With `first` it is the first word after the interpreter.
    """
    named = []
    for process in at_work(folder):
        try:
            words = process.cmdline()[1:2] if first else process.cmdline()
            if any(word.endswith(program) for word in words):
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
