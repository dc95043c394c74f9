"""A full or read-only disk: one line, earlier artefacts as they were, and with room the run ends as ever."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.helpers import artefacts
from tests.helpers.processes import ended, run, start, wait_until
from tests.helpers.runs import only_line

pytestmark = pytest.mark.faults

ALPACA = "results/tiny/alpaca.json"


@pytest.fixture
def small(mounted, tmp_path):
    """A disk of 128 MB of its own."""
    folder = tmp_path.resolve() / "disk"
    folder.mkdir()
    return mounted("-t", "tmpfs", "-o", "size=128m", "tmpfs", folder)


def fill(folder, kilobytes):
    """Leave so many kilobytes free; returns the file that takes the others."""
    ballast = folder / "ballast"
    with open(ballast, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(folder).free - kilobytes * 1024)
    return ballast


# The data half takes 13 MB: no room at all, too little to begin, and two amounts that end in its midst.
@pytest.mark.parametrize("kilobytes", [0, 500, 2200, 5762])
def test_the_data_half_on_a_full_disk(small, finished, kilobytes):
    assert run(small, ALPACA).returncode == 0
    before = artefacts.hashes(small)
    ballast = fill(small, kilobytes)
    said_of_a_full_disk(run(small, "data"))
    found = artefacts.hashes(small)
    assert {name: found.get(name) for name in before} == before
    ballast.unlink()
    done = run(small, "data")
    assert done.returncode == 0, done.stderr[-3000:]
    expected = artefacts.hashes(finished)
    for name, value in artefacts.hashes(small).items():
        assert value == expected[name], name


def said_of_a_full_disk(result):
    """A line of ours, or Snakemake's own where it is Snakemake that cannot write its records."""
    said = result.stdout + result.stderr
    full = ("the disk of ", "No space left on device")
    assert result.returncode != 0 and "Traceback" not in said, said[-3000:]
    assert any(words in line for line in said.splitlines() for words in full), said[-3000:]
    ours = [line for line in said.splitlines() if line.startswith("mcqlora:")]
    assert all("free space" in line for line in ours), ours


def test_a_disk_that_fills_up_during_the_report(small, finished):
    folder, expected = small / "run", artefacts.hashes(finished)
    shutil.copytree(finished, folder, ignore=shutil.ignore_patterns("runs"))
    shutil.rmtree(folder / "results/tiny/figures")
    (folder / "results/tiny/summary.json").unlink()
    process = start(folder)
    # Snakemake writes a job's script moments before it runs it.
    assert wait_until(lambda: [*folder.glob(".snakemake/scripts/*.report.py")], 60)
    ballast = fill(small, 0)
    said_of_a_full_disk(ended(process))
    found = artefacts.hashes(folder)
    assert len(found) > 30 and all(expected[name] == value for name, value in found.items())
    ballast.unlink()
    done = run(folder)
    assert done.returncode == 0, done.stderr[-3000:]
    assert artefacts.hashes(folder) == expected
    assert artefacts.summary(folder) == artefacts.summary(finished)


@pytest.mark.parametrize(
    "place", ["results", "results/tiny/figures", "logs", "benchmarks/tiny", "runs", ".snakemake"]
)
def test_a_read_only_folder(copy, read_only, place):
    (copy / "results/tiny/data_card.md").unlink()  # so that there is something to do
    before = artefacts.hashes(copy)
    read_only(copy / place)
    line = only_line(run(copy))
    assert "cannot write" in line and (str(place) in line or place == ".snakemake")
    assert artefacts.hashes(copy) == before


def test_finished_results_may_be_read_only(copy, read_only):
    read_only(copy / "results")
    done = run(copy)
    assert done.returncode == 0 and "Nothing to be done" in done.stderr
