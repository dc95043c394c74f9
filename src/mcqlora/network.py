"""InternLM on MindFormers, in cells that run on an Ascend NPU and on a CPU alike.

Importing this module registers, for use by name in a MindFormers YAML:

* `InternLMConfig`, `InternLMForCausalLM`: LLaMA with a bias on q, k, v and o (InternLM-7B v1), attention kept
  inside a document when rows are packed;
* `PortableTrainOneStepCell`: MindFormers' training cell with an overflow check that exists off Ascend, and
  dropout that a repeated or resumed training repeats;
* `TokenLoss`, `ScheduleCallback`: validation loss by token; history, evaluations, checkpoints, going on.
"""

from __future__ import annotations

from pathlib import Path

import mindspore as ms
import numpy as np
from mindformers.core.callback.callback import EvalCallBack
from mindformers.models.llama import LlamaConfig, LlamaForCausalLM
from mindformers.models.llama.llama import LlamaModel
from mindformers.tools.register import MindFormerModuleType, MindFormerRegister
from mindformers.wrapper.wrapper import MFTrainOneStepCell
from mindpet.delta.lora import LoRADense
from mindspore import Callback, Parameter, Tensor, nn, ops
from mindspore.common import dtype as mstype
from mindspore.ops import composite as C

from mcqlora import adapters, checkpoints, io
from mcqlora.schedule import exhausted

MASKED = -10000.0  # what MindFormers adds to a masked attention score; finite in float16


@MindFormerRegister.register(MindFormerModuleType.CONFIG)
class InternLMConfig(LlamaConfig):
    """`LlamaConfig` with a bias on the four attention projections."""

    model_type = "internlm"

    def __init__(self, has_bias: bool = True, **kwargs):
        kwargs.setdefault("qkv_has_bias", has_bias)
        kwargs.setdefault("attn_proj_has_bias", has_bias)
        super().__init__(**kwargs)
        self.has_bias = has_bias


class InternLMModel(LlamaModel):
    """The decoder of `InternLMForCausalLM`: LLaMA's layers under a mask that knows documents."""

    def construct(self, tokens, document_ids=None):
        """Hidden states float [B, S, hidden] of `tokens` int32 [B, S].

        `document_ids` int32 [B, S] is 1, 2, ... inside a row's documents and 0 on padding; a token attends to
        the earlier tokens of its own document, and its position counts from that document's start. Without it
        a row is one document, its padding known by the id.
        """
        batch, length = self.shape(tokens)
        packed = document_ids is not None
        if not packed:
            document_ids = self.cast(ops.not_equal(tokens, self.pad_token_id), mstype.int32)
        keys = ops.expand_dims(document_ids, 1)
        same = ops.logical_and(ops.equal(ops.expand_dims(document_ids, 2), keys), ops.greater(keys, 0))
        causal = ops.greater(self.causal[:length, :length], 0)
        seen = self.cast(ops.logical_and(same, causal), mstype.float32)
        freqs = self._restarted(seen) if packed else self.freqs_mgr(length)
        mask = ops.expand_dims(ops.mul(ops.sub(1.0, self.cast(seen, self.dtype)), MASKED), 1)
        hidden = self.cast(self.tok_embeddings(tokens), self.dtype)
        hidden = self.reshape(hidden, (batch, length, self.hidden_size))
        for layer in self.layers:
            hidden = layer(hidden, freqs, mask)
        return self.norm_out(hidden)

    def _restarted(self, seen):
        """Rotary's tables at each token's place in its document, from `seen` [B, S, S], 1 where it attends.

        Rotary attention depends on differences of positions alone (RoFormer, arXiv 2104.09864, eq. 16), but
        its angles are float32: at position 2,000 they are off by 1e-4, and a document that starts there too.
        """
        batch, length, _ = self.shape(seen)
        earlier = self.cast(seen.sum(-1) - 1.0, mstype.int32)
        places = self.reshape(ops.maximum(earlier, 0), (-1,))  # padding attends to nothing
        shape = (batch, 1, length, -1)
        cos = self.reshape(ops.gather(self.freqs_mgr.freqs_cos, places, 0), shape)
        sin = self.reshape(ops.gather(self.freqs_mgr.freqs_sin, places, 0), shape)
        return cos, sin, self.freqs_mgr.swap_mask


@MindFormerRegister.register(MindFormerModuleType.MODELS)
class InternLMForCausalLM(LlamaForCausalLM):
    """InternLM-7B v1 and any LLaMA-architecture network, with isolated documents in plain operators."""

    config_class = InternLMConfig

    def __init__(self, config: InternLMConfig):
        super().__init__(config)
        self.model.causal = Tensor(np.tril(np.ones((config.seq_length, config.seq_length), np.float32)))
        # Not a second decoder: at 7 B parameters building LLaMA's and dropping it would double the memory.
        self.model.__class__ = InternLMModel

    def construct(self, input_ids, labels, document_ids=None):
        """Mean loss of int32 [B, S] rows; outside training (mean loss, number of tokens it is the mean of).

        In training rows have seq_length + 1 ids and the last one is only a label; in evaluation they have
        seq_length. `labels` has the index of its input, -100 where no loss is wanted.
        """
        batch, length = self.shape(input_ids)
        if self.training:
            tokens = input_ids[:, : length - 1]
            targets = labels[:, 1:]
            if document_ids is not None:
                document_ids = document_ids[:, : length - 1]
        else:
            tokens = input_ids
            shifted = labels[:, 1:]
            targets = ops.concat((shifted, ops.full((batch, 1), self.ignore_token_id, dtype=mstype.int32)), 1)
        logits = self.cast(self.lm_head(self.model(tokens, document_ids)), mstype.float32)
        mask = self.cast(ops.not_equal(targets, self.ignore_token_id), mstype.float32)
        targets = self.cast(ops.mul(targets, self.cast(mask, mstype.int32)), mstype.int32)
        flat = self.reshape(logits, (-1, self.vocab_size))
        loss = self.loss(flat, self.reshape(targets, (-1,)), self.reshape(mask, (-1,)))
        if self.training:
            return loss
        return loss, mask.sum()


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


