"""A training's own checkpoints: what it changes and no more, each with its hash, to go on from bit by bit.

`step-N.safetensors` holds the trained weights, the optimizer's moments and all counters; `step-N.json`,
written after it, its SHA-256. One without the other, or of another hash, was never finished.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mcqlora import files, hashing
from mcqlora.errors import UserError
from mcqlora.model import weights


def write(directory: Path, step: int, tensors: Mapping[str, np.ndarray], last: bool = False) -> None:
    """Write the checkpoint of `step`; until the last moment it does not count. `last` ends the training."""
    path = file(directory, step)
    path.with_suffix(".json").unlink(missing_ok=True)
    weights.save(tensors, path)
    files.write_json(path.with_suffix(".json"), {"step": step, "last": last, "sha256": hashing.sha256(path)})


def stopped(directory: Path) -> int | None:
    """The step of the training's last checkpoint, if that is there."""
    facts = (_facts(path) for path in directory.glob("step-*.json"))
    return next((said["step"] for said in facts if said.get("last")), None)


def file(directory: Path, step: int) -> Path:
    return directory / f"step-{step}.safetensors"


def last_complete(directory: Path, steps: tuple[int, ...]) -> int:
    """The latest of `steps` up to which every checkpoint is whole, or 0; removes all later ones.

    A gap ends the search because each checkpoint is part of the result, not only the last one.
    """
    complete = 0
    for step in steps:
        if not _whole(file(directory, step)):
            break
        complete = step
    for step in steps:
        if step > complete:
            for path in (file(directory, step), file(directory, step).with_suffix(".json")):
                path.unlink(missing_ok=True)
    return complete


def _whole(path: Path) -> bool:
    return path.exists() and _facts(path.with_suffix(".json")).get("sha256") == hashing.sha256(path)


def _facts(path: Path) -> dict[str, Any]:
    """What stands in a checkpoint's JSON; nothing if it is missing or damaged."""
    try:
        return files.read_json(path)
    except (FileNotFoundError, UserError):
        return {}
