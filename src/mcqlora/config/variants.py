"""Variants of a run: the trainings that they and the seeds make, and where the artefacts of each are.

A variant is a partial configuration over the run's own. With each seed it is a training. What two trainings
would make alike is made once: in the folder of the first of them.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import yaml

from mcqlora.config import checks, inputs, loading
from mcqlora.config.loading import Config, Namespace
from mcqlora.config.scalars import parsed
from mcqlora.config.sections import OwnModel, Settings
from mcqlora.errors import UserError

OWN_KEYS = (  # what a variant cannot change, since the run has one of it
    *("run", "data", "device", "gres", "variants", "seeds"),
    *("judge", "compare", "plan", "export", "s3", "publish", "fetch_run"),
    *("shuffle.copies", "encode.shards", "evaluate.protocol", "train.retries"),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Training:
    """A variant with a seed, or the run itself."""

    variant: str  # "" of the run's own configuration
    folder: str  # of what it alone makes, below results/<run>/: "", or with a slash at its end
    name: str  # in the comparison
    settings: Settings

    @property
    def seed(self) -> int:
        return self.settings.train.seed

    @cached_property
    def config(self) -> Namespace:
        """Its settings, as rules read them."""
        return loading.namespace(self.settings)

    @cached_property
    def but_rows(self) -> dict[str, Any]:
        """Its settings but for train.rows and the seed: trainings that differ in no other make a curve."""
        found = self.settings.model_dump(exclude={"variants", "seeds"})
        return found | {"train": found["train"] | {"rows": None, "seed": None}}


def load(
    config: Config, named: Config | None = None, files: Iterable[Path] = (), arguments: Iterable[str] = ()
) -> list[Training]:
    """The run itself, and then every training that it is compared with; arguments as of `loading.load`.

    Raises:
        UserError: a key or a value is wrong, of the run or of a variant, or two variants have one name.
    """
    files, arguments = list(files), list(arguments)
    for name in twice(files, arguments):
        raise UserError(f"variants: two are called {name}; give every variant a name of its own")
    own = loading.load(config, named, files, arguments)
    loaded = {"": own}
    for variant, changes in own.variants.items():
        with _of(variant):
            for key, _ in _keys(changes):
                if key in OWN_KEYS:
                    raise UserError(f"{key} belongs to the run itself; remove it, or make another run for it")
            also = None if named is None else merged(named, changes)
            loaded[variant] = loading.load(merged(config, changes), also, files, arguments)
    found = list(_trainings(own, loaded))
    _check_names(own, found)
    return found


@contextlib.contextmanager
def _of(variant: str) -> Iterator[None]:
    """What is wrong with a variant says so."""
    try:
        yield
    except UserError as error:
        told = str(error).removeprefix("config: ")
        raise UserError(f"variants: {variant}: {told}" if variant else str(error)) from error


def check(trainings: Sequence[Training]) -> None:
    """Check what no single section can say, and that there are the benchmarks' files.

    Raises:
        UserError: see `checks.check` and `inputs.benchmark_files`; one line that names the key.
    """
    for one in trainings:
        with _of(one.variant):
            inputs.benchmark_files(one.settings)
            checks.check(one.settings)
            inputs.base_files(one.settings, "")


def _trainings(own: Settings, loaded: Mapping[str, Settings]) -> Iterator[Training]:
    suffix = f"-seed-{own.train.seed}" if own.seeds else ""
    yield Training(variant="", folder="", name=own.run + suffix, settings=own)
    for variant, settings in loaded.items():
        for seed in own.seeds or [settings.train.seed]:
            if variant == "" and seed == own.train.seed:
                continue
            train = settings.train.model_copy(update={"seed": seed})
            place = f"variants/{variant}/" if variant else ""
            # The seed of the variant's own configuration has no folder, whether `seeds` names it or not.
            place += "" if seed == settings.train.seed else f"seed-{seed}/"
            suffix = f"-seed-{seed}" if own.seeds else ""
            yield Training(
                variant=variant,
                folder=place,
                name=(variant or own.run) + suffix,
                settings=settings.model_copy(update={"train": train}),
            )


def _check_names(own: Settings, found: Sequence[Training]) -> None:
    taken = [*get_args(OwnModel), *(one.name for one in own.judge.everything())]
    names = Counter([*taken, own.run, *own.variants])
    names += Counter(one.name for one in found if one.folder and one.name != one.variant)
    for name, count in names.items():
        if count > 1 and (name in own.variants or name not in taken):
            raise UserError(f"variants: {name} is the name of two models; call the variant something else")


def merged(config: Config, changes: Config) -> dict[str, Any]:
    """`config` with other values of some keys; of a section those that `changes` does not name stay."""
    made = dict(config)
    for key, value in changes.items():
        new, old = parsed(value), parsed(made.get(key)) or {}
        made[key] = merged(old, new) if isinstance(new, Mapping) and isinstance(old, Mapping) else value
    return made


def _keys(changes: Config, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Dotted names of the keys with their values, sections before their own keys."""
    for key, value in changes.items():
        yield f"{prefix}{key}", (below := parsed(value))
        if isinstance(below, Mapping):
            yield from _keys(below, f"{prefix}{key}.")


