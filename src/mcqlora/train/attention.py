"""Which attention a training takes: MindSpore's fused kernel (flash attention), or plain operators."""

from __future__ import annotations

from mcqlora.errors import UserError
from mcqlora.model.architecture import Architecture

# Of the kernel behind `ops.flash_attention_score`, as mindformers/modules/flash_attention.py has them.
HEAD_WIDTHS = (64, 80, 96, 120, 128, 256)
ROW = 16  # of which the ids of a row are a multiple


def missing(device: str, network: Architecture, seq_length: int) -> str | None:
    """What keeps the fused kernel from being used; None if nothing does."""
    width = network.projections()["wq"][1] // network.num_heads
    if device != "Ascend":
        return f"a {device} has no such kernel"
    if width not in HEAD_WIDTHS:
        return f"heads are {width} wide, not one of {', '.join(map(str, HEAD_WIDTHS))}"
    if seq_length % ROW:
        return f"encode.seq_length {seq_length} is no multiple of {ROW}"
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
