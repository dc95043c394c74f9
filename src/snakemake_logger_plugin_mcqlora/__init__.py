"""Snakemake's `--logger mcqlora`, for `scripts/run`: where a run is, its errors, and what came out.

On a terminal one line moves, and one stays for each rule that is done. Elsewhere there are errors and the
last lines alone. Snakemake's own log goes to .snakemake/log/ as ever; a dry run, --verbose and the like show
what they show without this.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import threading
import time
from logging import WARNING, LogRecord
from pathlib import Path
from typing import Any

from snakemake.common import NOTHING_TO_BE_DONE_MSG
from snakemake.logging import ColorizingTextHandler, DefaultFilter, DefaultFormatter
from snakemake.settings.enums import Quietness
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from mcqlora import terminal

RUN = "MCQLORA_RUN"  # set in the Snakefile: the name of the run
TIMES = Path(__file__).parents[2] / "docs" / "times.tsv"
LOG = "Complete log(s): "
STOPPED = ("Terminating processes on user request", "Will exit after finishing currently running jobs")
NO_REPORT = "marked for report but does not exist"
PAGE = "Report created"
HIDDEN = (  # of every run; of a job that failed, which has its own lines; of results made elsewhere
    "Building DAG of jobs",
    "is extended by additional config",
    "CalledProcessError",
    "Exiting because a job execution failed",
    "At least one job did not complete successfully",
    "Missing metadata for file",
)


class Screen:
    """Standard error: lines that stay and, on a terminal, one below them that moves."""

    def __init__(self) -> None:
        self.moves = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self.file = open(os.dup(2), "w", encoding=sys.stderr.encoding, errors="replace")  # noqa: SIM115
        self.bar: Any = None

    def begin(self, total: int) -> None:
        """Show the line that moves; what this process and its jobs write comes by a pipe, to stand above."""
        from tqdm import tqdm

        self.bar = tqdm(
            total=total, file=self.file, leave=False, bar_format="{bar:10} {desc}", dynamic_ncols=True
        )
        reading, writing = os.pipe()
        self.caught = [number for number in (1, 2) if os.isatty(number)]
        for number in self.caught:
            os.dup2(writing, number)
        os.close(writing)
        self.reader = threading.Thread(target=self._pass_on, args=(reading,), daemon=True)
        self.reader.start()

    def _pass_on(self, reading: int) -> None:
        with open(reading, encoding=self.file.encoding, errors="replace") as lines:
            for line in lines:
                self.say(line.rstrip("\n"))

    def say(self, line: str) -> None:
        bar = self.bar
        with contextlib.suppress(OSError):  # its reader may be gone
            if bar is None:
                print(line, file=self.file, flush=True)
            else:
                bar.write(line, file=self.file)

    def show(self, line: str, done: int) -> None:
        if self.bar is not None:
            self.bar.n = done
            self.bar.set_description_str(line)

    def end(self) -> None:
        """Take that line away."""
        if self.bar is not None:
            for number in self.caught:
                os.dup2(self.file.fileno(), number)
            self.reader.join(2)  # not for ever: a process that a job left behind may hold the pipe
            self.bar.close()
            self.bar = None


class LogHandler(LogHandlerBase):
    writes_to_stream = True
    writes_to_file = False
    has_filter = True
    has_formatter = True
    needs_rulegraph = True

    def __post_init__(self) -> None:
        asked = self.common_settings
        quiet = set(asked.quiet or ())
        switches = (asked.debug_dag, asked.verbose, asked.dryrun, asked.printshellcmds)
        self.snakemake = ColorizingTextHandler(asked.nocolor, sys.stdout if asked.stdout else sys.stderr)
        self.snakemake.setFormatter(DefaultFormatter(quiet, asked.show_failed_logs))
        self.snakemake.addFilter(DefaultFilter(quiet, *switches))
        plain = asked.dryrun or asked.verbose or asked.debug_dag or asked.show_failed_logs
        self.as_ever = plain or Quietness.ALL in quiet
        self.screen = Screen()
        self.progress: terminal.Progress | None = None
        self.rules: set[str] = set()  # of the DAG, also those that are up to date
        self.held: list[LogRecord] = []  # what Snakemake says before a run, or instead of one
        self.log = ".snakemake/log"
        self.stopped = False  # by the user
        self.last: list[str] = []  # lines of the end, if it is a good one
        self.ended = threading.Event()

    def emit(self, record: LogRecord) -> None:
        try:
            if self.as_ever:
                self.snakemake.handle(record)
            else:
                self._take(record, getattr(record, "event", None))
        except Exception:
            self.handleError(record)  # as every handler does: no run ends for its log

    def _take(self, record: Any, event: LogEvent | None) -> None:
        progress = self.progress
        if progress:
            progress.advance(record.created)
        if event == LogEvent.RULEGRAPH:
            self.rules = {node["rule"] for node in record.rulegraph["nodes"]}
        elif event == LogEvent.RUN_INFO:
            self._begin({rule: n for rule, n in record.stats.items() if rule != "total"}, record.created)
        elif event == LogEvent.JOB_INFO and progress:
            progress.start(record.jobid, record.rule_name)
            self.screen.show(progress.line(), progress.done.total())
        elif event == LogEvent.JOB_FINISHED and progress:
            line = progress.finish(record.job_id)
            if line and self.screen.moves:
                self.screen.say(line)
            if progress.done == progress.jobs:
                took = terminal.duration(progress.now - progress.began)
                self.last = [f"{terminal.count(progress.done.total())} done in {took}."]
                self.last += self._results()
        elif event == LogEvent.JOB_ERROR and progress:
            line = progress.fail(record.jobid, record.rule_name)
            if not self.stopped:
                self.screen.say(f"{line}; its log: {', '.join(record.log)}" if record.log else line)
        else:
            self._told(record, record.getMessage())

    def _told(self, record: LogRecord, said: str) -> None:
        """What is no event of a job: the end, an error, or what only Snakemake's log is for."""
        if said == NOTHING_TO_BE_DONE_MSG:
            self.last = [said, *self._results()]
        elif said.startswith(LOG):
            self.log = os.path.relpath(said.removeprefix(LOG))
        elif said.startswith(PAGE) and "--report" in sys.argv:
            self.last = [Path(sys.argv[sys.argv.index("--report") + 1]).resolve().as_uri()]
        elif NO_REPORT in said:
            self.held.clear()
            self.screen.say("mcqlora: there is nothing to report yet; make run first, with the same RUN")
        elif said.startswith(STOPPED):
            self.stopped = True
        elif killed := re.search(r"died with <Signals\.(\w+)", said):
            self.stopped |= killed[1] == "SIGINT"
            if not self.stopped:
                why = ", as the kernel does where memory runs out" if killed[1] == "SIGKILL" else ""
                self.screen.say(f"A job was ended by {killed[1]}{why}.")
        elif any(part in said for part in HIDDEN):
            pass
        elif record.levelno >= WARNING:
            self.held.clear()
            self.snakemake.handle(record)
        elif not self.progress:
            self.held.append(record)

    def _begin(self, jobs: dict[str, int], now: float) -> None:
        self.held.clear()
        known, by = terminal.earlier(Path("benchmarks", self.run)), "earlier runs"
        if not known and self.whole:
            known, by = terminal.read_times(TIMES), "another machine"
        self.progress = terminal.Progress(jobs, known, now)
        if self.screen.moves:
            self.screen.say(self.progress.first_line(by))
            self.screen.begin(self.progress.total)
            threading.Thread(target=self._tick, args=(self.progress,), daemon=True).start()

    def _tick(self, progress: terminal.Progress) -> None:
        """Let the line move while nothing happens."""
        while not self.ended.wait(1):
            with self.lock:  # type: ignore[union-attr]  # every handler has one
                with contextlib.suppress(OSError, ValueError, KeyError):  # files as they are written
                    progress.look(Path("runs"))
                progress.advance(time.time())
                self.screen.show(progress.line(), progress.done.total())

    @property
    def run(self) -> str:
        return os.environ.get(RUN, "")

    @property
    def whole(self) -> bool:
        """It was asked for without arguments: the demo as it is."""
        return sys.argv[-2:] == ["--cores", "all"]

    def _results(self) -> list[str]:
        """Verdicts and what to try next, if the report is part of what was asked for."""
        if "report" not in self.rules:
            return []
        width = shutil.get_terminal_size().columns if self.screen.moves else 10_000
        return ["", *(terminal.wrapped(line, width) for line in terminal.closing(self.run, self.whole))]

    def close(self) -> None:
        if self.ended.is_set():  # Snakemake closes it, and the interpreter once more
            return
        self.ended.set()
        with self.lock:  # type: ignore[union-attr]
            self.screen.end()
        if not self.as_ever:
            for line in self._end():
                self.screen.say(line)
        super().close()

    def _end(self) -> list[str]:
        progress = self.progress
        if self.last:
            return self.last
        if progress and (progress.failed or progress.running or progress.done):
            what = "Stopped" if self.stopped else "Failed"
            done = f"{progress.done.total()} of {terminal.count(progress.total)}"
            again = "the same command goes on from here"
            return [f"{what} after {done}; {again}. Snakemake's log: {self.log}"]
        for record in self.held:
            self.snakemake.handle(record)
        return []
