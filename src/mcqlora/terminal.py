"""What `make run` tells a person: how far it is, how long the rest may take, and what came out."""

from __future__ import annotations

import json
import os
import re
import sys
import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from mcqlora import files

TRAININGS = ("base", "train")  # rules whose job leaves in runs/ which step it is at
UNTIMED = (
    "all",
    "data",
    "export",
    "doctor",
    "judge",
    "plan",
    "verify",
)  # rules without a benchmark; they take no time
TAIL = 4096  # bytes from the end of a training's history, several of its lines
TRUSTED = 10.0  # seconds of finished jobs from which their pace counts more than that of earlier runs


@dataclass
class Job:
    """One that runs; `share` are its seconds so far, those with other jobs divided among them."""

    rule: str
    since: float
    share: float = 0.0


class Step(NamedTuple):
    """What of a training was seen, and when."""

    time: float
    step: int
    steps: int


@dataclass
class Progress:
    """Where a run is. Times are seconds since some start, and come from outside."""

    jobs: Mapping[str, int]  # that this run has to do, by rule
    known: Mapping[str, float]  # seconds that a job of a rule took in earlier runs, see `earlier`
    began: float
    running: dict[int, Job] = field(default_factory=dict)  # by Snakemake's number
    failed: dict[int, str] = field(default_factory=dict)  # the rules
    done: Counter[str] = field(default_factory=Counter)
    spent: dict[str, float] = field(default_factory=lambda: defaultdict(float))  # while a job of the rule ran
    measured: float = 0.0  # shares of the jobs that are done
    seen: list[Step] = field(default_factory=list)  # of the training that runs: the first and the last
    now: float = 0.0

    def __post_init__(self) -> None:
        self.now = self.began

    def advance(self, now: float) -> None:
        """Let time pass for what runs."""
        passed, self.now = max(now - self.now, 0.0), max(now, self.now)
        for job in self.running.values():
            job.share += passed / len(self.running)
        for rule in {job.rule for job in self.running.values()}:
            self.spent[rule] += passed

    def start(self, number: int, rule: str) -> None:
        self.failed.pop(number, None)  # Snakemake tries once more
        self.running[number] = Job(rule, self.now)
        if rule in TRAININGS:
            self.seen.clear()

    def finish(self, number: int) -> str | None:
        """The line of a rule whose last job this was."""
        job = self.running.pop(number)
        self.measured += job.share
        self.done[job.rule] += 1
        jobs = self.jobs.get(job.rule, 1)
        if self.done[job.rule] < jobs or job.rule in UNTIMED:
            return None
        line = f"{job.rule:<14}{duration(self.spent[job.rule]):>12}"
        return line + (f"   {count(jobs)}" if jobs > 1 else "")

    def fail(self, number: int, rule: str) -> str:
        """The line of a job that failed."""
        self.failed[number] = rule
        job = self.running.pop(number, None)
        return f"{rule} failed" + (f" after {duration(self.now - job.since)}" if job else "")

    def see(self, step: int, steps: int) -> None:
        """Take note of where the training is that runs."""
        self.seen[1:] = [Step(self.now, step, steps)]

    def look(self, runs: Path) -> None:
        """The same from the folder of all trainings, if one runs."""
        since = [job.since for job in tuple(self.running.values()) if job.rule in TRAININGS]
        if since and (found := training_step(runs, min(since))):
            self.see(*found)

    def first_line(self, by: str) -> str:
        """How much there is to do, and for how long by whose times."""
        if (left := self.left()) is None:
            return f"{count(self.total)}; how long is known after a first run"
        return f"{count(self.total)}, about {roughly(left)} by the times of {by}"

    @property
    def total(self) -> int:
        return sum(self.jobs.values())

    def line(self) -> str:
        """What is done, what runs and since when, and how long the rest may take."""
        begun: dict[str, list[float]] = defaultdict(list)
        for job in self.running.values():
            begun[job.rule].append(job.since)
        running = ", ".join(self._running(rule, since) for rule, since in begun.items())
        left, training = self.left(), self._training()
        rest = ""
        if left is not None:
            rest = f"about {roughly(left)} left"
        elif training is not None:
            rest = f"about {roughly(training)} left of its training"
        done = f"{self.done.total()} of {count(self.total)}"
        return " | ".join(part for part in (done, running, rest) if part)

    def _running(self, rule: str, since: list[float]) -> str:
        jobs = f" ({count(len(since))})" if len(since) > 1 else ""
        step = ""
        if self.seen and rule in TRAININGS:
            step = f", step {self.seen[-1].step:,} of {self.seen[-1].steps:,}"
        return f"{rule}{jobs} {duration(self.now - min(since))}{step}"

    def left(self) -> float | None:
        """Seconds that the rest may take, by earlier runs and the pace of this one; None if not known.

        The pace is what the finished jobs took, by what they took in earlier runs; it counts little while
        they are short. A training is judged by its own steps as soon as two were seen.
        """
        before = sum(self.known.get(rule, 0.0) * n for rule, n in self.done.items())
        pace = (self.measured + TRUSTED) / (before + TRUSTED)
        waiting = Counter(self.jobs) - self.done - Counter(job.rule for job in self.running.values())
        left, training = 0.0, self._training()
        for rule, jobs in waiting.items():
            if (seconds := self._seconds(rule)) is None:
                return None
            left += pace * seconds * jobs
        for job in self.running.values():
            if job.rule in TRAININGS and training is not None:
                left += training
            elif (seconds := self._seconds(job.rule)) is None:
                return None
            else:
                left += max(pace * seconds - job.share, 0.0)
        return left

    def _seconds(self, rule: str) -> float | None:
        return 0.0 if rule in UNTIMED else self.known.get(rule)

    def _training(self) -> float | None:
        """Seconds until the last step of the training that runs, by the steps that were seen."""
        if len(self.seen) < 2 or not any(job.rule in TRAININGS for job in self.running.values()):
            return None
        first, last = self.seen
        if last.step == first.step:
            return None
        return (last.time - first.time) / (last.step - first.step) * (last.steps - last.step)


