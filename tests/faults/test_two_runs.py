"""Two runs at once: in one folder by Snakemake itself, and of two names with one training."""

from __future__ import annotations

import os
import shutil
import signal

import pytest

from tests.helpers import artefacts
from tests.helpers.processes import at_work, ended, running, start, wait_until
from tests.helpers.runs import only_line, snakemake

pytestmark = pytest.mark.faults

TARGET = "results/tiny/training/training.json"


@pytest.fixture
def first(copy):
    """A run that stands still in the midst of its training."""
    shutil.rmtree(copy / "runs")
    shutil.rmtree(copy / "results/tiny/adapters")
    (copy / TARGET).unlink()
    process = start(copy, TARGET, "--quiet", "all")  # what is missing in the middle alone makes nothing run
    assert wait_until(lambda: [*copy.glob("runs/*/output/history.jsonl")], 120), ended(process).stderr
    stopped = running(copy, "worker.py")
    assert stopped
    for worker in stopped:
        worker.suspend()
    yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert wait_until(lambda: not at_work(copy), 30)


def go_on(folder):
    for worker in running(folder, "worker.py"):
        worker.resume()


def test_a_second_run_is_refused_and_the_first_is_unharmed(copy, first, finished):
    by_itself = snakemake(copy, "--cores", "1")  # without our lock
    said = by_itself.stdout + by_itself.stderr
    assert by_itself.returncode != 0 and "Traceback" not in said
    assert said.count("Directory cannot be locked") == 1
    ours = ended(start(copy))
    assert "another run is at work" in only_line(ours)

    # Of another name it shares the training's folder; Snakemake's lock knows only the files of the two.
    shutil.copytree(copy / "results/tiny", copy / "results/other")
    line = only_line(
        snakemake(copy, "--cores", "1", TARGET.replace("tiny", "other"), "--config", "run=other")
    )
    assert "another training runs there; wait for it or stop it" in line
    assert not (copy / "results/other/training/training.json").exists()

    go_on(copy)
    done = ended(first)
    assert done.returncode == 0, done.stderr[-3000:]
    shutil.rmtree(copy / "results/other")
    assert artefacts.hashes(copy) == artefacts.hashes(finished)
    # Now the other run finds the training done, and only copies what it made.
    steps = sum(path.read_bytes().count(b"\n") for path in copy.glob("runs/*/output/history.jsonl"))
    shutil.copytree(copy / "results/tiny", copy / "results/other")
    shutil.rmtree(copy / "results/other/training")
    other = snakemake(copy, "--cores", "1", TARGET.replace("tiny", "other"), "--config", "run=other")
    assert other.returncode == 0, other.stderr[-3000:]
    assert sum(p.read_bytes().count(b"\n") for p in copy.glob("runs/*/output/history.jsonl")) == steps
