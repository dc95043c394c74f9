"""A training layer by layer, which compiles one, is that of the whole graph to the last bit."""

from dataclasses import replace

import numpy as np
import pytest

ms = pytest.importorskip("mindspore")

from mindformers import MindFormerConfig  # noqa: E402
from mindformers.core.optim import AdamW  # noqa: E402
from mindformers.models import build_network  # noqa: E402

from mcqlora.model.architecture import Lora  # noqa: E402
from mcqlora.train.in_turns import labelled_places  # noqa: E402
from mcqlora.train.step import PortableTrainOneStepCell  # noqa: E402
from tests.helpers.networks import TINY  # noqa: E402

LORA = Lora(rank=4, alpha=8, dropout=0.1, target_modules=".*wq|.*wo|.*w2")
NETWORK = replace(TINY, num_layers=3)
BATCH, LENGTH = 2, 24


def made(recompute, lora=LORA):
    """A training cell with the same weights every time."""
    ms.set_context(mode=ms.GRAPH_MODE, device_target="CPU")
    ms.set_seed(0)
    config = NETWORK.model_config(LENGTH, BATCH, "CPU", 0, 2, lora)
    config |= {"parallel_config": {"recompute": {"recompute": recompute}}}
    network = build_network(
        MindFormerConfig(model={"model_config": config, "arch": {"type": "InternLMForCausalLM"}}).model
    )
    random = np.random.default_rng(0)
    for parameter in network.get_parameters():
        parameter.set_data(ms.Tensor(random.normal(0.5, 0.2, parameter.shape).astype(np.float32)))
    scale = ms.nn.DynamicLossScaleUpdateCell(1024, 2, 1000)
    optimizer = AdamW(network.trainable_params(), 1e-2)
    return PortableTrainOneStepCell(network, optimizer, scale_sense=scale, use_clip_grad=True).set_train()


def rows(random, last, length=LENGTH + 1):
    """Two documents and some padding in each row; of the second only the `last` ids have labels."""
    ids = random.integers(3, NETWORK.vocab_size, (BATCH, length)).astype(np.int32)
    labels, documents = ids.copy(), np.ones_like(ids)
    labels[0, ::3], labels[1, : length - last], documents[:, 10:], documents[:, 20:] = -100, -100, 2, 0
    return ids, labels, documents


def trained(cell, columns):
    """Losses and norms of three steps, the weights after them, a validation loss."""
    random = np.random.default_rng(1)
    found = []
    for last in (6, 24, 13):  # labels at 22, 40 and 29 of 48 places: 32, all and 32 are computed
        loss, _, _, _, norm = cell(*map(ms.Tensor, rows(random, last)[:columns]))
        found.append((loss.asnumpy().item(), norm.asnumpy().item()))
    weights = [parameter.asnumpy() for parameter in cell.network.trainable_params()]
    held_out = list(map(ms.Tensor, rows(random, 6, LENGTH)[:columns]))
    loss, count = (cell.in_turns.loss if cell.in_turns else cell.network.set_train(False))(*held_out)
    return found, weights, (loss.asnumpy().item(), count.asnumpy().item())


@pytest.mark.parametrize("columns", [2, 3], ids=["padded", "packed"])
def test_in_turns_is_the_whole_graph(columns):
    whole, turns = made(recompute=False), made(recompute=True)
    assert whole.in_turns is None and turns.in_turns is not None
    (losses, weights, held_out), found = trained(whole, columns), trained(turns, columns)
    assert len({loss for loss, _ in losses}) == 3
    assert (found[0], found[2]) == (losses, held_out)
    for one, other in zip(weights, found[1], strict=True):
        assert np.array_equal(one, other)


def test_places_of_labels_are_filled_up_to_a_power_of_two():
    targets = np.full((2, 20), -100)
    targets[0, 3:5] = targets[1, 1:18] = 7
    places = labelled_places(targets, -100)
    assert places.tolist() == [3, 4, *range(21, 38), *[0] * 13] and places.dtype == np.int32
    assert labelled_places(np.full((2, 20), -100), -100).tolist() == [0] * 16  # the loss is 0
    assert labelled_places(np.full((2, 20), 7), -100).tolist() == list(range(40))


def test_no_weight_of_the_one_layer_is_the_network_s():
    cell = made(recompute=True)
    own = {id(parameter) for parameter in cell.get_parameters()}
    assert not own & {id(parameter) for parameter in cell.in_turns.turns.layer.get_parameters()}


def test_weights_outside_the_layers_take_the_whole_graph():
    assert made(recompute=True, lora=None).in_turns is None  # embeddings and head are trained
