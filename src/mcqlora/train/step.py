"""The training step: loss scaling, an overflow check off Ascend, and dropout that a resume repeats."""

from __future__ import annotations

import mindspore as ms
from mindformers.tools.register import MindFormerModuleType, MindFormerRegister
from mindformers.wrapper.wrapper import MFTrainOneStepCell
from mindpet.delta.lora import LoRADense
from mindspore import Parameter, Tensor, ops
from mindspore.common import dtype as mstype
from mindspore.ops import composite as C

from mcqlora.train.division import divided
from mcqlora.train.dropout import StepDropout, StepNumbers
from mcqlora.train.in_turns import in_turns

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
        self.in_turns = in_turns(self.network, self.weights)

    def __call__(self, *inputs):
        """A step; `inputs` are the rows of a batch."""
        if self.in_turns is None:
            return super().__call__(*inputs)
        self.dropout.assign_value(self.step_numbers(ops.cast(self.optimizer.global_step, mstype.float32)))
        loss, gradients = self.in_turns.gradients(self.scale_sense, *inputs)
        return super().__call__(loss, *gradients)

    def grads_for_legacy(self, scaling_sens, *inputs):
        """As the stock cell's; in turns, `inputs` are what it would return."""
        if self.in_turns is None:
            return super().grads_for_legacy(scaling_sens, *inputs)
        return inputs[0], inputs[1:], self.grad_scale_factor

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