@MindFormerRegister.register(MindFormerModuleType.METRIC)
class TokenLoss(nn.Metric):
    """Validation loss as a mean over the tokens of all workers; `latest` keeps it.

    MindFormers' PerplexityMetric averages batches, however many labels they have, and only one worker's.
    """

    latest: float | None = None

    def clear(self):
        self.sums = np.zeros(2)  # of losses, of tokens

    def update(self, loss, tokens):
        count = float(tokens.asnumpy())
        self.sums += (float(loss.asnumpy()) * count, count)

    def eval(self):
        total = self.sums
        if ms.communication.GlobalComm.INITED:
            total = _AllSum()(Tensor(total, mstype.float32)).asnumpy()
        TokenLoss.latest = float(total[0]) / max(1.0, float(total[1]))
        return {"loss": TokenLoss.latest}


class _AllSum(nn.Cell):
    """The sum of a tensor over all workers."""

    def __init__(self):
        super().__init__()
        self.all_reduce = ops.AllReduce()

    def construct(self, x):
        return self.all_reduce(x)


@MindFormerRegister.register(MindFormerModuleType.CALLBACK)
class ScheduleCallback(Callback):
    """History, evaluations and checkpoints at the steps of a schedule; with `start`, the state to go on from.

    Worker 0 writes `history.jsonl`, a line a step (`mcqlora.history.COLUMNS`; a gradient's norm is before
    clipping), and `checkpoints/`, see `mcqlora.checkpoints`. A step's checkpoint comes after its line and its
    evaluation, so that whatever lies there can be gone on from. With `patience` the training ends after so
    many evaluations without a better validation loss, once there are `delivered` checkpoints. MindFormers'
    own callbacks count from 0 after a resume, miss an evaluation at the end, and let every worker save the
    frozen base with every checkpoint.

    Raises:
        FloatingPointError: a loss or a weight is not finite. (Gradients may be: the loss scale mends those.)
    """

    def __init__(
        self,
        directory: str,
        evaluations: list[int],
        checkpoints: list[int],
        delivered: int,
        patience: int | None = None,
        start: int = 0,
    ):
        super().__init__()
        self.directory = Path(directory)
        self.evaluations, self.checkpoints, self.start = set(evaluations), list(checkpoints), start
        self.delivered, self.patience = delivered, patience
        self.valid_losses: list[float] = []

    def on_train_begin(self, run_context):
        parameters = run_context.original_args()
        for callback in parameters.list_callback:
            if isinstance(callback, EvalCallBack):
                self.evaluator = callback
                callback.step_interval = 0  # from now on it is called here
        if self.start:
            rows = io.read_appended_jsonl(self.directory / "history.jsonl")
            self.valid_losses = [row["valid_loss"] for row in rows if "valid_loss" in row]
            state = adapters.read(checkpoints.file(self.directory / "checkpoints", self.start))
            for parameter in _changed(parameters.train_network):
                value = state[parameter.name]
                parameter.set_data(Tensor(value, parameter.dtype))

    def on_train_step_end(self, run_context):
        parameters = run_context.original_args()
        loss, _, _, learning_rate, norm, *_ = (
            None if output is None else float(output.asnumpy()) for output in parameters.net_outputs
        )
        step = self.start + int(parameters.cur_step_num)
        _finite("the loss", step, loss)
        row = {"step": step, "train_loss": loss, "learning_rate": learning_rate, "gradient_norm": norm}
        if step in self.evaluations:
            self.evaluator._execute_eval()
            _finite("the validation loss", step, TokenLoss.latest)
            row["valid_loss"] = TokenLoss.latest
            self.valid_losses.append(TokenLoss.latest)
        if exhausted(self.valid_losses, self.patience) and "valid_loss" in row:
            taken = [*(earlier for earlier in self.checkpoints if earlier < step), step]
            if len(taken) >= self.delivered:
                self.checkpoints = taken
                run_context.request_stop()  # by every worker: the loss is that of all
        if rank() == 0:
            io.append_jsonl(self.directory / "history.jsonl", row)
            if step in self.checkpoints:
                self._save(parameters.train_network, step)

    def _save(self, cell, step):
        # Nothing goes on from the last one: the weights are enough.
        kept = cell.network.trainable_params() if step == self.checkpoints[-1] else _changed(cell)
        tensors = {parameter.name: parameter.asnumpy() for parameter in kept}
        _finite("a weight", step, *tensors.values())
        checkpoints.write(self.directory / "checkpoints", step, tensors, last=step == self.checkpoints[-1])


def _finite(what: str, step: int, *values: float | np.ndarray) -> None:
    if not all(np.isfinite(value).all() for value in values):
        # The first loss is that of the base as it is.
        remedy = "the base is damaged, make it anew" if step == 1 else "lower the learning rate"
        raise FloatingPointError(f"{what} is not finite at step {step}; {remedy}")


def _changed(cell: PortableTrainOneStepCell) -> list[Parameter]:
    """What a training changes: the trained weights, the optimizer's state, the loss scale, the counters."""
    frozen = {parameter.name for parameter in cell.network.get_parameters() if not parameter.requires_grad}
    return [parameter for parameter in cell.get_parameters() if parameter.name not in frozen]
