"""Dropout that a resume repeats: masks that only the seed, the step, the layer and the worker decide."""

from __future__ import annotations

import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore.common import dtype as mstype
from mindspore.ops import constexpr
from mindspore.ops import operations as P

from mcqlora import hashing
from mcqlora.model.decoder import spread

BITS = 12  # of the numbers below: a product of two is exact in float32
LEVELS = 1 << BITS
STEPS = 1 << 2 * BITS  # after which masks come again; the last number of steps that float32 counts to


def drawn(shape: tuple[int, ...], limit: int, seed: int, *key: int) -> np.ndarray:
    """Whole float32 numbers from 0 to below `limit`, which seed and `key` alone decide."""
    return hashing.rng(seed, "dropout", *key).integers(0, limit, shape).astype(np.float32)


# R, C, 1 + P and Q of `StepDropout`: the axis, what the numbers drawn are below, their factor, what is added.
VECTORS = ((0, LEVELS, 1, 0), (1, LEVELS, 1, 0), (0, LEVELS // 8, 2, 1), (1, LEVELS // 8, 2, 0))


def vector(shape: tuple[int, ...], number: int, key: tuple[int, ...]) -> np.ndarray:
    """One of `VECTORS` for an input of `shape`, float32, of a `StepDropout` with this key."""
    axis, limit, factor, more = VECTORS[number]
    return drawn((shape[axis],), limit, *key, number) * np.float32(factor) + np.float32(more)


@constexpr
def _constant(shape: tuple[int, ...], number: int, key: tuple[int, ...]) -> Tensor:
    return Tensor(vector(shape, number, key))


class StepNumbers(nn.Cell):
    """The numbers of a step that all masks of it are made with: float32 [3], whole, below `LEVELS`.

    The first and the last are odd. Each is the sum, modulo `LEVELS`, of a number drawn for each of the two
    digits that the step has to that base.
    """

    def __init__(self, seed: int):
        super().__init__()
        low, high = (drawn((LEVELS, 3), LEVELS, seed, digit) for digit in (0, 1))
        odd = np.array([1, 0, 1], np.float32)
        self.low, self.high = Tensor(low - low % 2 * odd + odd), Tensor(high - high % 2 * odd)

    def construct(self, step):
        """Of `step`, float32 [1]."""
        high = ops.floor(step * (1 / LEVELS))
        of_low = ops.gather(self.low, ops.cast(step - high * LEVELS, mstype.int32), 0)
        of_high = ops.gather(self.high, ops.cast(high, mstype.int32), 0)
        return ops.reshape(_modulo(of_low + of_high), (3,))


def _modulo(x):
    """`x` modulo `LEVELS`, exactly: a product with a power of two is, and so is a difference of such."""
    return x - ops.floor(x * (1 / LEVELS)) * LEVELS


class StepDropout(nn.Cell):
    """Dropout whose mask is a hash of (seed, step, site, rank, element), in float32 without any rounding.

    MindSpore's own kernel draws from a generator: on a CPU its numbers depend on the number of threads, which
    the runtime chooses by its clock, and nowhere does it come back after a resume. Bitwise operators and
    shifts have no fast kernel on an NPU, and nothing says that its int32 products wrap around; so this hash
    has neither. An element of row i and column j, at a step with the numbers (a, b, c), is dropped where

        frac((((R_i a + b) mod M) + ((C_j c) mod M)) / M * (1 + P_i + Q_j)) < share dropped,   M = `LEVELS`

    R, C (below M) and P, Q (even, below M / 4) are drawn for the site; all products stay below 2**24. Since
    the last factor is odd, over the draws each element is dropped with exactly that share, and any two of
    them, of one step or of two, independently of each other (pairwise, as a strongly universal hash).

    `numbers` are `StepNumbers`, a float32 [3] Parameter that the training cell sets; `key` holds seed, site
    and rank. `given` are the vectors of a cell that stands for several sites in turn, else they are constants
    of the graph. `drop_prob` is rounded to 1 / `LEVELS`.
    """

    def __init__(self, drop_prob: float, numbers: Parameter, *key: int):
        super().__init__()
        self.numbers, self.key = numbers, key
        self.dropped = round(drop_prob * LEVELS) / LEVELS
        self.scale = 1.0 / (1.0 - self.dropped)
        self.divided, self.given = False, None
        # Of vectors.
        self.number, self.column, self.whole = P.StridedSlice(), P.ExpandDims(), P.Floor()
        self.times, self.share, self.plus, self.minus = P.Mul(), P.Mul(), P.Add(), P.Sub()
        # Of rows and columns.
        self.each, self.mixed, self.floor, self.rest = P.Add(), P.Mul(), P.Floor(), P.Sub()
        self.kept, self.cast, self.larger, self.masked = P.GreaterEqual(), P.Cast(), P.Mul(), P.Mul()

    def construct(self, x):
        """`x` float [N, hidden], with a share of its elements 0 and the others scaled up, in training."""
        if not self.training or self.dropped == 0:
            return x
        # All that makes the mask comes after x: a graph would make those of all layers first, and keep what
        # does not depend on the step as constants of each, seven times what the backward pass needs.
        numbers = ops.depend(self.numbers, x)
        a, b, c = self._number(numbers, 0), self._number(numbers, 1), self._number(numbers, 2)
        of_row, of_column = self._vector(x.shape, 0), self._vector(x.shape, 1)
        odd, even = ops.depend(self._vector(x.shape, 2), x), ops.depend(self._vector(x.shape, 3), x)
        row = self.share(self._modulo(self.plus(self.times(of_row, a), b)), 1 / LEVELS)
        column = self.share(self._modulo(self.times(of_column, c)), 1 / LEVELS)
        mixed = self.mixed(self._sums(row, column, x.shape), self._sums(odd, even, x.shape))
        kept = ops.stop_gradient(self.kept(self.rest(mixed, self.floor(mixed)), self.dropped))
        return self.masked(x, self.larger(self.cast(kept, x.dtype), self.scale))

    def _vector(self, shape, number):
        return _constant(shape, number, self.key) if self.given is None else self.given[number]

    def _number(self, numbers, place):
        return self.number(numbers, (place,), (place + 1,), (1,))

    def _sums(self, of_row, of_column, shape):
        """What stands for an element's row, and what for its column, added: [rows, columns]."""
        of_row = self.column(of_row, 1)
        if not self.divided:
            of_row, of_column = spread(of_row, shape), spread(of_column, shape)
        return self.each(of_row, of_column)

    def _modulo(self, x):
        """As `_modulo`."""
        return self.minus(x, self.share(self.whole(self.share(x, 1 / LEVELS)), LEVELS))

    def divide(self, rows: int, parts: int) -> None:
        """As the cells of `model.decoder`; an element's mask is that of its place in the whole.

        Vectors are small: every device makes all of them.
        """
        self.divided, both = True, (rows, parts)
        for operator in (self.number, self.column, self.whole):
            operator.shard(((1,),))
        for operator in (self.times, self.plus, self.minus):
            operator.shard(((1,), (1,)))
        self.share.shard(((1,), ()))
        self.each.shard(((rows, 1), (parts,)))
        for operator in (self.floor, self.cast):
            operator.shard((both,))
        for operator in (self.mixed, self.rest, self.masked):
            operator.shard((both, both))
        for operator in (self.kept, self.larger):
            operator.shard((both, ()))
