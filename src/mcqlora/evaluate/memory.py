"""How many rows a forward pass may have, by the memory there is."""

from __future__ import annotations

from dataclasses import dataclass

from mcqlora.errors import UserError
from mcqlora.model.architecture import DEVICES, Architecture

SHARE = 0.5  # of a CPU's memory, and of an NPU's all: weights and passes; others and MindSpore have the rest


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """The memory for forward passes of a network."""

    network: Architecture
    bytes: float
    width: int  # bytes of a number
    flash: bool  # attention by the fused kernel, which keeps no scores

    def takes(self, length: int, positions: int) -> float:
        """Bytes of a pass for each row of `length` ids with so many `positions`, an estimate.

        Of one layer at a time, whose memory the next one takes over: per pair of a head's query and key five
        numbers (scores, mask, softmax and what comes before it) or the fused kernel's mask of a byte; per id
        eight as wide as the hidden state, and three as wide as the feed-forward. Of the head three per
        position and id of the vocabulary, of four bytes. `tests/integration/test_memory.py` measures it.
        """
        network = self.network
        scores = length if self.flash else 5 * self.width * network.num_heads * length
        states = self.width * (8 * max(network.hidden_size, network.q_width) + 3 * network.intermediate_size)
        return length * (scores + states) + 12 * positions * network.vocabulary

    def rows(self, most: int, length: int, positions: int) -> int:
        """How many such rows a pass may have: at most `most`, and one at least."""
        return max(1, min(most, int(self.bytes // self.takes(length, positions))))


def room(network: Architecture, device: str, width: int, flash: bool, memory: int) -> Room:
    """What is left beside the weights, of a CPU's `memory` in bytes, or of an NPU's own.

    How many processes share an evaluation has no part in it, since that must not change what they find.

    Raises:
        UserError: an NPU cannot hold the network.
    """
    if cannot := DEVICES[device].cannot_ask(network):
        raise UserError(f"evaluate: {cannot}")
    own = DEVICES[device].memory
    there = SHARE * memory if own is None else own
    return Room(network=network, bytes=there - width * network.parameters().total, width=width, flash=flash)
