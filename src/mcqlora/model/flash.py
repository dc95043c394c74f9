"""The mask of an NPU's fused attention kernel, for `model.decoder` and `evaluate.forward`.

The kernel is called by MindFormers' attention, which ends its band at the diagonal (`next_tokens` 0): blocks
of keys that come after all of a block's queries are passed over. `tests/unit/test_flash.py` compares the
kernel's documented meaning with plain attention, in NumPy.
"""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import nn, ops
from mindspore.ops import constexpr
from mindspore.ops import operations as P


@constexpr
def _own(length: int) -> ms.Tensor:
    return ms.Tensor(np.eye(length, dtype=bool)[None])


class Discarded(nn.Cell):
    """The kernel's mask, uint8 [B, 1, S, S], 1 where a query's key is left out, of `seen` [B, S, S].

    `seen` is true, or not 0, where a token attends. Padding, which attends to nothing, attends to itself: the
    mean over no key is not defined, and whatever comes of padding is looked at by nobody.
    """

    def __init__(self) -> None:
        super().__init__()
        self.either, self.neither, self.of_heads = P.LogicalOr(), P.LogicalNot(), P.ExpandDims()

    def construct(self, seen):
        _, length, _ = seen.shape
        left_out = self.neither(self.either(ops.cast(seen, ms.bool_), _own(length)))
        return self.of_heads(ops.cast(left_out, ms.uint8), 1)

    def divide(self, rows: int) -> None:
        """As the cells of `model.decoder`."""
        self.either.shard(((rows, 1, 1), (1, 1, 1)))
        for operator in (self.neither, self.of_heads):
            operator.shard(((rows, 1, 1),))
