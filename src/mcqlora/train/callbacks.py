"""History, evaluations and checkpoints at the steps of a schedule; the validation loss by token."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import mindspore as ms
import numpy as np
from mindformers.core.callback.callback import EvalCallBack
from mindformers.tools.register import MindFormerModuleType, MindFormerRegister
from mindspore import Callback, Parameter, Tensor, nn, ops
from mindspore.common import dtype as mstype
from mindspore.dataset import Dataset
from mindspore.train.dataset_helper import _DataWrapper

from mcqlora import files
from mcqlora.errors import UserError
from mcqlora.model import weights
from mcqlora.train import checkpoints
from mcqlora.train.division import divided, part, whole
from mcqlora.train.in_turns import InTurns
from mcqlora.train.step import PortableTrainOneStepCell, rank


@MindFormerRegister.register(MindFormerModuleType.METRIC)
class TokenLoss(nn.Metric):
    """Validation loss as a mean over the tokens of all workers; `latest` keeps it.

    MindFormers' PerplexityMetric averages batches, however many labels they have, and only one worker's.
    """

    latest = float("nan")

    def clear(self):
        self.sums = np.zeros(2)  # of losses, of tokens

    def update(self, loss, tokens):
        count = float(tokens.asnumpy())
        self.sums += (float(loss.asnumpy()) * count, count)

    def eval(self):
        total = self.sums
        if ms.communication.GlobalComm.INITED and not divided():  # there a batch is that of all workers
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

    Worker 0 writes `history.jsonl`, one line per step (`history.COLUMNS`; a gradient's norm is before
    clipping), and `checkpoints/`, see `train.checkpoints`, whole: of a divided network the workers collect
    them (`train.division`). A step's checkpoint comes after its line and its evaluation, so that whatever
    lies there can be gone on from. With `patience` the training ends after so many evaluations without a
    better validation loss, once there are `delivered` checkpoints. MindFormers' own callbacks count from 0
    after a resume, miss an evaluation at the end, and let every worker save the frozen base with every
    checkpoint.

    Raises:
        UserError: an epoch has other steps than planned: MindFormers divided the rows otherwise.
        FloatingPointError: a loss or a weight is not finite. (Gradients may be: the loss scale mends those.)
    """

    def __init__(
        self, directory, evaluations, checkpoints, delivered, steps_per_epoch, patience=None, start=0
    ):
        super().__init__()
        self.directory = Path(directory)
        self.evaluations, self.checkpoints, self.start = set(evaluations), list(checkpoints), start
        self.delivered, self.patience, self.steps_per_epoch = delivered, patience, steps_per_epoch
        self.valid_losses: list[float] = []

    def on_train_begin(self, run_context):
        parameters = run_context.original_args()
        if (steps := parameters.train_dataset.get_dataset_size()) != self.steps_per_epoch:
            raise UserError(
                f"an epoch has {steps} steps, not the {self.steps_per_epoch} planned; see make doctor"
            )
        for callback in parameters.list_callback:
            if isinstance(callback, EvalCallBack):
                self.evaluator = callback
                callback.step_interval = 0  # from now on it is called here
                if in_turns := _step(parameters.train_network).in_turns:  # else all layers in one graph
                    rows = callback.eval_func.keywords["eval_dataset"]
                    callback.eval_func = partial(_evaluate, in_turns, rows)
        if self.start:
            rows = files.read_appended_jsonl(self.directory / "history.jsonl")
            self.valid_losses = [row["valid_loss"] for row in rows if "valid_loss" in row]
            state = weights.read(checkpoints.file(self.directory / "checkpoints", self.start))
            for parameter in _changed(_step(parameters.train_network)):
                value = state[parameter.name]
                if divided():  # MindFormers has compiled it, to load the base
                    value = part(parameters.train_network, parameter.name, value, rank())
                parameter.set_data(Tensor(value, parameter.dtype))

    def on_train_step_end(self, run_context):
        parameters = run_context.original_args()
        first, _, _, *others = parameters.net_outputs[:5]
        loss = float(first.asnumpy())
        learning_rate, norm = (None if value is None else float(value.asnumpy()) for value in others)
        step = self.start + int(parameters.cur_step_num)
        _finite("the loss", step, loss)
        row = {"step": step, "train_loss": loss, "learning_rate": learning_rate, "gradient_norm": norm}
        if step in self.evaluations:
            self.evaluator._execute_eval()
            _finite("the validation loss", step, TokenLoss.latest)
            row["valid_loss"] = TokenLoss.latest
            self.valid_losses.append(TokenLoss.latest)
        if checkpoints.exhausted(self.valid_losses, self.patience) and "valid_loss" in row:
            taken = [*(earlier for earlier in self.checkpoints if earlier < step), step]
            if len(taken) >= self.delivered:
                self.checkpoints = taken
                run_context.request_stop()  # by every worker: the loss is that of all
        if rank() == 0:
            files.append_jsonl(self.directory / "history.jsonl", row)
        if step in self.checkpoints and (rank() == 0 or divided()):
            self._save(parameters.train_network, step)

    def _save(self, network, step):
        # Nothing goes on from the last one: the weights are enough.
        cell = _step(network)
        kept = cell.network.trainable_params() if step == self.checkpoints[-1] else _changed(cell)
        if divided():
            tensors = {parameter.name: whole(network, parameter) for parameter in kept}
        else:
            tensors = {parameter.name: parameter.asnumpy() for parameter in kept}
        _finite("a weight", step, *tensors.values())
        if rank() == 0:
            checkpoints.write(
                self.directory / "checkpoints", step, tensors, last=step == self.checkpoints[-1]
            )


def _step(network: nn.Cell) -> PortableTrainOneStepCell:
    """The training step, which sink mode wraps into a cell that fetches the rows."""
    return network.network if isinstance(network, _DataWrapper) else network


def _evaluate(in_turns: InTurns, dataset: Dataset) -> dict[str, float]:
    """As MindFormers evaluates a network, with `TokenLoss`."""
    metric = TokenLoss()
    metric.clear()
    for rows in dataset.create_tuple_iterator(num_epochs=1):
        metric.update(*in_turns.loss(*rows))
    return metric.eval()


def _finite(what: str, step: int, *values: float | np.ndarray) -> None:
    if not all(np.isfinite(value).all() for value in values):
        # The first loss is that of the base as it is.
        remedy = "the base is damaged, make it anew" if step == 1 else "lower the learning rate"
        raise FloatingPointError(f"{what} is not finite at step {step}; {remedy}")


def _changed(cell: PortableTrainOneStepCell) -> list[Parameter]:
    """What a training changes: the trained weights, the optimizer's state, the loss scale, the counters."""
    frozen = {parameter.name for parameter in cell.network.get_parameters() if not parameter.requires_grad}
    return [parameter for parameter in cell.get_parameters() if parameter.name not in frozen]
