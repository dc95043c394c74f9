"""kill -9 of the main process: nothing goes on writing, and the next run ends with the same artefacts."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from mcqlora import io
from tests.faults.processes import at_work, running, wait_until
from tests.workflow.conftest import ROOT, TINY

COMMAND = [str(ROOT / "scripts" / "run"), "--configfile", str(TINY)]


def artefacts(folder: Path) -> dict[str, str]:
    """Hash of all that must not differ: JSON, MindRecord, weights; seconds are left out."""
    results = folder / "results" / "tiny"
    kinds = (".json", ".jsonl", ".mindrecord", ".db", ".safetensors", ".model", ".csv", ".yaml", ".svg")
    files = {p.relative_to(results): p for p in sorted(results.rglob("*")) if p.suffix in kinds}
    hashes = {str(name): io.sha256(path) for name, path in files.items() if name.name != "summary.json"}
    summary = io.read_json(results / "summary.json")
    del summary["seconds"]
    return hashes | {"summary.json": io.digest(summary)}


@pytest.mark.faults
def test_a_killed_run_finishes_with_the_same_artefacts(finished, tmp_path):
    folder = tmp_path.resolve()
    for stage in ("splits/train.json", "base/model.safetensors", "adapters"):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(COMMAND, cwd=folder, **quiet)
        # Kill in the stage after the artefact: in the base's training, in LoRA's, in the evaluation.
        assert wait_until(lambda stage=stage: (folder / "results/tiny" / stage).exists(), 300)
        time.sleep(6)
        snakemake = running(folder, "bin/snakemake")
        assert snakemake, f"the run ended before it could be killed after {stage}"
        os.kill(snakemake[0].pid, signal.SIGKILL)
        assert process.wait(30) != 0
        assert wait_until(lambda: not at_work(folder), 20), at_work(folder)
    done = subprocess.run(COMMAND, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert artefacts(folder) == artefacts(finished.resolve())


def test_a_second_run_in_one_folder_is_refused(tmp_path):
    (tmp_path / ".snakemake").mkdir()
    with subprocess.Popen(["flock", str(tmp_path / ".snakemake/mcqlora.lock"), "sleep", "20"]) as holder:
        time.sleep(0.5)
        second = subprocess.run(COMMAND, cwd=tmp_path, capture_output=True, text=True)
        holder.kill()
    assert second.returncode == 1
    assert second.stderr.count("\n") == 1 and "another run is at work" in second.stderr
