"""Two workers are one worker with twice the batch."""

import csv
import shutil

import pytest

from tests.helpers.runs import snakemake

TARGET = "results/tiny/training/training.json"


@pytest.mark.slow
def test_two_workers_equal_one_at_twice_the_batch(finished, tmp_path):
    histories = []
    for workers, batch in ((1, 16), (2, 8)):
        folder = tmp_path / str(workers)
        shutil.copytree(finished, folder)
        # Dropout's masks are each worker's own.
        change = f"train={{workers: {workers}, batch_size: {batch}, lora_dropout: 0.0}}"
        done = snakemake(folder, "--cores", "2", TARGET, "--config", change)
        assert done.returncode == 0, done.stderr[-2000:]
        with open(folder / "results/tiny/training/history.csv", newline="") as file:
            histories.append([{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)])
    one, two = histories
    assert [row["step"] for row in one] == [row["step"] for row in two]
    for a, b in zip(one[:4], two[:4], strict=True):
        assert b["train_loss"] == pytest.approx(a["train_loss"], rel=1e-4)
        assert b["gradient_norm"] == pytest.approx(a["gradient_norm"], rel=1e-3)
    # The batches differ from each other by far more: the agreement is of the same rows.
    norms = [row["gradient_norm"] for row in one[:4]]
    assert max(norms) / min(norms) > 1.01