def changed(changes: Config) -> dict[str, object]:
    """{dotted key: value} of what a variant changes."""
    return {key: value for key, value in _keys(changes) if not (isinstance(value, Mapping) and value)}


def compared(trainings: Sequence[Training]) -> list[Training]:
    """The trainings that `snakemake compare` is about: all, but the run's own only with a seed of `seeds`.

    None where there is no variant and no other seed.
    """
    seeds = trainings[0].settings.seeds
    if len(trainings) == 1:
        return []
    return [one for one in trainings if one.variant or not seeds or one.seed in seeds]


def curve(trainings: Sequence[Training]) -> list[Training]:
    """Those that differ from the first in train.rows and the seed alone; none where none differs in rows."""
    found = [one for one in trainings if one.but_rows == trainings[0].but_rows]
    return found if len({one.settings.train.rows for one in found}) > 1 else []


def twice(files: Iterable[Path], arguments: Iterable[str]) -> list[str]:
    """Variants that stand twice in one mapping of a file or of the command line: the last would win."""
    found = []
    texts = [argument.partition("=")[2] for argument in arguments if argument.startswith("variants=")]
    nodes = [(yaml.compose(text, yaml.SafeLoader), True) for text in texts]
    for path in files:
        try:
            nodes.append((yaml.compose(Path(path).read_text(encoding="utf-8"), yaml.SafeLoader), False))
        except (yaml.YAMLError, OSError, ValueError):  # another loader reads it, or refuses it
            continue
    while nodes:
        node, inside = nodes.pop()
        if isinstance(node, yaml.MappingNode):
            names = [key.value for key, _ in node.value if inside and isinstance(key, yaml.ScalarNode)]
            found += [name for name, count in Counter(names).items() if count > 1]
            nodes += [(value, not inside and key.value == "variants") for key, value in node.value]
    return found


class Places:
    """Where each training's artefacts are: in the folder of the first one that makes them alike."""

    def __init__(self, trainings: Sequence[Training], made_by: Callable[[str], object]) -> None:
        """`made_by` says of a path what decides that file: equal ones are one. None: nothing makes it.

        It may ask `place` for the inputs, since these are made before.
        """
        self.trainings, self._made_by = trainings, made_by
        self._decided: dict[str, object] = {}
        self._known: dict[tuple[str, str], str] = {}

    def place(self, pattern: str, training: Training) -> str:
        """A path of `training`; `pattern` has `{variant}` where its folder would stand."""
        known, path = (pattern, training.folder), pattern.replace("{variant}", training.folder)
        if training is self.trainings[0] or path == pattern:
            return path
        if known not in self._known and (own := self._decides(path)) is not None:
            folders = [one.folder for one in self.trainings[: self.trainings.index(training)]]
            earlier = (pattern.replace("{variant}", folder) for folder in folders)
            alike = (other for other in earlier if self._decides(other) == own)
            self._known[known] = next(alike, path)
        return self._known.get(known, path)

    def _decides(self, path: str) -> object:
        """`made_by`, kept; not where nothing makes the file, since its rule may yet be read."""
        if path not in self._decided and (found := self._made_by(path)) is not None:
            self._decided[path] = found
        return self._decided.get(path)
