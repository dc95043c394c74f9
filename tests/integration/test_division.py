"""A network that is divided among devices, as far as a CPU allows.

MindSpore's frontend, which divides, is run as for NPUs (fixtures/divided.py). What it makes for two of them
is then run by two workers on a CPU, and compared with the training of one that holds all. A group of some of
the workers, and ReduceScatter, cannot be had on a CPU: four devices and the optimizer's parts are compiled
alone.
"""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from mcqlora.launch.msrun import Workers
from mcqlora.model import weights
from tests.helpers.networks import random_weights
from tests.integration.test_training_objects import ROWS, shards
from tests.unit.test_finetune import LORA, SMALL, TESTS, TINY, cpu, rendered

pytest.importorskip("mindformers")

LENGTH = 48
NETWORK = replace(TINY, num_heads=4, n_kv_heads=2)  # of keys one for each of two devices
FIXTURES = TESTS / "fixtures"


def prepared(folder, size, network=NETWORK):
    """config.yaml as for `size` workers, but for what a CPU has not; and the shards that it names."""
    training = cpu(ROWS, "packed", size=size, seq_length=LENGTH, network=network)
    train, _ = shards(folder, LENGTH, "packed")
    config = rendered(training, train, [])
    config |= {"load_checkpoint": "", "auto_trans_ckpt": False}
    # MindSpore leaves small parameters whole.
    config["parallel"]["parallel_optimizer_config"] = {"parallel_optimizer_threshold": 0}
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    return training


def divided(folder, devices, rank):
    """Let one worker compile or, where it is alone, train; what it leaves is in `folder`."""
    told = ["config.yaml", str(devices), str(rank), "."]
    environment = os.environ | {"PYTHONPATH": str(TESTS.parent / "src")}
    done = subprocess.run(
        [sys.executable, str(FIXTURES / "divided.py"), *told],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]


def layouts(folder, rank=0):
    """(parts of each axis, group among which the optimizer's are divided) of each parameter."""
    found = {}
    for name, layout in json.loads((folder / f"layouts-{rank}.json").read_text()).items():
        devices, axes, _, _, _, group, *_ = layout
        found[name] = ([1 if axis == -1 else devices[-1 - axis] for axis in axes], group)
    return found


def collectives(folder, rank=0):
    """How often there is an operator that sends something, by its kind and the shape of what it makes."""
    from mindspore.train.mind_ir_pb2 import ModelProto

    made = ModelProto()
    made.ParseFromString((folder / f"graph-{rank}.mindir").read_bytes())
    kinds = ("AllReduce", "AllGather", "ReduceScatter", "AllToAll", "NeighborExchange", "Broadcast")
    return Counter(
        (kind, *(tuple(size.dims) for one in node.attribute if one.name == "shape" for size in one.tensors))
        for graph in (made.graph, *made.functions)
        for node in graph.node
        if (kind := node.op_type.rpartition("::")[2].split(":")[0]) in kinds
    )


