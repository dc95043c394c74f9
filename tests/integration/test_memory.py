"""What a compiled network keeps: nothing that grows with its layers but its weights."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mindspore")

SCORE = """
import sys
from dataclasses import replace
from mcqlora.evaluate import engine, forward
from mcqlora.evaluate.trees import Row
from tests.helpers.networks import TINY, random_weights

def resident():
    return next(int(l.split()[1]) << 10 for l in open("/proc/self/status") if l.startswith("VmRSS"))

network = replace(TINY, hidden_size=64, num_heads=4, num_layers=int(sys.argv[1]), intermediate_size=64)
score = forward.load(network.model_config(256, 8, "CPU", 0, 2), "CPU", random_weights(network), "random")
before = resident()
row = Row([3] * 256, [0] * 256, list(range(256)), [255], [5])
score(engine.padded_rows([row] * 8, 8, 256, 16))
print(resident() - before)
"""


def kept(layers: int) -> int:
    """Bytes that a process has more after its first batch of 8 x 256 ids."""
    done = subprocess.run(
        [sys.executable, "-c", SCORE, str(layers)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env={"PYTHONPATH": "src:.", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return int(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_intermediate_results_of_a_layer_are_not_kept():
    """Indices of broadcasts alone would be some 60 MB a layer."""
    assert kept(8) - kept(2) < 6 * 20e6
