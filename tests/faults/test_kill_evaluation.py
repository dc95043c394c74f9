"""kill -9 in the middle of an evaluation: the next one asks the network only what was not answered yet."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mcqlora import files
from tests.workflow.conftest import ROOT, TINY

# Evaluates checkpoint_5 of the finished tiny run, counts the passes, and dies by its own hand before one.
SCRIPT = """
import os, signal, sys
from pathlib import Path
from mcqlora import files
from mcqlora.config import checks, loading, params
from mcqlora.evaluate import forward as network, tasks

root, tiny, results, runs, output, fatal = sys.argv[1:]
settings = loading.read_yaml(Path(root, "config.yaml"))
for key, value in loading.read_yaml(Path(tiny)).items():
    settings[key] = settings[key] | value if isinstance(value, dict) else value
settings = loading.check(settings, loading.read_yaml(Path(root, "workflow/schemas/config.schema.yaml")))
checks.check(settings, None)
passes = 0
load = network.load

def counting(*arguments):
    forward = load(*arguments)
    def counted(rows):
        global passes
        if passes == int(fatal):
            os.kill(os.getpid(), signal.SIGKILL)
        passes += 1
        return forward(rows)
    return counted

network.load = counting
results = Path(results)
scores = tasks.evaluate(
    model="checkpoint_5",
    base=results / "base",
    adapter=str(results / "adapters/checkpoint_5.safetensors"),
    tokenizer_path=str(results / "tokenizer.model"),
    questions=str(results / "questions.jsonl"),
    test=str(results / "splits/test.json"),
    train=str(results / "splits/train.json"),
    last_copy=str(results / "epochs/epoch_6.json"),
    squad_path=str(results / "data" / settings["evaluate"]["squad"]),
    runs=Path(runs),
    **params.evaluate(settings),
)
files.write_json(output, {"scores": scores, "passes": passes})
"""


def evaluate(folder: Path, results: Path, fatal: int) -> int:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    arguments = [ROOT, TINY, results, folder / "runs", folder / "output.json", fatal]
    command = [sys.executable, "-c", SCRIPT, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=environment, stderr=subprocess.DEVNULL).returncode


@pytest.mark.faults
def test_a_killed_evaluation_goes_on_where_it_was(finished, tmp_path):
    results = finished / "results" / "tiny"
    never = 10**9
    assert evaluate(tmp_path, results, never) == 0
    whole = files.read_json(tmp_path / "output.json")
    written = [files.read_json(results / f"evaluation/checkpoint_5/{kind}.json") for kind in ("mcq", "squad")]
    assert whole["scores"] == written  # as the workflow has them

    again = tmp_path / "again"
    again.mkdir()
    total, made = whole["passes"], 0
    for part in (total // 3, total // 3):
        assert evaluate(again, results, part) == -signal.SIGKILL
        made += part
    assert evaluate(again, results, never) == 0
    last = files.read_json(again / "output.json")
    assert last["scores"] == whole["scores"]
    # Scored batches are never asked again; of generation a kill loses the texts that were not ended yet.
    assert last["passes"] < total
    assert total - made <= last["passes"] <= total - made + 2 * 4

    assert evaluate(again, results, 0) == 0  # nothing is asked any more
    assert files.read_json(again / "output.json") == {"scores": whole["scores"], "passes": 0}
