"""The mask of an NPU's fused attention kernel, for `model.decoder` and `evaluate.forward`.

The kernel is called by MindFormers' attention, which ends its band at the diagonal (`next_tokens` 0): blocks
of keys that come after all of a block's queries are passed over. `tests/unit/test_flash.py` compares the
kernel's documented meaning with plain attention, in NumPy.
"""

from __future__ import annotations

import mindspore as ms
from mindspore import ops


def discarded(seen):
    """The kernel's mask, uint8 [B, 1, S, S], 1 where a query's key is left out, of `seen` [B, S, S].

    `seen` is true, or not 0, where a token attends. Padding, which attends to nothing, attends to itself: the
    mean over no key is not defined, and whatever comes of padding is looked at by nobody.
    """
    _, length, _ = seen.shape
    own = ops.expand_dims(ops.eye(length, length, ms.bool_), 0)
    left_out = ops.logical_not(ops.logical_or(ops.cast(seen, ms.bool_), own))
    return ops.expand_dims(ops.cast(left_out, ms.uint8), 1)
