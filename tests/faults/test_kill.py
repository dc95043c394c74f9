"""kill -9 at random moments of a whole run: nothing goes on writing, and the artefacts are the same."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import time

import pytest

from tests.helpers import artefacts
from tests.helpers.processes import at_work, run, start, wait_until

KILLS = 20
SEED = 20
STARTING = 4  # seconds of a run before its first file
LONGEST = 8  # seconds waited after a file; a run that goes on has less to do than one from the start


@pytest.fixture(scope="module")
def timeline(finished):
    """(seconds after the first, path) of every file that the uninterrupted run wrote, in their order.

    Not of those that a killed run may never write: of one attempt at a training, which the next one leaves
    alone, and of the plan, which is no part of `all`.
    """
    kept = ("results", "benchmarks", "runs")
    files = [path for name in kept for path in (finished / name).rglob("*") if path.is_file()]
    others = re.compile(r"/attempt-|/plan\.json|/reckon\.tsv")
    files = [path for path in files if not others.search(str(path))]
    first = min(path.stat().st_mtime for path in files)
    return sorted((path.stat().st_mtime - first, str(path.relative_to(finished))) for path in files)


@pytest.fixture(scope="module")
def moments(timeline):
    """For each kill, in the run's order: (seconds, the last file written before, the victim)."""
    generator = random.Random(SEED)
    end = next(seconds for seconds, path in timeline if path.endswith("summary.json"))
    drawn = sorted(generator.uniform(-STARTING, end) for _ in range(KILLS))
    return [
        (
            seconds,
            max((known for known in timeline if known[0] <= seconds), default=(-STARTING, ".")),
            generator.choice(["snakemake", "all its processes"]),
        )
        for seconds in drawn
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One run's, which every kill interrupts and the next one goes on with."""
    return tmp_path_factory.mktemp("killed").resolve()


@pytest.mark.faults
@pytest.mark.parametrize("kill", range(KILLS))
def test_a_killed_run_leaves_only_whole_files(finished, folder, moments, kill, record_property):
    seconds, (since, path), victim = moments[kill]
    process = start(folder, "--quiet", "all")  # says less than a pipe holds
    last_job = folder / "logs/tiny/report.log"
    assert wait_until(lambda: (folder / path).exists() or process.poll() is not None, 300)
    wait_until(lambda: last_job.exists() or process.poll() is not None, min(seconds - since, LONGEST))
    assert process.poll() is None, "the run ended before it could be killed"
    (os.kill if victim == "snakemake" else os.killpg)(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL
    assert wait_until(lambda: not at_work(folder), 20), at_work(folder)
    record_property("killed", f"{victim} {seconds - since:.1f} s after {path} (at {seconds:.0f} s)")
    expected = artefacts.hashes(finished)
    for name, found in artefacts.hashes(folder).items():
        assert found == expected[name], f"{name} is there and not whole"


@pytest.mark.faults
def test_the_killed_run_ends_as_one_that_was_not(finished, folder):
    done = run(folder)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert artefacts.hashes(folder) == artefacts.hashes(finished)
    assert artefacts.summary(folder) == artefacts.summary(finished)
    assert "Nothing to be done" in run(folder).stderr


def test_a_second_run_in_one_folder_is_refused(tmp_path):
    (tmp_path / ".snakemake").mkdir()
    with subprocess.Popen(["flock", str(tmp_path / ".snakemake/mcqlora.lock"), "sleep", "20"]) as holder:
        time.sleep(0.5)
        second = run(tmp_path)
        holder.kill()
    assert second.returncode == 1
    assert second.stderr.count("\n") == 1 and "another run is at work" in second.stderr
