"""Clocks that disagree: finished results stay finished, and a file from the future is named."""

from __future__ import annotations

import os
import time

import pytest

from mcqlora import hashing
from tests.helpers import artefacts
from tests.helpers.processes import run
from tests.helpers.runs import only_line

pytestmark = pytest.mark.faults

GIVEN = ("tokenizer={path: tokenizer.model}", "base={text: train}")
YEAR = 365 * 24 * 3600


def shift(folder, seconds):
    """Move the times of all files, as a clock does that was wrong when they were made."""
    for path in (folder, *folder.rglob("*")):
        changed = path.stat().st_mtime_ns + seconds * 10**9
        os.utime(path, ns=(changed, changed))


@pytest.mark.parametrize("years", [-10, 10])
def test_finished_results_stay_finished(copy, years):
    shift(copy, years * YEAR)
    done = run(copy)
    assert done.returncode == 0 and "Nothing to be done" in done.stderr


def test_results_from_the_future_are_refused_before_more_is_made_of_them(copy):
    shift(copy / "results", 10 * YEAR)
    made = copy / "results/tiny/training/training.json"
    before = hashing.sha256(made)
    line = only_line(run(copy, config=("train={learning_rate: 0.01}",)))
    assert "in the future; set the clock right, then touch it" in line
    assert hashing.sha256(made) == before


@pytest.mark.parametrize(
    ("artefact", "seconds"), [("questions.jsonl", 0), ("splits/train.json", 0), ("tokenizer.model", -YEAR)]
)
def test_an_artefact_of_another_time_re_runs_once_at_most(copy, finished, artefact, seconds):
    path = copy / "results/tiny" / artefact
    changed = time.time() + seconds
    os.utime(path, (changed, changed))
    for _ in range(2):
        last = run(copy)
        assert last.returncode == 0, last.stderr[-3000:]
    assert "Nothing to be done" in last.stderr
    assert artefacts.hashes(copy) == artefacts.hashes(finished)


def test_a_given_file_from_the_future_is_named(tmp_path, csv_data):
    folder, data, config = tmp_path, csv_data, [f"data={csv_data}", *GIVEN]
    path = data / "island_en/dev/clan_trees_dev.csv"
    ahead = time.time() + YEAR
    os.utime(path, (ahead, ahead))
    line = only_line(run(folder, "results/tiny/alpaca.json", config=config))
    assert str(path) in line and "in the future" in line
    assert not (folder / "results").exists() or not list(folder.glob("results/tiny/*.json*"))
    os.utime(path)
    assert run(folder, "results/tiny/alpaca.json", config=config).returncode == 0
    os.utime(path, (ahead, ahead))  # the same bytes
    assert "Nothing to be done" in run(folder, "results/tiny/alpaca.json", config=config).stderr
