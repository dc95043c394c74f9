"""The folder of one training: start, go on after a stop, collect what it leaves."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from mcqlora import files
from mcqlora.launch.msrun import exclusive, launch, next_attempt
from mcqlora.model import tensorfiles, weights
from mcqlora.model.architecture import DEVICES, sink_size
from mcqlora.provenance import fingerprint
from mcqlora.train import checkpoints
from mcqlora.train.mindformers_yaml import render
from mcqlora.train.schedule import Schedule


def code(worker: Path, *others: Path) -> list[str]:
    """What decides a training besides its settings and files: our code, and the versions of what it runs on.

    Part of the name of a training's folder in `runs/`: other code does not take what this one has trained.
    `others` are files that a training of its own kind depends on, too.
    """
    versions = [version(name) for name in ("mindspore", "mindformers")]
    return [fingerprint.fingerprint(worker, Path(__file__), *others), *versions]


class Workplace:
    """The directory of one training: `config.yaml`, `output/` and the logs of every attempt."""

    def __init__(self, directory: Path, name: str):
        self.directory = directory
        self.name = name
        self.config = directory / "config.yaml"
        self.output = directory / "output"

    def run(
        self,
        worker: Path,
        workers: int,
        *,
        schedule: Schedule,
        base: Path | None,
        evaluation_batch: int = 1,
        timeout: int = 300,
        nodes: int = 1,
        **settings: Any,
    ) -> None:
        """Render the YAML, with paths relative to this directory, and train `base`, or random weights.

        Goes on after the last complete checkpoint of an earlier attempt. `config.yaml` is that of the whole
        training, `resumed.yaml` that of an attempt that goes on.
        """
        import yaml

        for key in ("train_files", "valid_files"):
            settings[key] = [os.path.relpath(path, self.directory) for path in settings[key]]
        start = self._start(schedule)
        weights = self.directory / "start.ckpt" if base else None

        def rendered(start: int) -> str:
            config = render(
                name=self.name,
                workers=workers,
                output="./output",
                schedule=schedule,
                load_checkpoint=weights.name if weights else "",
                start=start,
                **settings,
            )
            if "eval_dataset" in config:
                config["eval_dataset"]["batch_size"] = evaluation_batch
            return yaml.safe_dump(config, sort_keys=False)

        files.write_text(self.config, rendered(0))
        if start == self.taken(schedule)[-1]:
            return
        if base:
            write_start(base, weights, schedule, start, settings["device"], self.output)
        config = self.config if start == 0 else self.directory / "resumed.yaml"
        files.write_text(config, rendered(start))
        attempt = next_attempt(self.directory)
        launch(worker.resolve(), config.resolve(), workers, attempt, timeout, nodes=nodes)

    def _start(self, schedule: Schedule) -> int:
        """Where to go on; what was written after it is forgotten."""
        start = checkpoints.last_complete(self.output / "checkpoints", self.taken(schedule))
        path = self.output / "history.jsonl"
        rows = [row for row in files.read_appended_jsonl(path) if row["step"] <= start]
        if start and rows and rows[-1]["step"] == start:
            files.write_jsonl(path, rows)
            return start
        shutil.rmtree(self.output, ignore_errors=True)
        return 0

    def taken(self, schedule: Schedule) -> tuple[int, ...]:
        """Steps of the training's checkpoints: the schedule's, or fewer if it has ended early."""
        last = checkpoints.stopped(self.output / "checkpoints")
        return (
            schedule.checkpoints if last is None else (*(s for s in schedule.checkpoints if s < last), last)
        )

    def history(self) -> list[dict]:
        return list(files.read_jsonl(self.output / "history.jsonl"))

    def checkpoint(self, step: int) -> dict[str, np.ndarray]:
        return weights.read(checkpoints.file(self.output / "checkpoints", step))


def write_start(base: Path, path: Path, schedule: Schedule, start: int, device: str, output: Path) -> None:
    """The .ckpt that MindFormers loads: the base's weights, and where the training stood after `start` steps.

    Several workers can load one whole .ckpt; of safetensors MindFormers wants a file for each of them. What
    the training had changed by then is put in by `network.ScheduleCallback`.
    """
    import mindspore as ms

    stood = {}
    if start:
        size = sink_size(device)
        epoch = start // size if DEVICES[device]["sink_mode"] else math.ceil(start / schedule.steps_per_epoch)
        state = weights.read(checkpoints.file(output / "checkpoints", start))
        stood = {"step_num": start, "epoch_num": epoch, "loss_scale": float(state["scale_sense"])}
    tensors = tensorfiles.index_safetensors(base)
    ms.save_checkpoint(
        [{"name": n, "data": ms.Tensor.from_numpy(tensorfiles.mapped(tensors[n]))} for n in sorted(tensors)],
        str(path),
        append_dict=stood or None,
    )


@contextlib.contextmanager
def workplace(directory: Path, name: str) -> Iterator[Workplace]:
    with exclusive(directory):
        yield Workplace(directory, name)
