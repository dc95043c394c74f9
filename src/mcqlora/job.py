"""What every workflow script does around its work: log, one line on errors, record, end with the main run."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, TextIO

from mcqlora import files
from mcqlora.errors import UserError
from mcqlora.provenance import record

MASTER = "MCQLORA_MASTER"  # set in the Snakefile: the process whose end ends every job


class Terminal(NamedTuple):
    """Standard output and standard error as they were before the job's log took their place."""

    output: TextIO
    error: TextIO

    def say(self, line: str) -> None:
        """One line of ours on standard error, and in the log."""
        for stream in (self.error, sys.stderr):
            print(f"mcqlora: {line}", file=stream)


@contextlib.contextmanager
def job(snakemake: Any) -> Iterator[Terminal]:
    """Run the body as the job that Snakemake describes so; yields the terminal, for results and for progress.

    All that the body prints goes to the job's log. When it has ended well, what it made is recorded, see
    `provenance.record`. If the main Snakemake process dies, this process and all that it started are killed,
    so that nothing writes after it.

    Raises:
        SystemExit: 1, after one line on the terminal. Of a `UserError` that is its message; of any other
            exception it names the log, where the traceback stands.
    """
    if master := os.environ.get(MASTER):
        _end_with(int(master))
    log = snakemake.log[0]
    output, terminal = os.dup(1), os.dup(2)
    os.environ["LOG_MF_PATH"] = str(Path(log).with_suffix("").resolve())  # else MindFormers makes ./output
    with _log(log) as file:
        sys.stdout.flush()
        os.dup2(file.fileno(), 1)  # MindFormers talks there
        os.dup2(file.fileno(), 2)
        try:
            with (
                open(output, "w", encoding="utf-8", closefd=False) as results,
                open(terminal, "w", encoding="utf-8", closefd=False) as progress,
            ):
                yield Terminal(results, progress)
            made = record.Job(snakemake.rule, snakemake.input, snakemake.output, snakemake.params)
            record.write(made, Path(snakemake.scriptdir))
        except UserError as error:
            _say(terminal, str(error))
            raise SystemExit(1) from None
        except Exception as error:
            with contextlib.suppress(OSError):  # the disk of the log may be full
                traceback.print_exc()
                sys.stderr.flush()
            if isinstance(error, OSError) and error.errno in files.FULL:
                _say(terminal, str(files.unwritable(error.filename or log, error)))
            else:
                reason = " ".join(str(error).split())[:300]
                _say(terminal, f"{type(error).__name__}: {reason} (traceback in {log})")
            raise SystemExit(1) from None


def _log(path: str) -> IO[bytes]:
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return open(path, "ab", buffering=0)
    except OSError as error:
        sys.exit(f"mcqlora: {files.unwritable(path, error)}")


def progress_on(terminal: Terminal) -> Callable[[int, str], Callable[[int], Any]]:
    """An `engine.Progress`: bars on a terminal, and nothing elsewhere."""
    from tqdm import tqdm

    def progress(total: int, what: str) -> Callable[[int], Any]:
        return tqdm(total=total, desc=what, file=terminal.error, disable=None, leave=False).update

    return progress


def _say(terminal: int, message: str) -> None:
    line = f"mcqlora: {' '.join(message.splitlines())}\n"
    with contextlib.suppress(OSError):  # its reader may be gone; the log has the line, too
        os.write(terminal, line.encode(errors="backslashreplace"))  # a file's name need not be UTF-8
    with contextlib.suppress(OSError):
        sys.stderr.write(line)
        sys.stderr.flush()


def _end_with(master: int) -> None:
    """Kill this process and its children as soon as the process with the id `master` is gone (Linux)."""
    try:
        handle = os.pidfd_open(master)
    except ProcessLookupError:
        os.kill(os.getpid(), signal.SIGKILL)
        return

    def watch() -> None:
        select.select([handle], [], [])
        os.kill(os.getpid(), signal.SIGKILL)  # children ask the kernel to follow: die_with_parent

    threading.Thread(target=watch, daemon=True).start()
