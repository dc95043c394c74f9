"""Recomputation changes no result: layer by layer, two workers train what the whole graph does."""

import shutil

import pytest

from tests.helpers.runs import setting, snakemake


@pytest.mark.slow
def test_recomputation_trains_the_same(finished, tmp_path):
    folder = tmp_path / "again"
    shutil.copytree(finished, folder, ignore=shutil.ignore_patterns("runs"))
    target = "results/tiny/training/training.json"
    done = snakemake(folder, "--cores", "2", target, "--config", setting("train.recompute=true"))
    assert done.returncode == 0, done.stderr[-2000:]
    assert "recompute: true" in (folder / "results/tiny/training/config.yaml").read_text()
    whole, in_turns = (root / "results/tiny/training" for root in (finished, folder))
    assert (in_turns / "history.csv").read_bytes() == (whole / "history.csv").read_bytes()
