"""Which attention a network takes: MindSpore's fused kernel (flash attention), or plain operators.

The kernel is `FlashAttentionScore`, with a mask for each row (see `model.flash`). It has another form for
rows of several documents (layout TND): that wants their ends as Python numbers, for which a graph would be
compiled, and a triangle in each, which the continuations of an evaluation's row are not.
"""

from __future__ import annotations

from mcqlora.errors import UserError
from mcqlora.model.architecture import Architecture

# Documented limits: mindspore/ops/auto_generate/gen_ops_prim.py, mindformers/modules/flash_attention.py.
MULTIPLE = 16  # of which the width of a head, and the ids of a row, are a multiple
WIDEST = 512  # heads


def missing(device: str, network: Architecture, seq_length: int) -> str | None:
    """What keeps the fused kernel from being used; None if nothing does."""
    width = network.projections()["wq"][1] // network.num_heads
    if device != "Ascend":
        return f"a {device} has no such kernel"
    if width % MULTIPLE or width > WIDEST:
        return f"heads are {width} wide, no multiple of {MULTIPLE} up to {WIDEST}"
    if seq_length % MULTIPLE:
        return f"encode.seq_length {seq_length} is no multiple of {MULTIPLE}"
    return None


def fused(asked: str, device: str, network: Architecture, seq_length: int) -> bool:
    """Whether attention is fused; `asked` is `train.attention`.

    Raises:
        UserError: flash is asked for and cannot be had.
    """
    reason = missing(device, network, seq_length)
    if asked == "flash" and reason:
        raise UserError(f"train.attention: flash, but {reason}; set it to auto or plain")
    return asked != "plain" and reason is None
