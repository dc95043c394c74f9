"""A run's variants in the comparison: their questions that are not the run's, what they were trained on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from mcqlora.compare.models import Model, model
from mcqlora.data.questions import Question
from mcqlora.files import Json
from mcqlora.report.schema import Items


def other_questions(own: Mapping[str, Question], theirs: Iterable[Question]) -> set[str]:
    """Ids under which a variant, which reads otherwise, has another question than the run, or one more."""
    return {question.id for question in theirs if own.get(question.id) != question}


def renamed(items: Items, others: Collection[str], variant: str) -> list[Mapping[str, Any]]:
    """The items, those of `others` under ids of the variant's own: they are paired with none of the run's."""
    return [{**item, "id": own_id(item["id"], variant)} if item["id"] in others else item for item in items]


def own_id(identity: str, variant: str) -> str:
    """Keeps "benchmark/subject/" at its beginning, see `report.comparison.category`."""
    return f"{identity}@{variant}"


def merged_groups(
    groups: Mapping[str, str], theirs: Mapping[str, str], others: Collection[str], variant: str
) -> dict[str, str]:
    """{id: duplicate group}, with those of a variant's own questions; else the run's groups count."""
    return {**groups, **{own_id(one, variant): theirs[one] for one in others}}


def seen(leakage: Json) -> Json | None:
    """leakage.json as a `trained_on` of `Model`, without ids; None where no test question was trained on."""
    if not leakage["test"]["leaked"]:
        return None
    parts = {
        part: {"questions": leakage[part]["questions"], "found": leakage[part]["leaked_questions"]}
        for part in ("test", "valid")
    }
    return {**parts, "ids": []}


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A training, and the models that it gives to the comparison."""

    name: str
    variant: str
    seed: int
    rows: int | None  # training rows of an epoch, where variants differ in them
    checkpoint: str | None  # its best; None where the comparison is of none of its trainings
    valid: Items  # of that one
    costs: Mapping[str, Mapping[str, float]]  # of each checkpoint
    seen: Json | None  # see `seen`
    others: Collection[str] = ()  # see `other_questions`

    def model(self, name: str, checkpoint: str, mcq: Json) -> Model:
        """The base or a checkpoint with its answers; the best one is what the variant is compared by."""
        known: dict[str, Any] = {"cost": self.costs.get(checkpoint, {})}
        if checkpoint != "base":
            known["trained_on"] = self.seen
        if checkpoint == self.checkpoint:
            valid = renamed(self.valid, self.others, self.variant)
            known |= {"variant": self.variant, "seed": self.seed, "rows": self.rows, "valid": valid}
        found = model(name, "run", mcq, **known)
        if not self.others:
            return found
        answers = {by: renamed(items, self.others, self.variant) for by, items in found.answers.items()}
        return replace(found, answers=answers)


def rows_of_epoch(packing: Json, wanted: int | None) -> int:
    """Training rows of an epoch: `train.rows`, or all that there are."""
    there = packing["train"][packing["train"]["layout"]]["rows"]
    return min(wanted or there, there)
