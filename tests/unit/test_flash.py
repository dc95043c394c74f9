"""The kernel's documented meaning against plain attention, in NumPy, with the masks that rows are given.

Documented (mindspore/ops/auto_generate/gen_ops_prim.py, FlashAttentionScore): y = softmax(mask(scale q k)) v,
where of the mask "0 indicates retention and 1 indicates discard"; in sparse mode 0 only the band from
`pre_tokens` before to `next_tokens` after the diagonal is calculated; key heads may divide query heads. It is
calculated block by block with a running maximum and sum (Dao et al. 2022, arXiv 2205.14135, algorithm 1).
"""

import numpy as np
import pytest

from mcqlora.errors import UserError
from mcqlora.evaluate import trees
from mcqlora.model.attention import fused, missing
from tests.helpers.networks import INTERNLM_7B, TINY

MASKED = -10000.0  # model.decoder's
BLOCK = 16


def plain(query, key, value, seen):
    """Our plain operators: an additive mask, softmax over all keys."""
    times = query.shape[1] // key.shape[1]
    key, value = (np.repeat(x, times, 1) for x in (key, value))
    scores = query @ key.swapaxes(-1, -2) / np.sqrt(query.shape[-1]) + (1.0 - seen[:, None]) * MASKED
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ value


def kernel(query, key, value, mask, next_tokens=0):
    """The documented kernel, online over blocks of keys; `mask` [B, 1, S, S], 1 is left out."""
    batch, heads, length, width = query.shape
    found = np.empty_like(query)
    for head in range(heads):
        of_key = head * key.shape[1] // heads
        for start in range(0, length, BLOCK):
            rows = slice(start, start + BLOCK)
            most, total, sums = np.full((batch, BLOCK), -np.inf), 0.0, 0.0
            for first in range(0, length, BLOCK):
                if first > start + BLOCK - 1 + next_tokens:
                    continue  # beyond the band
                columns = slice(first, first + BLOCK)
                scores = query[:, head, rows] @ key[:, of_key, columns].swapaxes(-1, -2) / np.sqrt(width)
                scores = np.where(mask[:, 0, rows, columns] == 1, -np.inf, scores)
                new = np.maximum(most, scores.max(-1))
                safe = np.where(np.isfinite(new), new, 0.0)
                shrink, weights = np.exp(most - safe), np.exp(scores - safe[..., None])
                total = total * shrink + weights.sum(-1)
                sums = np.expand_dims(shrink, -1) * sums + weights @ value[:, of_key, columns]
                most = new
            found[:, head, rows] = sums / total[..., None]
    return found


def discarded(seen):
    """`model.flash.Discarded` in NumPy."""
    return ~(seen | np.eye(seen.shape[-1], dtype=bool))[:, None]


def of_documents(ids):
    """Which earlier tokens of its own document a token sees; 0 is padding. As `model.decoder` has it."""
    ids = np.asarray(ids)
    same = (ids[:, :, None] == ids[:, None, :]) & (ids[:, None, :] > 0)
    return same & np.tri(ids.shape[1], dtype=bool)


def of_branches(branches):
    """Which earlier ids of the prompt and of its own branch an id sees. As `evaluate.forward` has it."""
    branches = np.asarray(branches)
    keys = branches[:, None, :]
    return ((keys == 0) | (keys == branches[:, :, None])) & np.tri(branches.shape[1], dtype=bool)


def a_tree():
    row = trees.to_row(trees.Tree(list(range(20)), [[1, 2, 3], [1, 4, 5, 6], [7, 8]]))
    return [*row.branches, *[-1] * (48 - len(row.branches))]


SEEN = {
    "one document": of_documents([[1] * 48, [1] * 30 + [0] * 18]),
    "packed documents": of_documents([[1] * 17 + [2] * 20 + [3] * 11, [1] * 5 + [2] * 33 + [0] * 10]),
    "a tree of continuations": of_branches([a_tree(), [0] * 48]),
}


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("name", SEEN)
def test_the_kernel_is_plain_attention(name, kv_heads):
    random, seen = np.random.default_rng(0), SEEN[name]
    query = random.normal(size=(2, 4, 48, 16))
    key, value = random.normal(size=(2, 2, kv_heads, 48, 16))
    expected, found = plain(query, key, value, seen), kernel(query, key, value, discarded(seen))
    tokens = seen.any(-1)  # all but padding
    assert np.isfinite(found).all()
    np.testing.assert_allclose(
        found.swapaxes(1, 2)[tokens], expected.swapaxes(1, 2)[tokens], rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("name", SEEN)
def test_nobody_sees_what_comes_later(name):
    """So the band may end at the diagonal (`next_tokens` 0); and what is looked at never is padding."""
    seen = SEEN[name]
    assert not np.triu(seen, 1).any()
    padding = ~seen.any(-1)
    assert not (seen & padding[:, None, :]).any()


@pytest.mark.integration
@pytest.mark.parametrize("name", SEEN)
def test_the_mask_is_made_of_operators(name):
    ms = pytest.importorskip("mindspore")
    from mcqlora.model import flash

    made = flash.Discarded()(ms.Tensor(SEEN[name].astype(np.float32)))
    assert made.dtype == ms.uint8 and np.array_equal(made.asnumpy(), discarded(SEEN[name]))


def test_where_the_kernel_is_taken():
    assert fused("auto", "Ascend", INTERNLM_7B, 1_024)
    assert not fused("plain", "Ascend", INTERNLM_7B, 1_024) and not fused("auto", "CPU", INTERNLM_7B, 1_024)
    assert missing("Ascend", TINY, 64) == "heads are 8 wide, no multiple of 16 up to 512"
    with pytest.raises(UserError, match=r"^train.attention: flash, but a CPU has no such kernel; set it to"):
        fused("flash", "CPU", INTERNLM_7B, 1_024)
    with pytest.raises(UserError, match=r"encode.seq_length 1000 is no multiple of 16"):
        fused("flash", "Ascend", INTERNLM_7B, 1_000)
