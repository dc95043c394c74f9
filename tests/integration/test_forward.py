"""Scoring on a CPU, where one layer is compiled and takes on each one's weights, and as one graph."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("mindspore")

from mindspore.ops import constexpr

from mcqlora.evaluate import forward
from mcqlora.evaluate.engine import padded_rows
from mcqlora.evaluate.trees import Tree, to_row
from mcqlora.model import decoder
from tests.helpers.networks import TINY, random_weights
from tests.helpers.runs import ROOT, environment


@constexpr
def elsewhere():
    return False


def test_layers_in_turn_are_the_whole_graph(monkeypatch):
    """Twice, so that the first layer's own weights must come back."""
    network = replace(TINY, num_heads=4, n_kv_heads=2, num_layers=3)
    weights = {name: 0.4 * value for name, value in random_weights(network).items()}
    config = network.model_config(64, 2, "CPU", 0, 2)
    rows = padded_rows(
        [to_row(Tree([5, 6, 7, 8], [[9, 10], [11, 12, 13]])), to_row(Tree([4], [[3]]))], 2, 16, 8
    )

    turns = forward.load(config, "CPU", weights, "random")
    found = [turns(rows) for _ in range(2)]
    monkeypatch.setattr(decoder, "on_cpu", elsewhere)
    whole, choices = forward.load(config, "CPU", weights, "random")(rows)
    for logprobs, first in found:
        np.testing.assert_allclose(logprobs, whole, atol=1e-5)
        assert np.array_equal(first, choices)
    assert np.ptp(whole[0, :5]) > 0.1


def test_the_threads_that_compute_go_first():
    """In a process of its own: those of this one may be older."""
    code = """
import os
from pathlib import Path
from mcqlora.evaluate import engine, forward
from mcqlora.evaluate.trees import Tree, to_row
from tests.helpers.networks import TINY, random_weights

own = os.getpriority(os.PRIO_PROCESS, 0)
score = forward.load(TINY.model_config(64, 2, "CPU", 0, 2), "CPU", random_weights(TINY), "random")
score(engine.padded_rows([to_row(Tree([5], [[9]]))], 2, 16, 8))
threads = {one.name: (one / "comm").read_text().strip() for one in Path("/proc/self/task").iterdir()}
nice = {one: os.getpriority(os.PRIO_PROCESS, int(one)) - own for one in threads}
compute = max(nice[one] for one in nice if "Thread_" in threads[one])
print([nice[str(os.getpid())], compute, max(nice.values())])
"""
    within = {"cwd": ROOT, "env": environment() | {"PYTHONPATH": "src:."}}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, **within)
    assert done.stdout.splitlines()[-1:] == [str([0, 0, forward.NICE])], done.stderr[-2000:]
