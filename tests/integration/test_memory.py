"""What a network takes: no indices of broadcasts, and in scoring no more than its batch was made for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mindspore")

NETWORK = """
import sys
from dataclasses import replace
from tests.helpers.networks import TINY, random_weights

def resident():
    return next(int(l.split()[1]) << 10 for l in open("/proc/self/status") if l.startswith("VmRSS"))

layers, ids = map(int, sys.argv[1:])
network = replace(
    TINY, hidden_size=64, num_heads=4, num_layers=layers, intermediate_size=64, vocab_size=ids
)
"""
SCORE = """
from mcqlora.evaluate import engine, forward
from mcqlora.evaluate.trees import Row

score = forward.load(network.model_config(256, 8, "CPU", 0, 2), "CPU", random_weights(network), "random")
before = resident()
row = Row([3] * 256, [0] * 256, list(range(256)), [255], [5])
score(engine.padded_rows([row] * 8, 8, 256, 16))
print(resident() - before)
"""
PASS = """
from mcqlora.evaluate import engine, forward
from mcqlora.evaluate.memory import room
from mcqlora.evaluate.trees import Row

network = replace(network, num_heads=8, intermediate_size=512)
score = forward.load(network.model_config(512, 8, "CPU", 0, 2), "CPU", random_weights(network), "random")
row = Row([3] * 16, [0] * 16, list(range(16)), [15], [5])
score(engine.padded_rows([row], 1, 16, 16))  # what the first pass loads is not the pass's
before = resident()
for _ in range(3):
    score(engine.padded_rows([row] * 8, 8, 512, 32))
peak = next(int(l.split()[1]) << 10 for l in open("/proc/self/status") if l.startswith("VmHWM"))
print(round(100 * (peak - before) / (8 * room(network, "CPU", 4, False, 0).takes(512, 32))))
"""
TRAIN = """
import mindspore as ms
import numpy as np
from mindformers import MindFormerConfig
from mindformers.core.optim import AdamW
from mindformers.models import build_network
import mcqlora.model.decoder
from mcqlora.model.architecture import Lora
from mcqlora.train.step import PortableTrainOneStepCell

ms.set_context(mode=ms.GRAPH_MODE, device_target="CPU")
lora = Lora(rank=4, alpha=8, dropout=0.05, target_modules=".*wq|.*wk|.*wv|.*wo")
described = network.model_config(256, 8, "CPU", 0, 2, lora)
described |= {"parallel_config": {"recompute": {"recompute": "RECOMPUTE" in globals()}}}
config = {"model_config": described}
made = build_network(MindFormerConfig(model=config | {"arch": {"type": "InternLMForCausalLM"}}).model)
scale = ms.nn.DynamicLossScaleUpdateCell(16384, 2, 1000)
cell = PortableTrainOneStepCell(made, AdamW(made.trainable_params(), 1e-4), scale_sense=scale)
cell.set_train()
before = resident()
rows = ms.Tensor(np.full((8, 257), 3, np.int32))
cell(rows, rows)[0].asnumpy()
print(resident() - before)
"""


def kept(work: str, layers: int, ids: int = 50) -> int:
    """Bytes that a process has more after its first batch of 8 x 256 ids."""
    done = subprocess.run(
        [sys.executable, "-c", NETWORK + work, str(layers), str(ids)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PYTHONPATH": "src:.", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return int(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_intermediate_results_of_a_layer_are_not_kept():
    """Indices of broadcasts alone would be some 60 MB a layer."""
    assert kept(SCORE, 8) - kept(SCORE, 2) < 6 * 20e6


@pytest.mark.slow
def test_a_pass_takes_what_its_batch_is_made_for():
    """In hundredths of the estimate, which is meant to be somewhat high."""
    assert 50 < kept(PASS, 2, 20_000) <= 100


@pytest.mark.slow
def test_a_training_keeps_no_indices_of_its_logits():
    """A batch's logits are 33 MB here; the indices of each broadcast of them would be 131 MB."""
    assert kept(TRAIN, 1, 4050) - kept(TRAIN, 1) < 300e6


@pytest.mark.slow
def test_a_recomputing_training_compiles_one_layer():
    """Six more add 5.5 MB each, weights and the hidden states they begin with; in one graph 118 MB."""
    assert kept("RECOMPUTE = True\n" + TRAIN, 8) - kept("RECOMPUTE = True\n" + TRAIN, 2) < 6 * 10e6