def all_reduced(head):
    """What two devices have to send in a step; `head` is whether it is divided among them."""
    rows, layers, hidden, rank = 2 * LENGTH, NETWORK.num_layers, NETWORK.hidden_size, LORA.rank
    sent = {
        (rows, hidden): 4 * layers,  # outputs of wo and w2, and the derivative of each such sum
        (rows, rank): 2 * layers,  # between wo's two matrices of LoRA, and the derivative
        (rank, hidden): 3 * layers,  # gradients of LoRA's first matrices of wq, wk and wv: these are whole
        (hidden, rank): layers,  # and of wo's second one
        (): 1,  # whether a gradient overflows
        (1,): 1,  # the norm for clipping
    }
    # Of a row's logits the greatest one, the sum of their exponentials, and the label's.
    sent |= {(rows, 1): 2, (rows,): 1} if head else {}
    return {("AllReduce", shape): times for shape, times in sent.items()}


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A network in two parts."""
    folder = tmp_path_factory.mktemp("two")
    prepared(folder, replace(SMALL, workers=2, tensor=2, batch_size=2))
    weights.save(random_weights(replace(NETWORK, vocab_size=500)), folder / "start" / "model.safetensors")
    for rank in (1, 0):
        divided(folder, 2, rank)
    return folder


def test_matrices_are_divided_by_heads_and_inner_width(two):
    found = layouts(two)
    layer = "model.layers.0"
    by_outputs, by_inputs, whole = [2, 1], [1, 2], [1, 1]
    for name in ("attention.wq", "attention.wk", "attention.wv", "feed_forward.w1", "feed_forward.w3"):
        assert found[f"{layer}.{name}.weight"][0] == by_outputs
    for name in ("attention.wo", "feed_forward.w2"):
        assert found[f"{layer}.{name}.weight"][0] == by_inputs
    for name, first, second in (("wq", whole, by_outputs), ("wo", by_inputs, whole)):
        for moment in ("", "adam_m.", "adam_v."):  # LoRA's, and what the optimizer keeps of them
            tensor = f"{moment}{layer}.attention.{name}.mindpet_delta_lora"
            assert (found[f"{tensor}_a"][0], found[f"{tensor}_b"][0]) == (first, second)
    assert found[f"{layer}.attention.wq.bias"][0] == [2] and found[f"{layer}.attention.wo.bias"][0] == [1]
    assert found["model.tok_embeddings.embedding_weight"][0] == whole
    assert found["lm_head.weight"][0] == by_outputs
    assert found[f"{layer}.attention_norm.weight"][0] == [1] == found["model.norm_out.weight"][0]


def test_nothing_else_is_sent(two):
    assert collectives(two) == all_reduced(head=True)


def test_each_worker_reads_its_part_of_the_base(two):
    """By MindSpore's own function, as MindFormers calls it."""
    from mcqlora.train.division import part

    told = json.loads((two / "layouts-0.json").read_text())
    compiled = SimpleNamespace(parameter_layout_dict={name: tuple(told[name]) for name in told})
    base, read = weights.read(two / "start" / "model.safetensors"), np.load(two / "read.npz")
    for name, value in base.items():
        assert np.array_equal(read[name], part(compiled, name, value, 0)), name
    assert read["model.layers.0.attention.wq.weight"].shape == (16, 32)


@pytest.mark.slow
def test_two_halves_train_as_one(two, tmp_path):
    """Losses, norms, weights and moments after three steps, with dropout; collected as for a checkpoint."""
    Workers(FIXTURES / "divided_steps.py", two, 2, two / "logs", 300).run()
    prepared(tmp_path, replace(SMALL, workers=1, batch_size=2))
    for name in ("start.npz", "inputs.npz"):
        shutil.copy(two / name, tmp_path / name)
    divided(tmp_path, 1, 0)
    told = json.loads((tmp_path / "whole.json").read_text())
    whole = np.load(tmp_path / "whole.npz")
    for rank in (0, 1):
        found = json.loads((two / f"divided-{rank}.json").read_text())
        np.testing.assert_allclose(found, told, rtol=1e-5)
        ended = np.load(two / f"divided-{rank}.npz")
        trained = [name for name in ended.files if "delta_lora" in name]
        assert len(trained) == 3 * 2 * 4 * NETWORK.num_layers  # weights and two moments
        for name in trained:
            np.testing.assert_allclose(ended[name], whole[name], rtol=1e-3, atol=1e-6, err_msg=name)


@pytest.mark.slow
def test_two_groups_of_two_divide_the_optimizer_among_all(tmp_path):
    prepared(tmp_path, replace(SMALL, workers=4, tensor=2, batch_size=2, shard_optimizer=True))
    weights.save(random_weights(replace(NETWORK, vocab_size=500)), tmp_path / "start" / "model.safetensors")
    divided(tmp_path, 4, 1)
    found = layouts(tmp_path, 1)
    assert found["inputs0"][0] == [2, 1]  # rows, among the groups
    layer = "model.layers.0.attention"
    assert found[f"{layer}.wq.weight"] == ([2, 1], "")  # frozen: nothing of it is sent
    everyone = found[f"adam_m.{layer}.wq.mindpet_delta_lora_a"]
    across = found[f"adam_m.{layer}.wq.mindpet_delta_lora_b"]
    assert everyone[0] == [1, 1] and across[0] == [2, 1] and "" not in (everyone[1], across[1])
    assert everyone[1] != across[1]  # all four; those that hold the same half


@pytest.mark.slow
@pytest.mark.parametrize("tied", [True, False])
def test_a_head_that_cannot_be_divided_is_whole(tmp_path, tied):
    network = replace(NETWORK, tied=tied, vocab_size=500 if tied else 501)
    prepared(tmp_path, replace(SMALL, workers=2, tensor=2, batch_size=2), network)
    divided(tmp_path, 2, 1)
    found = layouts(tmp_path, 1)
    assert found["model.tok_embeddings.embedding_weight" if tied else "lm_head.weight"][0] == [1, 1]
    assert collectives(tmp_path, 1) == all_reduced(head=False)