def count(jobs: int) -> str:
    return f"{jobs} job" if jobs == 1 else f"{jobs} jobs"


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def roughly(seconds: float) -> str:
    """The same to one or two digits, since it is a guess."""
    if seconds < 55:
        return f"{max(round(seconds, -1), 10):.0f} s"
    return f"{round(seconds / 60)} min" if seconds < 7200 else f"{round(seconds / 3600)} h"


def earlier(folder: Path) -> dict[str, float]:
    """Seconds that a job of each rule took, by the benchmarks of earlier runs; empty if there are none.

    Snakemake writes `RULE.tsv` or `RULE/WILDCARDS.tsv` as soon as a job has ended. Seconds in which several
    jobs ran are divided among them, so that the sum over all is how long one waited.
    """
    spans = {}
    for path in folder.rglob("*.tsv"):
        try:
            seconds = float(path.read_text(encoding="utf-8").splitlines()[1].split("\t")[0])
        except (IndexError, ValueError, OSError):
            continue  # cut off or gone: it is a guess anyway
        end = path.stat().st_mtime
        spans[path] = (end - seconds, end)
    found: dict[str, list[float]] = defaultdict(list)
    for path, share in shares(spans).items():
        found[path.relative_to(folder).parts[0].removesuffix(".tsv")].append(share)
    return {rule: sum(took) / len(took) for rule, took in found.items()}


def write_times(folder: Path) -> str:
    """The same as lines of rule and seconds, for machines without earlier runs, see `read_times`."""
    model = re.search(
        r"^model name\s*: (.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE
    )
    machine = f"{os.cpu_count()} x {model[1] if model else 'unknown CPU'}"
    head = f"# seconds of a job of each rule of make run, on {machine}; made by make picture"
    return (
        "\n".join([head, *(f"{rule}\t{took:.1f}" for rule, took in sorted(earlier(folder).items()))]) + "\n"
    )


def read_times(path: Path) -> dict[str, float]:
    """Seconds that a job of each rule took; empty if there is no such file."""
    if not path.exists():
        return {}
    rows = (line.split("\t") for line in path.read_text(encoding="utf-8").splitlines() if line[:1] != "#")
    return {rule: float(took) for rule, took in rows}


def shares(spans: Mapping[Path, tuple[float, float]]) -> dict[Path, float]:
    """The length of each span, moments that lie in several of them divided among these."""
    found = dict.fromkeys(spans, 0.0)
    for low, high in pairwise(sorted({end for span in spans.values() for end in span})):
        there = [path for path, (begin, end) in spans.items() if begin <= low and high <= end]
        for path in there:
            found[path] += (high - low) / len(there)
    return found


def training_step(runs: Path, since: float) -> tuple[int, int] | None:
    """(step, number of steps) of the newest training in `runs`; None if none has done a step since then.

    Args:
        since: seconds since the epoch.
    """
    histories = [(path.stat().st_mtime, path) for path in runs.glob("*/output/history.jsonl")]
    time, history = max(histories, default=(-1.0, runs))
    if time < max(since, 0.0):
        return None
    with history.open("rb") as file:
        file.seek(max(history.stat().st_size - TAIL, 0))
        whole = file.read().rpartition(b"\n")[0]
    last = _steps(history.parents[1] / "config.yaml")
    return (json.loads(whole.rpartition(b"\n")[2])["step"], last) if whole else None


@cache
def _steps(config: Path) -> int:
    import yaml

    callbacks = yaml.safe_load(config.read_text(encoding="utf-8"))["callbacks"]
    return max(step for callback in callbacks for step in callback.get("checkpoints", ()))


def closing(run: str, whole: bool = True) -> Iterator[str]:
    """The lines at the end of a run: verdicts, where the report is, and what to try next.

    Args:
        whole: it was asked for without arguments.

    Raises:
        UserError: its summary.json is no JSON.
    """
    from mcqlora.report.verdicts import verdicts

    results = Path("results", run).resolve()
    for verdict in verdicts(files.read_json(results / "summary.json"))[:3]:
        yield plain(verdict)
    yield f"Report: {results / 'report.md'}"
    if not whole:
        yield "Next: make report, with the same RUN, puts all of it on one page"
        return
    yield "Next: make report puts all of it on one page;"
    yield """  make run RUN="--config 'train={lora_rank: 8}'" trains with another key's value;"""
    yield "  README.md, Recipes: your own questions and networks"


def plain(line: str) -> str:
    """A line of report.md without its marks."""
    return re.sub(r"\*\*|\[\^\w+\]", "", line)


def wrapped(line: str, width: int) -> str:
    """The same in lines of that width, those after the first indented."""
    return textwrap.fill(line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    sys.stdout.write(write_times(Path(sys.argv[1])))
