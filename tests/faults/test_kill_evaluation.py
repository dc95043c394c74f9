"""kill -9 in the middle of an evaluation: the next one asks the network only what was not answered yet."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mcqlora import files
from tests.helpers.runs import ROOT, TINY

# Evaluates checkpoint_5 of the finished tiny run, counts the passes, and dies by its own hand before one.
SCRIPT = """
import os, signal, sys
from pathlib import Path
from mcqlora import files
from mcqlora.config import loading
from mcqlora.evaluate import forward as network, tasks
from mcqlora.evaluate.mcq import McqSettings
from mcqlora.evaluate.asking import GenerationSettings
from mcqlora.evaluate.model import ModelSpec
from mcqlora.model.architecture import of_base

root, tiny, results, runs, output, fatal = sys.argv[1:]
settings = loading.namespace(loading.load(loading.read_yaml(Path(tiny))))
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
asked = settings.evaluate
model = ModelSpec(
    name="checkpoint_5",
    base=str(results / "base"),
    adapter=str(results / "adapters/checkpoint_5.safetensors"),
    tokenizer=str(results / "tokenizer.model"),
    runs=runs,
    architecture=of_base(settings.model, results / "base", settings.encode.seq_length),
    scaling=settings.train.lora_alpha / settings.train.lora_rank,
    device=settings.device,
    seq_length=settings.encode.seq_length,
    batch_size=asked.batch_size,
    template=None,
)
task = tasks.Evaluation(
    model=model,
    questions=str(results / "questions.jsonl"),
    groups=str(results / "groups.json"),
    test=str(results / "splits/test.json"),
    train=str(results / "splits/train.json"),
    last_copy=str(results / "epochs/epoch_6.json"),
    squad=str(results / "data" / settings["evaluate"]["squad"]),
    multiple_choice=McqSettings(
        protocols=asked.protocols,
        shots=asked.shots,
        rotations=asked.rotations != 1,
        option_references={},
        leak_items=asked.leak_items,
        generation=GenerationSettings(asked.generation_items, asked.generation_max_new_tokens),
    ),
    reading=GenerationSettings(asked.squad_items, asked.squad_max_new_tokens),
    seed=asked.seed,
)
scores = tasks.ask(task, 1, Path("none"))
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
