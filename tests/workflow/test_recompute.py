"""Recomputation changes no result, dropout's masks included.

Here with two workers; one worker trains layer by layer then, see tests/integration/test_in_turns.py.
"""

import csv
import shutil

import pytest

from mcqlora import files
from tests.helpers.runs import setting, snakemake


@pytest.mark.slow
def test_recomputation_trains_the_same(finished, tmp_path):
    folder = tmp_path / "again"
    shutil.copytree(finished, folder, ignore=shutil.ignore_patterns("runs"))
    target = "results/tiny/training/training.json"
    done = snakemake(folder, "--cores", "2", target, "--config", setting("train.recompute=true"))
    assert done.returncode == 0, done.stderr[-2000:]
    assert "recompute: true" in (folder / "results/tiny/training/config.yaml").read_text()
    losses = []
    for root in (finished, folder):
        with open(root / "results/tiny/training/history.csv", newline="") as file:
            losses.append([float(row["train_loss"]) for row in csv.DictReader(file)])
    assert len(files.read_json(folder / target)["training"]["history"]) == len(losses[0])
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
