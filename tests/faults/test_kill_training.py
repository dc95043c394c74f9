"""kill -9 of Snakemake, msrun or a worker in mid training: the re-run ends with bitwise the same adapters."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess

import pytest

from tests.helpers.processes import at_work, running, wait_until
from tests.helpers.runs import ROOT, TINY

TARGET = "results/tiny/training/training.json"
COMMAND = [str(ROOT / "scripts" / "run"), TARGET, "--configfile", str(TINY), "--config", "train={epochs: 12}"]
MADE = (
    *(f"results/tiny/adapters/checkpoint_{k}.safetensors" for k in range(1, 6)),
    "results/tiny/training/history.csv",
    TARGET,
)

pytestmark = pytest.mark.faults


def steps_taken(folder):
    """Lines of all histories in the folder, the earlier trainings' among them."""
    return sum(path.read_bytes().count(b"\n") for path in folder.glob("runs/*/output/history.jsonl"))


def run(folder):
    return subprocess.run(COMMAND, cwd=folder, capture_output=True, text=True)


@pytest.fixture(scope="module")
def prepared(finished, tmp_path_factory):
    """All that comes before the training."""
    folder = tmp_path_factory.mktemp("prepared").resolve() / "run"
    shutil.copytree(finished, folder)
    shutil.rmtree(folder / "results/tiny/training")
    return folder


@pytest.fixture(scope="module")
def uninterrupted(prepared, tmp_path_factory):
    """What an uninterrupted training makes, and how many steps it takes."""
    folder = tmp_path_factory.mktemp("uninterrupted").resolve() / "run"
    shutil.copytree(prepared, folder)
    before = steps_taken(folder)
    done = run(folder)
    assert done.returncode == 0, done.stderr[-2000:]
    return {name: (folder / name).read_bytes() for name in MADE}, steps_taken(folder) - before


@pytest.mark.parametrize("moment", range(3))
@pytest.mark.parametrize("victim", ["snakemake", "bin/msrun", "worker.py"])
def test_the_rerun_makes_the_same_adapters(prepared, uninterrupted, tmp_path, victim, moment):
    expected, steps = uninterrupted
    folder = tmp_path.resolve() / "run"
    shutil.copytree(prepared, folder)
    last = steps_taken(folder) + random.Random(f"{victim} {moment}").randrange(steps - 10)
    with subprocess.Popen(
        COMMAND, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as first:
        assert wait_until(lambda: steps_taken(folder) > last or first.poll() is not None, 600)
        assert first.poll() is None, "the training ended before it could be killed"
        os.kill(running(folder, victim)[-1 if victim == "worker.py" else 0].pid, signal.SIGKILL)
        _, said = first.communicate(timeout=120)
        assert first.returncode != 0
    if victim == "worker.py":
        (line,) = [line for line in said.splitlines() if line.startswith("mcqlora: ")]
        assert "killed by signal 9 (see " in line
    assert wait_until(lambda: not at_work(folder), 60), at_work(folder)  # never two trainings at once
    done = run(folder)
    assert done.returncode == 0, done.stderr[-2000:]
    assert {name: (folder / name).read_bytes() for name in MADE} == expected
