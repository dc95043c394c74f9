"""The arithmetic of a training: steps, warm-up, evaluations, checkpoints. It needs no framework."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from mcqlora.errors import UserError
from mcqlora.train.settings import Size


class Schedule(NamedTuple):
    """Steps count optimizer updates from 1; every list is ascending."""

    rows: int  # training rows
    whole: bool  # whether these are all that the shards have
    global_batch: int  # rows per step, over all workers
    steps_per_epoch: int
    steps: int
    warmup: int
    evaluation_interval: int
    evaluations: tuple[int, ...]
    checkpoint_interval: int
    checkpoints: tuple[int, ...]
    delivered: tuple[int, ...]

    @property
    def evaluated(self) -> tuple[int, ...]:
        """All steps with a validation loss: every checkpoint has one, since the best is chosen by it."""
        return tuple(sorted({*self.evaluations, *self.checkpoints}))


def plan_steps(
    available: int, size: Size, warmup_ratio: float, delivered: int, sink_size: int = 1
) -> Schedule:
    """Steps of a training over `available` rows, or `size.rows` of them if that is fewer.

    An epoch's last, partial batch is dropped. Of all rows MindDataset gives every worker as many, up to
    `workers` - 1 of them twice; of a part MindFormers leaves out what it cannot divide.

    With `sink_size` above 1 the network takes so many steps per call: steps left over at the end are not
    taken. Intervals are rounded up to a multiple of `sink_size`, since MindSpore calls callbacks only after
    every `sink_size`-th step; the last step always leaves a checkpoint. A training too short for that has its
    checkpoints' interval rounded down. Where `evaluations` is a multiple of `checkpoints`, so is the interval
    of these a multiple of the other. An interval given in steps is taken as it is, and the parts don't count.
    `delivered` are so many of the checkpoints, evenly chosen, the last one among them.

    Raises:
        UserError: fewer rows than one global batch, fewer steps than checkpoints wanted, or an interval at
            which nothing would ever happen.
    """
    rows = min(size.rows or available, available)
    share = math.ceil(rows / size.replicas) if rows == available else rows // size.replicas
    steps_per_epoch = share // size.batch_size
    steps = steps_per_epoch * size.epochs // sink_size * sink_size
    given = f"{rows} rows in batches of {size.replicas} x {size.batch_size}"
    few = f"{steps} steps in {size.epochs} epochs, too few for {size.checkpoints} checkpoints"
    too_few = UserError(f"train: {given} give {few}; lower train.batch_size or raise train.epochs")
    if steps < (1 if size.checkpoint_interval else max(1, size.checkpoints)):
        raise too_few
    evaluation_interval, checkpoint_interval = _intervals(steps, size, delivered, sink_size)
    saved = (*range(checkpoint_interval, steps, checkpoint_interval), steps)
    if len(saved) < delivered:
        if size.checkpoint_interval is None:
            raise too_few
        said = f"every {checkpoint_interval} of {steps} steps leaves fewer than the {delivered} checkpoints"
        raise UserError(f"train.checkpoint_interval: {said} to be delivered; lower it")
    return Schedule(
        rows=rows,
        whole=rows == available,
        global_batch=size.global_batch,
        steps_per_epoch=steps_per_epoch,
        steps=steps,
        warmup=int(steps * warmup_ratio),
        evaluation_interval=evaluation_interval,
        evaluations=tuple(range(evaluation_interval, steps + 1, evaluation_interval)),
        checkpoint_interval=checkpoint_interval,
        checkpoints=saved,
        delivered=evenly(saved, delivered),
    )


def _intervals(steps: int, size: Size, delivered: int, sink_size: int) -> tuple[int, int]:
    """Steps from one evaluation, and from one checkpoint, to the next; see `plan_steps`."""
    evaluation, checkpoint = size.evaluation_interval, size.checkpoint_interval
    for kind, every in (("evaluation", evaluation), ("checkpoint", checkpoint)):
        key = f"train.{kind}_interval"
        if every is not None and every > steps:
            raise UserError(f"{key}: every {every} steps is never in a training of {steps}; lower it")
        if every is not None and every % sink_size:
            said = f"{every} is no multiple of the {sink_size} steps between two callbacks in sink mode"
            nearest = max(1, round(every / sink_size)) * sink_size
            raise UserError(f"{key}: {said}, so it would be passed over; set it to {nearest}")
    together = evaluation is None and size.evaluations % size.checkpoints == 0
    if evaluation is None:
        evaluation = math.ceil(steps / size.evaluations / sink_size) * sink_size
    if checkpoint is not None:
        return evaluation, checkpoint
    checkpoint = math.ceil(steps / size.checkpoints / sink_size) * sink_size
    if together:
        checkpoint = evaluation * (size.evaluations // size.checkpoints)
    if math.ceil(steps / checkpoint) < delivered:
        checkpoint = max(1, steps // size.checkpoints // sink_size) * sink_size
    return evaluation, checkpoint


def evenly(steps: Sequence[int], count: int) -> tuple[int, ...]:
    """`count` of the steps (at least as many), evenly spaced, the last one among them."""
    return tuple(steps[round(len(steps) * k / count) - 1] for k in range(1, count + 1))


def evaluation_batch(rows: int, size: Size) -> int:
    """Validation rows of a worker's batch: of the fewest batches up to `evaluation_batch_size`, the smallest.

    That is `batch_size` where it is not given. Padding fills the last batches, see `validation_padding`.
    """
    share = math.ceil(rows / size.replicas)
    return math.ceil(share / math.ceil(share / (size.evaluation_batch_size or size.batch_size)))


def validation_padding(rows: int, replicas: int, batch: int) -> int:
    """Rows without a label that make whole batches of `rows`, as many for every worker.

    A ragged batch would compile the network a second time and, in sink mode, be dropped without a word; to
    make the replicas' shares equal, rows of the first would come again in the last.
    """
    return -rows % (replicas * batch)
