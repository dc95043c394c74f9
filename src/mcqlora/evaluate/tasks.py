"""What an evaluation job does: one model asked everything, by one process or by several under msrun."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mcqlora import files, hashing
from mcqlora.evaluate import protocols, scoring
from mcqlora.evaluate.mcq import Json, choose, trained
from mcqlora.evaluate.model import Share, ready
from mcqlora.evaluate.reading import read
from mcqlora.launch.msrun import enter, launch, next_attempt

MEETING = 300  # seconds that msrun would let the workers look for each other; they don't


def evaluate(
    *,
    questions: str,
    test: str,
    train: str,
    last_copy: str,
    squad_path: str,
    choosing: dict,
    reading: dict,
    seed: int,
    **asking: Any,
) -> tuple[Json, Json]:
    """(mcq.json, squad.json) of the base, or of the base with an adapter.

    Args:
        train, last_copy: the training part, and the copy of all questions that training has not.
        choosing: see `choose`.
        reading: `items` (how many, at most) and `max_new_tokens`.
        seed: of the samples, which are drawn by the items' own keys: the same for every model.
        asking: see `ready`.
    """
    asked = ready(**asking)
    everything = {question["id"]: question for question in files.read_jsonl(questions)}
    records = list(files.read_json_array(test))
    leak = []
    if choosing["leak_items"]:
        leak = trained(asked, train, last_copy, everything, choosing["leak_items"], seed)
    mcq = choose(asked, everything, records, leak, choosing, seed)
    return mcq, read(asked, squad_path, reading, seed)


def validate(*, questions: str, valid: str, **asking: Any) -> Json:
    """valid.json: the validation questions, by the likelihood of the full answer; `asking` as in `ready`."""
    asked = ready(**asking)
    everything = {question["id"]: question for question in files.read_jsonl(questions)}
    items = protocols.recipe(
        files.read_json_array(valid), everything, asked.encode, asked.template, asked.limit
    )
    scored = asked.score({"valid": items})["valid"]
    rows = [protocols.by_sum(item, found) for item, found in zip(items, scored, strict=True)]
    return {"model": asked.name, "protocol": "answer", "items": rows}


# Several processes

TASKS: dict[str, Callable[..., Any]] = {"evaluate": evaluate, "validate": validate}


def ask(
    task: str, *, workers: int, worker: Path, progress: scoring.Progress = scoring.silent, **arguments: Any
) -> Any:
    """What `evaluate` or `validate` (`task`) gives with `arguments`, asked by `workers` processes.

    Every one goes through the whole task and feeds its share of the batches, which are those of a single
    process; then the task itself finds all answers where they are kept.

    Raises:
        UserError: a worker failed; says how, and names its log.
    """
    if workers > 1:
        place = Path(arguments["runs"]) / hashing.digest(task, arguments)[:16]
        logs = next_attempt(place)
        logs.mkdir(parents=True)
        told = {"task": task, "arguments": arguments, "folder": os.getcwd()}
        files.write_json(
            place / "workers.json", told | {"workers": workers, "meetings": str(logs)}, indent=True
        )
        what = f"evaluation of {arguments['model']}"
        launch(worker.resolve(), (place / "workers.json").resolve(), workers, logs, MEETING, what=what)
    return TASKS[task](**arguments, progress=progress)


def run_worker(path: str) -> None:
    """One process of `ask`: a worker, or msrun's scheduler, which has nobody to bring together here."""
    if not enter():
        return
    told = files.read_json(path)
    os.chdir(told["folder"])  # to which all paths are relative
    share = Share(int(os.environ["RANK_ID"]), told["workers"], Path(told["meetings"]))
    TASKS[told["task"]](**told["arguments"], share=share)
