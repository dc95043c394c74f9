"""The network under packed rows: a document learns what it would learn in a row of its own."""

from dataclasses import replace

import numpy as np
import pytest

ms = pytest.importorskip("mindspore")

from mindformers.pet import LoraConfig, get_pet_model  # noqa: E402

from mcqlora.model.architecture import Lora  # noqa: E402
from mcqlora.model.decoder import InternLMConfig, InternLMForCausalLM  # noqa: E402
from mcqlora.tokens import packing  # noqa: E402
from mcqlora.tokens.packing import Document, Documents  # noqa: E402
from tests.helpers.networks import TINY  # noqa: E402

PAD, LENGTH = 2, 24
NETWORK = replace(TINY, vocab_size=60, hidden_size=32, num_heads=4, intermediate_size=48, init_std=0.2)
LORA = Lora(rank=4, alpha=8, dropout=0.0, target_modules=".*wq|.*wk|.*wv|.*wo")


def build(length, lora, **changes):
    """A float32 network with random weights everywhere, LoRA's B included, which starts at zero otherwise."""
    ms.set_context(mode=ms.GRAPH_MODE, device_target="CPU")
    ms.set_seed(1)
    config = replace(NETWORK, **changes).model_config(length, 2, "CPU", PAD, PAD, lora)
    config.pop("type")
    pet = config.pop("pet_config", None)
    made = InternLMForCausalLM(InternLMConfig(**config))
    if pet:
        made = get_pet_model(made, LoraConfig(**{key: pet[key] for key in pet if key != "pet_type"}))
    generator = np.random.default_rng(0)
    for parameter in made.get_parameters():
        if "norm" not in parameter.name:
            value = generator.normal(0, 0.2, parameter.shape).astype(np.float32)
            parameter.set_data(ms.Tensor(value))
    made.set_train()
    return made


@pytest.fixture(scope="module", params=[pytest.param("all weights", marks=pytest.mark.slow), "LoRA"])
def network(request):
    return build(LENGTH, LORA if request.param == "LoRA" else None)


@pytest.fixture(scope="module")
def documents():
    """Documents that fill two rows of LENGTH + 1 ids to the last, and a third one in part.

    The third id of each is the one that pads rows, as SmolLM2's mark of a turn's end is.
    """
    generator = np.random.default_rng(3)
    ids = [generator.integers(3, 60, n).astype(np.int32) for n in (25, 12, 8, 5, 9, 3)]
    for one in ids:
        one[2] = PAD
    return [Document(one, 1 + len(one) // 3) for one in ids]


def rows(documents, layout, size=LENGTH + 1):
    """The columns of all rows of some documents."""
    documents, form = Documents.of(documents), packing.RowFormat(size, PAD, layout)
    found = list(packing.batches(documents, packing.plan(documents.lengths, size, layout), form))
    return [np.concatenate([batch[name] for batch in found]) for name in packing.COLUMNS[layout]]


def loss_and_gradients(network, columns):
    """Mean loss over the labels of all rows, and the gradients of the trainable weights."""
    weights = network.trainable_params()
    step = ms.value_and_grad(network, None, weights)
    loss, gradients = step(*(ms.Tensor(column) for column in columns))
    names = [weight.name for weight in weights]
    return loss.asnumpy().item(), dict(zip(names, (g.asnumpy() for g in gradients), strict=True))


def test_packed_rows_give_the_loss_and_the_gradients_of_padded_ones(network, documents):
    padded, packed = rows(documents, "padded"), rows(documents, "packed")
    assert (len(padded[0]), len(packed[0])) == (6, 3)
    loss, gradients = loss_and_gradients(network, padded)
    packed_loss, packed_gradients = loss_and_gradients(network, packed)
    assert packed_loss == pytest.approx(loss, rel=2e-6)
    assert gradients.keys() == packed_gradients.keys()
    for name, gradient in gradients.items():
        assert np.abs(gradient).max() > 0, name
        scale = np.abs(gradient).max()
        np.testing.assert_allclose(packed_gradients[name], gradient, rtol=0, atol=2e-5 * scale, err_msg=name)


def test_at_the_end_of_a_long_row_a_document_is_what_it_is_alone():
    """Rotary's float32 angles are off by 1e-4 there, so positions that ran on would miss this tolerance."""
    size = 2048 + 1
    network = build(size - 1, None, num_layers=1, num_heads=2)
    generator = np.random.default_rng(3)
    ids = generator.integers(3, 60, size).astype(np.int32)
    before, last = Document(ids[:-200], size), Document(ids[-200:], 20)  # the first has no label
    alone = loss_and_gradients(network, rows([last], "padded", size))
    packed = loss_and_gradients(network, rows([before, last], "packed", size))
    assert packed[0] == pytest.approx(alone[0], rel=1e-6)
    for name, gradient in alone[1].items():
        atol = 5e-6 * np.abs(gradient).max()
        np.testing.assert_allclose(packed[1][name], gradient, rtol=0, atol=atol, err_msg=name)


def test_without_document_ids_packed_rows_would_leak(network, documents):
    """What the test above would not notice if attention crossed documents by design."""
    ids, labels, _ = rows(documents, "packed")
    loss, _ = loss_and_gradients(network, rows(documents, "padded"))
    assert abs(loss_and_gradients(network, [ids, labels])[0] - loss) > 2e-5 * loss  # ten times the tolerance


@pytest.mark.slow
def test_labels_of_batches_weigh_alike(network, documents):
    """Rows one by one, weighted by their numbers of labels, are the batch."""
    packed = rows(documents, "packed")
    whole, _ = loss_and_gradients(network, packed)
    weights = (packed[1][:, 1:] != packing.IGNORE).sum(1)
    single = [loss_and_gradients(network, [c[i : i + 1] for c in packed])[0] for i in range(len(weights))]
    assert np.average(single, weights=weights) == pytest.approx(whole, rel=2e-6)
