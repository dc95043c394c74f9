"""The folder of one training, `runs/<fingerprint>/`: start it, go on after a stop, collect what it leaves."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from mcqlora import files, hashing
from mcqlora.errors import UserError
from mcqlora.launch import msrun
from mcqlora.model import weights
from mcqlora.model.architecture import DEVICES
from mcqlora.provenance.fingerprint import fingerprint
from mcqlora.train import checkpoints
from mcqlora.train.mindformers_yaml import Paths, Training, render


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How a training is started, which decides nothing of its result."""

    worker: Path  # the script of each process
    runs: Path  # the folder of all trainings
    timeout: int = 300  # seconds that the workers wait for each other at the start
    nodes: int = 1  # machines of this Slurm job


def fingerprint_of(
    training: Training, worker: Path, base: str, train: Sequence[str], valid: Sequence[str]
) -> str:
    """The name of a training's folder: 16 hex digits of a hash of all that decides the weights and losses.

    It holds the YAML of the whole training (so settings and the code that plans count by their effect), the
    code that `worker` imports, and the versions of MindSpore and MindFormers. In the YAML hashes stand for
    files: `base` for the start (empty for random weights), `train` and `valid` for the rows. Paths, timeouts
    and machines are not in it: after a change of these a training is reused, or goes on.
    """
    told = render(training, train, valid, base)
    versions = [version(name) for name in ("mindspore", "mindformers")]
    return hashing.digest(told, fingerprint(worker), versions)[:16]


class Workplace:
    """The folder of one training: `config.yaml`, `output/` and the logs of every attempt."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.output = directory, directory / "output"
        self.config = directory / "config.yaml"

    def run(
        self, training: Training, launch: Launch, base: Path | None, train: Paths, valid: Paths = ()
    ) -> tuple[int, ...]:
        """Render the YAML, with paths relative to this folder, and train `base`, or random weights.

        Goes on after the last complete checkpoint of an earlier attempt. `config.yaml` is that of the whole
        training, `resumed.yaml` that of an attempt that goes on. `start/`, as large as the base, is made anew
        for each attempt; of one that was killed it stays until the next.

        Returns:
            The steps of its checkpoints, ascending; the last one ends it.

        Raises:
            UserError: a worker failed, or other steps were taken than planned.
        """
        import yaml

        schedule, begun = training.schedule, self.directory / "start"
        size = training.settings.size
        workers = size.workers
        train, valid = ([os.path.relpath(path, self.directory) for path in part] for part in (train, valid))

        def write(config: Path, start: int) -> Path:
            made = render(training, train, valid, begun.name if base else "", start)
            files.write_text(config, yaml.safe_dump(made, sort_keys=False))
            return config

        shutil.rmtree(begun, ignore_errors=True)  # left by a kill
        start = checkpoints.begin(self.output, schedule)
        write(self.config, 0)
        if start != checkpoints.taken(self.output, schedule)[-1]:
            if base:
                device = training.settings.device
                begin = checkpoints.write_divided_start if size.divided else checkpoints.write_start
                begin(base, begun, schedule, start, device, workers, self.output)
            launched = msrun.Workers(
                launch.worker.resolve(),
                write(self.directory / "resumed.yaml" if start else self.config, start).resolve(),
                workers,
                msrun.next_attempt(self.directory),
                launch.timeout,
                launch.nodes,
            )
            try:
                launched.run()
            finally:
                shutil.rmtree(begun, ignore_errors=True)
        taken = checkpoints.taken(self.output, schedule)
        self._check_steps(taken[-1], DEVICES[training.settings.device].sink_size)
        return taken

    def _check_steps(self, last: int, every: int) -> None:
        """Compare the history with the planned end of the training.

        It has each `every`-th step: sink mode's calls take so many, across the ends of epochs, too.
        """
        steps, planned = [row["step"] for row in self.history()], list(range(every, last + 1, every))
        if steps != planned:
            said = f"{self.output / 'history.jsonl'} has {len(steps)} steps up to {max(steps)}"
            if missing := sorted({*planned} - {*steps}):
                said += f" without step {missing[0]}"
            raise UserError(
                f"training: {said}, not the {len(planned)} up to {last} planned; see make doctor, "
                f"then delete {self.output}"
            )

    def history(self) -> list[files.Json]:
        return list(files.read_jsonl(self.output / "history.jsonl"))

    def checkpoint(self, step: int) -> dict[str, np.ndarray]:
        return weights.read(checkpoints.file(self.output / "checkpoints", step))


@contextlib.contextmanager
def workplace(directory: Path) -> Iterator[Workplace]:
    """The folder, made if need be, under its one lock.

    Raises:
        UserError: another process trains there now.
    """
    import fcntl

    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{directory}: another training runs there; wait for it or stop it") from None
        yield Workplace(directory)
