"""LoRA's dropout: masks that only the seed, the step, the layer and the worker decide."""

import numpy as np
import pytest

ms = pytest.importorskip("mindspore")

from mcqlora.train.step import GOLDEN, MIX, StepDropout  # noqa: E402

ROWS, WIDTH, PROB = 512, 128, 0.05


@pytest.fixture(scope="module")
def step():
    ms.set_context(mode=ms.GRAPH_MODE, device_target="CPU")
    return ms.Parameter(ms.Tensor([0], ms.int32), name="step", requires_grad=False)


def dropped(step, at, *key):
    """Which elements a layer drops at a step, bool[ROWS, WIDTH]."""
    step.set_data(ms.Tensor([at], ms.int32))
    cell = StepDropout(PROB, step, *key)
    cell.set_train()
    out = cell(ms.Tensor(np.ones((ROWS, WIDTH), np.float32))).asnumpy()
    np.testing.assert_allclose(np.unique(out), [0, 1 / (1 - PROB)], rtol=1e-6)
    return out == 0


def expected(at, *key):
    """The same by 64-bit arithmetic."""
    number = 0
    for part in key:
        number = (number ^ part) * GOLDEN % 2**32
        number ^= number >> 15
    index = np.arange(ROWS * WIDTH, dtype=np.uint64).reshape(ROWS, WIDTH)
    bits = (index + np.uint64((at * GOLDEN + number) % 2**32)) * np.uint64(MIX[0]) % 2**32
    signed = bits.astype(np.uint32).view(np.int32)
    bits = (signed ^ (signed >> 15)).astype(np.int64) * MIX[1] % 2**32
    return bits.astype(np.uint32).view(np.int32) < int(PROB * 2**32) - 2**31


def test_mask_is_the_hash_of_its_key(step):
    for at, key in ((0, (0, 0, 0)), (34_503, (42, 127, 3)), (7, (2**31, 1, 1))):
        assert np.array_equal(dropped(step, at, *key), expected(at, *key))


@pytest.mark.slow
def test_share_and_independence(step):
    masks = [dropped(step, at, 0, site, worker) for at in (5, 6) for site in (0, 1) for worker in (0, 1)]
    sigma = np.sqrt(PROB * (1 - PROB) / masks[0].size)
    for mask in masks:
        assert abs(mask.mean() - PROB) < 5 * sigma
    normal = [(mask - PROB) / np.sqrt(PROB * (1 - PROB)) for mask in masks]
    for i, one in enumerate(normal):
        for other in normal[:i]:
            assert abs((one * other).mean()) < 5 / np.sqrt(one.size)


def test_nothing_is_dropped_outside_training(step):
    cell = StepDropout(PROB, step, 0, 0, 0)
    cell.set_train(False)
    ones = np.ones((ROWS, WIDTH), np.float32)
    assert np.array_equal(cell(ms.Tensor(ones)).asnumpy(), ones)
