"""The network as it is fed: batches of a few fixed shapes, and answers that are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mcqlora.evaluate.answers import Cache
from mcqlora.evaluate.trees import Forward, Row, Rows

if TYPE_CHECKING:  # judge needs no room: so its hash does not hold the network's dimensions
    from mcqlora.evaluate.memory import Room

# Padded sizes: ids of a row; positions of a row at which the head is asked.
LENGTHS = (64, 96, 128, 160, 192, 256, 320, 384, 512, 768, 1024, 1536, 2048)
WIDTHS = (16, 32, 64, 96, 128, 192, 256, 384, 512)

Step = Callable[[int], object]  # is told how many items were done since the last call
Progress = Callable[[int, str], Step]  # takes the number of items and their name


def silent(total: int, what: str) -> Step:
    """The `Progress` that shows nothing."""
    return lambda done: None


@dataclass(frozen=True)
class Engine:
    """A network that answers in batches."""

    forward: Forward
    batch_size: int  # rows of a forward pass, at most
    limit: int  # ids of the longest text that the network sees
    cache: Cache = field(default_factory=Cache)  # what it has said so far
    progress: Progress = silent
    head: float = 1.0  # what the head costs per position, in units of what the layers cost per id
    compilation: float = 20.0  # passes (64 ids, 16 positions per row) that take as long as compiling a shape
    room: Room | None = None  # the memory that a pass must fit into; None takes any

    def fitting(self, most: int, length: int, width: int) -> int:
        """How many rows of `length` ids and `width` positions a pass has: at most `most`, as fit; says so."""
        size = self.room.rows(most, length, width) if self.room else most
        if size < most:
            print(f"rows of {length} ids and {width} positions: {size} per pass, not {most}, for the memory")
        return size


def padded_rows(rows: Sequence[Row], batch: int, length: int, width: int) -> Rows:
    """`rows` and padding: `batch` rows of `length` ids and `width` targets."""
    shapes = ((length, 0), (length, -1), (length, 0), (width, 0), (width, 0))
    arrays = Rows(*(np.full((batch, columns), filler, np.int32) for columns, filler in shapes))
    for number, row in enumerate(rows):
        for array, values in zip(arrays, row, strict=True):
            array[number, : len(values)] = values
    return arrays


def padded(length: int, sizes: Sequence[int]) -> int:
    """The least of the (ascending) sizes that holds `length`; beyond them multiples of the last."""
    return next((size for size in sizes if size >= length), -(-length // sizes[-1]) * sizes[-1])


def chunks(order: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """`order` in pieces of `size`; the last may be shorter."""
    return (order[start : start + size] for start in range(0, len(order), size))
