"""The arithmetic of a training: steps, warm-up, evaluations, checkpoints. It needs no framework."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from mcqlora.errors import UserError


class Schedule(NamedTuple):
    """Steps count optimizer updates from 1; every list is ascending."""

    rows: int  # training rows
    global_batch: int  # rows a step, over all workers
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
    rows: int,
    workers: int,
    batch_size: int,
    epochs: int,
    warmup_ratio: float,
    evaluations: int,
    checkpoints: int,
    delivered: int,
    sink_size: int = 1,
    evaluation_interval: int | None = None,
    checkpoint_interval: int | None = None,
    whole: bool = True,
) -> Schedule:
    """Steps of a training over `rows` rows, `batch_size` a worker; an epoch's last, partial batch is dropped.

    The rows are all that the shards have (`whole`) or a part of them. Of all rows MindDataset gives every
    worker as many, up to `workers` - 1 of them twice; of a part MindFormers leaves out what it cannot divide.

    With `sink_size` above 1 the network takes so many steps a call: steps left over at the end are not taken.
    `evaluations` and `checkpoints` say into how many equal parts they divide the training. Intervals are
    rounded up to a multiple of `sink_size`, since callbacks see only every `sink_size`-th step; the last step
    always leaves a checkpoint. A training too short for that has its checkpoints' interval rounded down.
    Where `evaluations` is a multiple of `checkpoints`, so is the interval of these a multiple of the other.
    An interval given in steps is taken as it is, and the parts don't count.
    `delivered` are so many of the checkpoints, evenly chosen, the last one among them.

    Raises:
        UserError: fewer rows than one global batch, fewer steps than checkpoints wanted, or an interval at
            which nothing would ever happen.
    """
    global_batch = workers * batch_size
    steps_per_epoch = (math.ceil(rows / workers) if whole else rows // workers) // batch_size
    steps = steps_per_epoch * epochs // sink_size * sink_size
    too_few = UserError(
        f"train: {rows} rows in batches of {workers} x {batch_size} give {steps} steps in {epochs} epochs, "
        f"too few for {checkpoints} checkpoints; lower train.batch_size or raise train.epochs"
    )
    if steps < (1 if checkpoint_interval else max(1, checkpoints)):
        raise too_few
    together = evaluation_interval is None and evaluations % checkpoints == 0
    if evaluation_interval is None:
        evaluation_interval = math.ceil(steps / evaluations / sink_size) * sink_size
    else:
        check_interval("train.evaluation_interval", evaluation_interval, steps, sink_size)
    if checkpoint_interval is None:
        if together:
            checkpoint_interval = evaluation_interval * (evaluations // checkpoints)
        else:
            checkpoint_interval = math.ceil(steps / checkpoints / sink_size) * sink_size
        if math.ceil(steps / checkpoint_interval) < delivered:
            checkpoint_interval = max(1, steps // checkpoints // sink_size) * sink_size
    else:
        check_interval("train.checkpoint_interval", checkpoint_interval, steps, sink_size)
        too_few = UserError(
            f"train.checkpoint_interval: every {checkpoint_interval} of {steps} steps leaves fewer than the "
            f"{delivered} checkpoints to be delivered; lower it"
        )
    fired = tuple(range(checkpoint_interval, steps + 1, checkpoint_interval))
    saved = fired if fired and fired[-1] == steps else (*fired, steps)
    if len(saved) < delivered:
        raise too_few
    return Schedule(
        rows=rows,
        global_batch=global_batch,
        steps_per_epoch=steps_per_epoch,
        steps=steps,
        warmup=int(steps * warmup_ratio),
        evaluation_interval=evaluation_interval,
        evaluations=tuple(range(evaluation_interval, steps + 1, evaluation_interval)),
        checkpoint_interval=checkpoint_interval,
        checkpoints=saved,
        delivered=evenly(saved, delivered),
    )


def evenly(steps: Sequence[int], count: int) -> tuple[int, ...]:
    """`count` of at least as many steps, evenly chosen, the last one among them."""
    return tuple(steps[round(len(steps) * k / count) - 1] for k in range(1, count + 1))


def exhausted(valid_losses: Sequence[float], patience: int | None) -> bool:
    """Whether the last `patience` evaluations brought no validation loss below the best one before them."""
    if patience is None or len(valid_losses) <= patience:
        return False
    return min(valid_losses[-patience:]) >= min(valid_losses[:-patience])


def check_interval(key: str, interval: int, steps: int, sink_size: int) -> None:
    """Check that something happens every `interval` steps of a training.

    In sink mode MindSpore calls its callbacks after every `sink_size`-th step: what is due at another one is
    passed over without a word.

    Raises:
        UserError: `interval` is longer than the training, or no multiple of `sink_size`; names `key`.
    """
    if interval > steps:
        raise UserError(f"{key}: every {interval} steps is never in a training of {steps}; lower it")
    if interval % sink_size:
        nearest = max(1, round(interval / sink_size)) * sink_size
        raise UserError(
            f"{key}: {interval} is no multiple of the {sink_size} steps between two callbacks in sink mode, "
            f"so it would be passed over; set it to {nearest}"
        )
