"""The training step: loss scaling and an overflow check off Ascend, and dropout that a resume repeats."""

from __future__ import annotations

import mindspore as ms
from mindformers.tools.register import MindFormerModuleType, MindFormerRegister
from mindformers.wrapper.wrapper import MFTrainOneStepCell
from mindpet.delta.lora import LoRADense
from mindspore import Parameter, Tensor, nn, ops
from mindspore.common import dtype as mstype
from mindspore.ops import composite as C

# Odd multipliers of the integer hash "lowbias32" (Wellons 2018, hash-prospector) and of Fibonacci hashing.
MIX = (0x7FEB352D, 0x846CA68B)
SHIFT = 15
GOLDEN = 0x9E3779B9


def int32(value: int) -> int:
    """`value` modulo 2**32 as a signed number: what int32 operators, which wrap around, make of it."""
    return (value + 2**31) % 2**32 - 2**31


class StepDropout(nn.Cell):
    """Dropout whose mask is a hash of (seed, step, site, rank, element), in plain int32 operators.

    MindSpore's own kernel draws from a generator: on a CPU its numbers depend on the number of threads, which
    the runtime chooses by its clock, and nowhere does it come back after a resume. `step` is an int32 [1]
    Parameter that the training cell sets; `key` holds the other numbers.
    """

    def __init__(self, drop_prob: float, step: Parameter, *key: int):
        super().__init__()
        self.step = step
        self.below = Tensor(int32(int(drop_prob * 2**32) - 2**31), mstype.int32)
        self.scale = 1.0 / (1.0 - drop_prob)
        number = 0
        for part in key:
            number = (number ^ part) * GOLDEN % 2**32
            number ^= number >> SHIFT
        # (index + step * golden + number) * mix[0] is added up from the parts already multiplied. Tensors,
        # because a Python number of a cell passes through float32 on its way to an int32 operator.
        self.first, self.second, self.by_step, self.number, self.fifteen = (
            Tensor(int32(value), mstype.int32) for value in (*MIX, GOLDEN * MIX[0], number * MIX[0], SHIFT)
        )
        self.shift = ops.RightShift()

    def construct(self, x):
        """`x` float [N, hidden], with a share of its elements 0 and the others scaled up, in training."""
        if not self.training:
            return x
        rows, width = x.shape
        row = ops.cast(ops.arange(0, rows * width, width), mstype.int32) * self.first
        column = ops.cast(ops.arange(width), mstype.int32) * self.first
        row = row + (self.step * self.by_step + self.number)
        bits = ops.expand_dims(row, 1) + column
        bits = ops.bitwise_xor(bits, self.shift(bits, self.fifteen)) * self.second
        return ops.select(ops.greater_equal(bits, self.below), x * self.scale, ops.zeros_like(x))


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
        self.dropout_step = Parameter(Tensor([0], mstype.int32), name="dropout_step", requires_grad=False)
        layers = [cell for _, cell in self.network.cells_and_names() if isinstance(cell, LoRADense)]
        for site, layer in enumerate(layers):
            drop_prob = layer.lora_dropout.p
            layer.lora_dropout = StepDropout(drop_prob, self.dropout_step, ms.get_seed() or 0, site, rank())

    def construct(self, *inputs):
        """What the stock cell returns, with the mean loss of all workers."""
        ops.assign(self.dropout_step, self.optimizer.global_step)
        loss, overflow, scale, learning_rate, norm = super().construct(*inputs)
        if self.is_distributed:
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
