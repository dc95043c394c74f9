"""The training step: loss scaling and an overflow check off Ascend, and dropout that a resume repeats."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindformers.tools.register import MindFormerModuleType, MindFormerRegister
from mindformers.wrapper.wrapper import MFTrainOneStepCell
from mindpet.delta.lora import LoRADense
from mindspore import Parameter, Tensor, nn, ops
from mindspore.common import dtype as mstype
from mindspore.ops import composite as C
from mindspore.ops import constexpr
from mindspore.ops import operations as P

from mcqlora import hashing
from mcqlora.model.decoder import spread
from mcqlora.train.division import divided

BITS = 12  # of the numbers below: a product of two is exact in float32
LEVELS = 1 << BITS
STEPS = 1 << 2 * BITS  # after which masks come again; the last number of steps that float32 counts to


def drawn(shape: tuple[int, ...], limit: int, seed: int, *key: int) -> np.ndarray:
    """Whole float32 numbers from 0 to below `limit`, which seed and `key` alone decide."""
    return hashing.rng(seed, "dropout", *key).integers(0, limit, shape).astype(np.float32)


@constexpr
def _constant(size: int, limit: int, scale: float, more: float, key: tuple[int, ...]) -> Tensor:
    return Tensor(drawn((size,), limit, *key) * np.float32(scale) + np.float32(more))


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
    and rank. `drop_prob` is rounded to 1 / `LEVELS`.
    """

    def __init__(self, drop_prob: float, numbers: Parameter, *key: int):
        super().__init__()
        self.numbers, self.key = numbers, key
        self.dropped = round(drop_prob * LEVELS) / LEVELS
        self.scale = 1.0 / (1.0 - self.dropped)
        self.divided = False
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
        rows, width = x.shape
        # All that makes the mask comes after x: a graph would make those of all layers first, and keep what
        # does not depend on the step as constants of each, seven times what the backward pass needs.
        numbers = ops.depend(self.numbers, x)
        a, b, c = self._number(numbers, 0), self._number(numbers, 1), self._number(numbers, 2)
        of_row = _constant(rows, LEVELS, 1, 0, (*self.key, 0))
        of_column = _constant(width, LEVELS, 1, 0, (*self.key, 1))
        row = self.share(self._modulo(self.plus(self.times(of_row, a), b)), 1 / LEVELS)
        column = self.share(self._modulo(self.times(of_column, c)), 1 / LEVELS)
        odd = ops.depend(_constant(rows, LEVELS // 8, 2, 1, (*self.key, 2)), x)
        even = ops.depend(_constant(width, LEVELS // 8, 2, 0, (*self.key, 3)), x)
        mixed = self.mixed(self._sums(row, column, x.shape), self._sums(odd, even, x.shape))
        kept = ops.stop_gradient(self.kept(self.rest(mixed, self.floor(mixed)), self.dropped))
        return self.masked(x, self.larger(self.cast(kept, x.dtype), self.scale))

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


_not_finite = C.MultitypeFuncGraph("not_finite")


@_not_finite.register("Tensor")
def _not_finite_tensor(gradient):
    finite = ops.ReduceAll()(ops.IsFinite()(gradient))
    return 1.0 - ops.cast(finite, mstype.float32)


@MindFormerRegister.register(MindFormerModuleType.WRAPPER)
class PortableTrainOneStepCell(MFTrainOneStepCell):
    """`MFTrainOneStepCell` with `StepDropout` in the LoRA layers, and off Ascend its own overflow check.

    A step that overflows leaves the optimizer's step as it is, so the next one has the same masks.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.on_ascend = ms.get_context("device_target") == "Ascend"
        self.workers = ms.communication.get_group_size() if ms.communication.GlobalComm.INITED else 1
        seed = ms.get_seed() or 0
        self.step_numbers = StepNumbers(seed)
        self.dropout = Parameter(Tensor([0, 0, 0], mstype.float32), name="dropout", requires_grad=False)
        layers = [cell for _, cell in self.network.cells_and_names() if isinstance(cell, LoRADense)]
        # Devices that share a network compute one graph, in which rows are those of all.
        self.divided = divided()
        worker = 0 if self.divided else rank()
        for parameter in self.network.get_parameters():
            if not parameter.requires_grad:  # frozen weights would be sent around in every step
                parameter.parallel_optimizer = False
        for site, layer in enumerate(layers):
            drop_prob = layer.lora_dropout.p
            layer.lora_dropout = StepDropout(drop_prob, self.dropout, seed, site, worker)
            if self.divided:
                layer.lora_dropout.divide(*layer.matmul.in_strategy[0])

    def construct(self, *inputs):
        """What the stock cell returns, with the mean loss of all workers."""
        step = ops.cast(self.optimizer.global_step, mstype.float32)
        ops.assign(self.dropout, self.step_numbers(step))
        loss, overflow, scale, learning_rate, norm = super().construct(*inputs)
        if self.is_distributed and not self.divided:
            loss = self.allreduce(loss) / self.workers
        return loss, overflow, scale, learning_rate, norm

    def get_overflow_status(self, status, compute_output):
        if self.on_ascend:
            return super().get_overflow_status(status, compute_output)
        flag = ops.addn(self.hyper_map(_not_finite, compute_output))
        if self.is_distributed:
            flag = self.allreduce(flag)
        return self.less_equal(self.base, flag)


def rank() -> int:
    """This worker's number among those of the training."""
    return ms.communication.get_rank() if ms.communication.GlobalComm.INITED else 0
