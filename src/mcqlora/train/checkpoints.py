"""A training's own checkpoints: only what it changes; where it goes on after a stop, and when it ends.

`step-N.safetensors` holds the trained weights, the optimizer's moments and all counters; `step-N.json`,
written after it, its SHA-256. One without the other, or of another hash, was never finished. A training that
resumes is bit-identical.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mcqlora import files, hashing
from mcqlora.errors import UserError
from mcqlora.model import tensorfiles, weights
from mcqlora.model.architecture import DEVICES

if TYPE_CHECKING:  # its numbers are in the YAML
    from mcqlora.train.schedule import Schedule


def write(directory: Path, step: int, tensors: Mapping[str, np.ndarray], last: bool = False) -> None:
    """Write the checkpoint of `step`; until the last moment it does not count. `last` ends the training."""
    path = file(directory, step)
    path.with_suffix(".json").unlink(missing_ok=True)
    weights.save(tensors, path)
    files.write_json(path.with_suffix(".json"), {"step": step, "last": last, "sha256": hashing.sha256(path)})


def file(directory: Path, step: int) -> Path:
    return directory / f"step-{step}.safetensors"


def _facts(path: Path) -> dict[str, Any]:
    """What `write` says in a checkpoint's JSON; nothing if that is missing or damaged."""
    try:
        return files.read_json(path)
    except (FileNotFoundError, UserError):
        return {}


def stopped(directory: Path) -> int | None:
    """The step of the training's last checkpoint, if that is there."""
    facts = (_facts(path) for path in directory.glob("step-*.json"))
    return next((said["step"] for said in facts if said.get("last")), None)


def exhausted(valid_losses: Sequence[float], patience: int | None) -> bool:
    """Whether the last `patience` evaluations brought no validation loss below the best one before them."""
    if patience is None or len(valid_losses) <= patience:
        return False
    return min(valid_losses[-patience:]) >= min(valid_losses[:-patience])


def last_complete(directory: Path, steps: tuple[int, ...]) -> int:
    """The latest of `steps` up to which every checkpoint is whole, or 0; removes all later ones.

    A gap ends the search because each checkpoint is part of the result, not only the last one.
    """
    complete = 0
    for step in steps:
        path = file(directory, step)
        if not path.exists() or _facts(path.with_suffix(".json")).get("sha256") != hashing.sha256(path):
            break
        complete = step
    for path in (file(directory, step) for step in steps if step > complete):
        path.unlink(missing_ok=True)
        path.with_suffix(".json").unlink(missing_ok=True)
    return complete


def taken(output: Path, schedule: Schedule) -> tuple[int, ...]:
    """Steps of the training's checkpoints: the schedule's, or fewer if it has ended early."""
    last = stopped(output / "checkpoints")
    return schedule.checkpoints if last is None else (*(s for s in schedule.checkpoints if s < last), last)


def begin(output: Path, schedule: Schedule) -> int:
    """The step to go on after, or 0; what an earlier attempt wrote after it is forgotten.

    Not after the last step: there all that was written is told, for `workplace` to compare with the plan.
    """
    planned = taken(output, schedule)
    start = last_complete(output / "checkpoints", planned)
    path = output / "history.jsonl"
    rows = [row for row in files.read_appended_jsonl(path) if row["step"] <= start]
    if start and rows and rows[-1]["step"] == start:
        if start != planned[-1]:
            files.write_jsonl(path, rows)
        return start
    shutil.rmtree(output, ignore_errors=True)
    return 0


def write_start(
    base: Path, folder: Path, schedule: Schedule, start: int, device: str, workers: int, output: Path
) -> None:
    """What MindFormers loads: the base's weights, and where the training stood after `start` steps.

    To go on MindFormers wants a folder with one for each worker: `folder`/rank_0 has the one .ckpt, the
    others are links to it. Of safetensors several workers would want a part each. What the training had
    changed by then is put in by `callbacks.ScheduleCallback`.
    """
    import mindspore as ms

    stood = _stood(schedule, start, device, output)
    path = folder / "rank_0" / "start.ckpt"
    path.parent.mkdir(parents=True)
    for worker in range(1, workers):
        (folder / f"rank_{worker}").symlink_to("rank_0")
    tensors = tensorfiles.index_safetensors(base)
    ms.save_checkpoint(
        [{"name": name, "data": _tensor(tensors[name])} for name in sorted(tensors)],
        str(path),
        append_dict=stood or None,
    )


def write_divided_start(
    base: Path, folder: Path, schedule: Schedule, start: int, device: str, workers: int, output: Path
) -> None:
    """The same for a network that is divided among workers: the base's own file; each reads its part of it.

    MindSpore wants to be told which file has a tensor; to go on MindFormers wants the counters in another
    (`load_resume_context_from_checkpoint`).
    """
    folder.mkdir(parents=True)
    (folder / "model.safetensors").symlink_to(base.resolve())
    files.write_json(
        folder / "param_name_map.json",
        dict.fromkeys(tensorfiles.index_safetensors(base), "model.safetensors"),
    )
    if start:
        stood = _stood(schedule, start, device, output) | {"global_batch_size": schedule.global_batch}
        counters = {name: np.array(value, np.float32) for name, value in stood.items()}
        weights.save(counters, folder / "hyper_param.safetensors")


def _stood(schedule: Schedule, start: int, device: str, output: Path) -> dict[str, int | float]:
    """Counters of the training after `start` steps, by MindFormers' names; none before the first."""
    if not start:
        return {}
    of = DEVICES[device]
    epoch = start // of.sink_size if of.sink_mode else math.ceil(start / schedule.steps_per_epoch)
    state = weights.read(file(output / "checkpoints", start))
    return {"step_num": start, "epoch_num": epoch, "loss_scale": state["scale_sense"].item()}


def _tensor(stored: tensorfiles.Tensor) -> Any:
    """A MindSpore tensor; NumPy has no bfloat16, which float32 holds exactly."""
    import mindspore as ms

    if stored.dtype == tensorfiles.BFLOAT16:
        return ms.Tensor(tensorfiles.read(stored), ms.bfloat16)
    return ms.Tensor.from_numpy(tensorfiles.mapped(stored))
