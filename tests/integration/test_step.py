"""LoRA's dropout: masks that only the seed, the step, the layer and the worker decide."""

import numpy as np
import pytest

ms = pytest.importorskip("mindspore")

from mcqlora.train.dropout import LEVELS, StepDropout, StepNumbers, drawn  # noqa: E402

ROWS, WIDTH, PROB = 512, 128, 0.05
SHARE = 205 / LEVELS  # the nearest to PROB


@pytest.fixture(scope="module")
def numbers():
    ms.set_context(mode=ms.GRAPH_MODE, device_target="CPU")
    return ms.Parameter(ms.Tensor([0, 0, 0], ms.float32), name="numbers", requires_grad=False)


def dropped(numbers, at, seed, site, worker):
    """Which elements a layer drops at a step, bool[ROWS, WIDTH]."""
    numbers.set_data(StepNumbers(seed)(ms.Tensor([at], ms.float32)))
    cell = StepDropout(PROB, numbers, seed, site, worker)
    cell.set_train()
    out = cell(ms.Tensor(np.ones((ROWS, WIDTH), np.float32))).asnumpy()
    np.testing.assert_allclose(np.unique(out), [0, 1 / (1 - SHARE)], rtol=1e-6)
    return out == 0


def expected(at, seed, site, worker, rows=ROWS, width=WIDTH):
    """The same in whole numbers of 64 bits."""
    low, high = (drawn((LEVELS, 3), LEVELS, seed, digit).astype(int) for digit in (0, 1))
    odd = np.array([1, 0, 1])
    a, b, c = (low[at % LEVELS] | odd) + (high[at // LEVELS] & ~odd)
    sizes = ((rows, LEVELS), (width, LEVELS), (rows, LEVELS // 8), (width, LEVELS // 8))
    row, column, of_row, of_column = (
        drawn((size,), limit, seed, site, worker, n).astype(int) for n, (size, limit) in enumerate(sizes)
    )
    place = ((row * a + b) % LEVELS)[:, None] + column * c % LEVELS
    return place * (1 + 2 * of_row[:, None] + 2 * of_column) % LEVELS < SHARE * LEVELS


@pytest.mark.parametrize("key", [(0, 0, 0, 0), (34_503, 42, 127, 3), (2**24 - 1, 2**31, 1, 1)])
def test_mask_is_the_hash_of_its_key(numbers, key):
    assert np.array_equal(dropped(numbers, *key), expected(*key))


def test_every_level_is_as_frequent():
    """The hash is a permutation of the levels, whatever the odd numbers: no share is favoured."""
    levels = np.arange(LEVELS)
    for odd in drawn((9,), LEVELS // 8, 0, 9).astype(int) * 2 + 1:
        assert np.array_equal(np.sort(levels * odd % LEVELS), levels)


def test_share_and_independence():
    """Of steps, sites, workers, rows and columns: correlations spread as those of independent draws."""
    masks = [
        expected(at, 0, site, worker) for at in (5, 6, 5 + LEVELS) for site in (0, 1) for worker in (0, 1)
    ]
    sigma = np.sqrt(SHARE * (1 - SHARE) / masks[0].size)
    for mask in masks:
        assert abs(mask.mean() - SHARE) < 5 * sigma
    normal = [(mask - SHARE) / np.sqrt(SHARE * (1 - SHARE)) for mask in masks]
    for i, one in enumerate(normal):
        for other in normal[:i]:
            assert abs((one * other).mean()) < 5 / np.sqrt(one.size)
    square = expected(5, 0, 0, 0, 1024, 1024).astype(float)
    for lines in (square, square.T):
        found = np.corrcoef(lines)[np.triu_indices(1024, 1)] * np.sqrt(1024)
        assert found.std() == pytest.approx(1, abs=0.02)
        assert np.abs(found).max() < 8  # numpy's own draws: 6.2


def test_nothing_is_dropped_outside_training(numbers):
    cell = StepDropout(PROB, numbers, 0, 0, 0)
    cell.set_train(False)
    ones = np.ones((ROWS, WIDTH), np.float32)
    assert np.array_equal(cell(ms.Tensor(ones)).asnumpy(), ones)
