"""What is compared: models, wherever they come from, each with what it answered.

The run's base and checkpoints, models judged here, answers that another tool wrote, variants and their seeds:
for all that follows they are one thing, a `Model`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from mcqlora.errors import UserError
from mcqlora.files import Json
from mcqlora.report.schema import Items

Source = Literal["run", "judged", "samples"]
COST = ("steps", "tokens", "hours", "memory_gb")  # memory in 10^9 bytes, the most of the training's processes


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model with what it answered; of each protocol one item per question."""

    name: str
    source: Source
    answers: Mapping[str, Items]  # by protocol
    valid: Items = ()  # of the validation questions
    variant: str = ""  # trainings that differ by their seed alone share it; "" where it stands alone
    seed: int | None = None
    rows: int | None = None  # training rows of an epoch, where variants differ in them
    cost: Mapping[str, float] = field(default_factory=dict)  # what is known of `COST`
    trained_on: Json | None = None  # trained_on.json
    matched: Json | None = None  # of answers from another tool, see `interop.samples.match`

    def by(self, protocol: str) -> Items:
        """Its items by the protocol; of a model that was asked by one alone, and not by this, those.

        Raises:
            UserError: it was asked by several others.
        """
        if protocol in self.answers:
            return self.answers[protocol]
        if len(self.answers) == 1:
            return next(iter(self.answers.values()))
        known = ", ".join(self.answers)
        raise UserError(f"{self.name}: not asked by {protocol}, only by {known}; evaluate it again")

    def asked_by(self, protocol: str) -> str:
        """The protocol of `by`."""
        return protocol if protocol in self.answers else next(iter(self.answers))


def model(name: str, source: Source, mcq: Json, **known: Any) -> Model:
    """A model from its mcq.json; `known` are other fields of `Model`."""
    answers = {protocol: part["items"] for protocol, part in mcq["protocols"].items() if part["items"]}
    return Model(name=name, source=source, answers=answers, matched=mcq.get("matched"), **known)


@dataclass(frozen=True, slots=True)
class Paired:
    """Two models on the questions that both answered, in one order."""

    left: Sequence[bool]
    right: Sequence[bool]
    ids: Sequence[str]

    @property
    def diff(self) -> list[int]:
        return [int(b) - int(a) for a, b in zip(self.left, self.right, strict=True)]


def paired(left: Items, right: Items) -> Paired:
    """The questions that both answered, sorted: orders of the options may differ between protocols."""
    both = [{item["id"]: bool(item["correct"]) for item in items} for items in (left, right)]
    ids = sorted(both[0].keys() & both[1].keys())
    return Paired([both[0][one] for one in ids], [both[1][one] for one in ids], ids)


def variants(models: Sequence[Model]) -> dict[str, list[Model]]:
    """The trainings of each variant, in order of first appearance; a model that stands alone is one."""
    found: dict[str, list[Model]] = {}
    for one in models:
        found.setdefault(one.variant or one.name, []).append(one)
    return found


def named(models: Collection[Model], name: str) -> Model:
    """A model; of a variant with several trainings the first.

    Raises:
        UserError: no model is called so.
    """
    for one in (
        *(one for one in models if one.name == name),
        *(one for one in models if one.variant == name),
    ):
        return one
    known = ", ".join(one.name for one in models)
    raise UserError(f"compare.against: no model {name}; choose one of {known}")
