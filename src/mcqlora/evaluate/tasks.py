"""What an evaluation job does: one model asked everything, by one process or by several under msrun."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from mcqlora import files, hashing
from mcqlora.data.questions import Question, read_questions
from mcqlora.evaluate import mcq
from mcqlora.evaluate.answers import Share
from mcqlora.evaluate.asking import GenerationSettings, Model
from mcqlora.evaluate.engine import Progress, silent
from mcqlora.evaluate.model import ModelSpec, ready
from mcqlora.evaluate.reading import read
from mcqlora.launch.msrun import Workers, next_attempt
from mcqlora.launch.processes import enter, join
from mcqlora.model.architecture import DEVICES

MEETING = 300  # seconds that the workers wait for each other at the start


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """All that the report wants of a model: mcq.json and squad.json."""

    model: ModelSpec
    questions: str  # this and the next five are paths
    groups: str  # groups.json
    test: str
    train: str  # the training part
    last_copy: str  # the copy of all questions that training has not
    squad: str
    multiple_choice: mcq.McqSettings
    reading: GenerationSettings
    seed: int  # of the samples, which are drawn by the items' own keys: the same for every model

    def ask(self, model: Model) -> tuple[files.Json, ...]:
        """mcq.json and squad.json."""
        questions, test = _by_id(self.questions), list(files.read_json_array(self.test))
        settings, parts = self.multiple_choice, (self.train, self.last_copy)
        wanted = settings.leak_items
        leak = mcq.trained(model, *parts, questions, wanted, self.seed) if wanted else []
        groups = files.read_json(self.groups)["groups"]
        chosen = mcq.choose(model, questions, test, leak, settings, self.seed, groups)
        return chosen, read(model, self.squad, self.reading, self.seed)


@dataclass(frozen=True, kw_only=True)
class Validation:
    """The validation questions, by the likelihood of the full answer: they may choose a checkpoint."""

    model: ModelSpec
    questions: str  # a path, as the next
    valid: str

    def ask(self, model: Model) -> tuple[files.Json, ...]:
        """valid.json."""
        return (mcq.validate(model, _by_id(self.questions), list(files.read_json_array(self.valid))),)


Task = Evaluation | Validation


def _by_id(path: str) -> dict[str, Question]:
    return {question.id: question for question in read_questions(path)}


def ask(task: Task, workers: int, worker: Path, progress: Progress = silent) -> tuple[files.Json, ...]:
    """The documents that a task makes, asked by `workers` processes that run the script `worker`.

    Every one goes through the whole task and feeds its share of the batches, which are those of a single
    process; then the task itself finds all answers where they are kept.

    Raises:
        UserError: a worker failed; says how, and names its log.
    """
    if workers > 1:
        place = Path(task.model.runs) / hashing.digest(task)[:16]
        logs = next_attempt(place)
        logs.mkdir(parents=True)
        told = {"task": task, "folder": os.getcwd(), "workers": workers, "meetings": str(logs)}
        files.write_json(place / "workers.json", told, indent=True)
        what = f"evaluation of {task.model.name}"
        Workers(worker.resolve(), (place / "workers.json").resolve(), workers, logs, MEETING, what=what).run()
    return task.ask(ready(task.model, progress))


def run_worker(path: str) -> None:
    """One process of `ask`: a worker, or msrun's scheduler."""
    works, told = enter(), files.read_json(path)
    device = told["task"]["model"]["device"]
    join(device, **DEVICES[device].context)
    if not works:
        return
    os.chdir(told["folder"])  # to which all paths are relative
    share = Share(int(os.environ["RANK_ID"]), told["workers"], Path(told["meetings"]))
    task: Task = TypeAdapter(Task).validate_python(told["task"])
    task.ask(ready(task.model, share=share))
