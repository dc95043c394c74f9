"""What can go wrong in a training: one line that names the log, no process left, nothing earlier lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading

import numpy as np
import pytest

from mcqlora import hashing
from mcqlora.model import weights
from mcqlora.model.weights import read, save
from mcqlora.train import checkpoints
from tests.helpers.processes import at_work, running, wait_until
from tests.helpers.runs import ROOT, TINY, setting

TARGET = "results/tiny/training/training.json"

pytestmark = pytest.mark.faults


@pytest.fixture
def folder(finished, tmp_path):
    """A finished run, whose training is to be made anew."""
    copy = tmp_path.resolve() / "run"
    shutil.copytree(finished, copy)
    shutil.rmtree(copy / "results/tiny/training")
    return copy


def train(folder, *changes):
    pairs = [setting(change) for change in changes]
    command = [str(ROOT / "scripts/run"), TARGET, "--configfile", str(TINY), "--config", *pairs]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)


def before_training(folder):
    """Hashes of what a training needs, and of what earlier ones left for going on."""
    kept = ("splits", "mindrecord", "base", "evaluation")
    paths = [path for name in kept for path in (folder / "results/tiny" / name).rglob("*")]
    paths += folder.glob("runs/*/output/checkpoints/*")
    return {str(path): hashing.sha256(path) for path in paths if path.is_file()}


def failing(folder, *changes):
    """The one line of a training that fails."""
    before = before_training(folder)
    done = train(folder, *changes)
    said = done.stdout + done.stderr
    assert done.returncode != 0 and "Traceback" not in said, said[-3000:]
    (line,) = [line for line in said.splitlines() if line.startswith("mcqlora: ")]
    assert wait_until(lambda: not at_work(folder), 30), at_work(folder)
    assert before.items() <= before_training(folder).items()
    log = folder / line.partition(" (see ")[2].removesuffix(")")
    assert log.is_file() and log.parent.name.startswith("attempt-"), line
    return line


def written(folder):
    """Steps of the whole checkpoints of the last training."""
    newest = max(folder.glob("runs/*/config.yaml"), key=lambda path: path.stat().st_mtime)
    saved = newest.parent / "output" / "checkpoints"
    return [step for step in range(1, 200) if checkpoints.last_complete(saved, (step,))]


def test_a_learning_rate_that_is_much_too_high(folder):
    line = failing(folder, "train.learning_rate=1.0e+30")
    assert "training failed: FloatingPointError: " in line and "not finite at step" in line
    assert line.endswith(".log)") and "lower the learning rate (see runs/" in line
    for path in folder.glob("runs/*/output/checkpoints/*.safetensors"):
        assert all(np.isfinite(value).all() for value in weights.read(path).values()), path


def test_a_base_with_a_number_that_is_none(folder):
    path = folder / "results/tiny/base/model.safetensors"
    weights = read(path)
    weights["lm_head.weight"][0, 0] = np.nan
    save(weights, path)
    line = failing(folder)
    assert "the loss is not finite at step 1; the base is damaged, make it anew (see runs/" in line
    assert written(folder) == []


def test_a_worker_that_never_joins(folder):
    """It is stopped before it can look for the others, who wait for it as long as the configuration says."""

    def second_worker():
        said = "".join(log.read_text() for log in folder.glob("runs/*/attempt-1/worker_1.log"))
        found = running(folder, "scripts/worker.py")
        return next((process for process in found if f"mcqlora: process {process.pid}\n" in said), None)

    def stop():
        assert wait_until(second_worker, 300)
        second_worker().suspend()

    stopper = threading.Thread(target=stop)
    stopper.start()
    line = failing(folder, "train.rendezvous_timeout=20", "train.seed=7")
    stopper.join()
    assert "not all workers joined in time; see what kept one, or raise train.rendezvous_timeout" in line
    log = folder / line.partition(" (see ")[2].removesuffix(")")
    assert "Failed to initialize" not in log.read_text()  # the stopped one's
    assert written(folder) == []


def test_a_full_disk_while_a_checkpoint_is_written(folder, mounted):
    runs = folder / "runs"
    shutil.rmtree(runs)
    runs.mkdir()
    mounted("-t", "tmpfs", "-o", "size=64m", "tmpfs", runs)
    changes = ("train.lora_rank=64", "train.epochs=12")  # a checkpoint has 200 kB, a history 20

    def fill():
        assert wait_until(lambda: list(runs.glob("*/output/checkpoints/*.json")), 300)
        free = os.statvfs(runs).f_bavail * os.statvfs(runs).f_frsize
        with open(runs / "ballast", "wb") as file:
            file.write(bytes(free - 100_000))

    filler = threading.Thread(target=fill)
    filler.start()
    line = failing(folder, *changes)
    filler.join()
    assert "cannot write (No space left on device); free space or mend permissions (see runs/" in line
    first = written(folder)
    assert first
    (runs / "ballast").unlink()
    done = train(folder, *changes)
    assert done.returncode == 0, done.stderr[-2000:]
    assert set(first) <= set(written(folder)) and list(runs.glob("*/resumed.yaml"))
