"""Layers in turn through one that stands for all, for a CPU: what is compiled, is one layer.

A graph of 30 layers takes long to compile, and a CPU's keeps some 60 MB for each of them, however narrow.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

from mindspore import Parameter, Tensor, nn


class Turns:
    """`layer`, a cell like each of `layers`, which share no weights with it."""

    def __init__(self, layers: Sequence[nn.Cell]):
        marked = layers[0]._recompute_cell  # by `Cell.recompute`; what it is marked by, cannot be copied
        self.layer = copy.deepcopy(layers[0], {id(marked): None})
        for _, cell in self.layer.cells_and_names():
            cell._scope = None  # another mark of it, for which a graph would compute the layer twice
        self._slots = list(self.layer.get_parameters())
        self._held = [list(layer.get_parameters()) for layer in layers]

    def __iter__(self) -> Iterator[int]:
        """The numbers of the layers; at each, `layer` has that one's weights."""
        return map(self.at, range(len(self._held)))

    def at(self, number: int) -> int:
        """`number`, and `layer` has its weights: they are pointed to, nothing is copied."""
        for slot, weight in zip(self._slots, self._held[number], strict=True):
            slot.assign_value(weight)
        return number

    def give(self, slots: Sequence[Parameter], held: Sequence[Sequence[Tensor]]) -> None:
        """Have the weights `slots`, of `layer` alone, be each of `held` at that layer's number."""
        self._slots += slots
        for number, more in enumerate(held):
            self._held[number] += more
