"""Documents: what the report reads of the stages, and what all of summary.json shares, see `summary.build`.

An estimate is {"value", "low", "high"}, the latter the ends of a 95 % interval; a measured one also has "n",
its number of items, and "clusters", how many of these were drawn independently (see `clustered`). A rate is
{"n", "questions", "clusters", "correct", "accuracy", "low", "high"}. Accuracies, probabilities and shares are
fractions, SQuAD's scores and their differences percent and points; "chance" is the accuracy of guessing (see
`chance`). What was not measured is None.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from mcqlora.errors import UserError
from mcqlora.files import Json

Items = Sequence[Mapping[str, Any]]  # of mcq.json, see `protocols._judged`, each with its "cluster"

BASE, TUNED = SIDES = ("base", "tuned")  # the base, and the checkpoint that is compared with it
SCORERS = ("official", "mindformers")
METRICS = ("f1", "em")


def clustered(document: Any, cluster: Callable[[Json], str | int]) -> Any:
    """The document with its "cluster" in every item, at any depth: what was drawn together with it.

    One rule for all intervals and tests: orders of a question, the questions of one duplicate group
    (groups.json) and those of one SQuAD paragraph are a cluster.
    """
    if not isinstance(document, dict):
        return document
    return {
        key: [item | {"cluster": cluster(item)} for item in part]
        if key == "items"
        else clustered(part, cluster)
        for key, part in document.items()
    }


def duplicate_group(groups: Mapping[str, str]) -> Callable[[Json], str]:
    """The cluster of a multiple-choice item, from groups.json.

    Raises (the function):
        UserError: the question has no group.
    """

    def of(item: Json) -> str:
        if item["id"] not in groups:
            raise UserError(f"groups.json: no group of {item['id']}; delete it and run again")
        return groups[item["id"]]

    return of


def paragraph(item: Json) -> int:
    """The cluster of a SQuAD item."""
    return item["paragraph"]


def options(item: Mapping[str, Any]) -> int:
    """How many options a multiple-choice item has."""
    return len(item["order"])


def chance(items: Items) -> float:
    """The accuracy of guessing: the mean over the items of 1 / number of options."""
    return sum(1 / options(item) for item in items) / len(items)


def answers(scores: Json, protocol: str) -> Items:
    """The items of a protocol; none if it was not asked."""
    return scores["protocols"].get(protocol, {"items": []})["items"]


def rotated(scores: Json) -> dict[str, Items]:
    """The items in all rotations of their options, by protocol; none if they were not asked."""
    given = scores["circular"] or {}
    return {name: part["items"] for name, part in given.items() if isinstance(part, dict)}


def losses(history: Iterable[Json], key: str = "valid_loss") -> list[tuple[int, float]]:
    """(step, loss) of the training's rows that have that loss; NaN (an empty CSV cell) is none."""
    found = ((row["step"], row.get(key)) for row in history)
    return [(step, loss) for step, loss in found if loss is not None and not math.isnan(loss)]


def estimate(n: int, clusters: int, value: float, ends: tuple[float, float]) -> Json:
    return {"n": n, "clusters": clusters, "value": value, "low": ends[0], "high": ends[1]}


def measured(rate: Mapping[str, Any]) -> Json:
    return estimate(rate["n"], rate["clusters"], rate["accuracy"], (rate["low"], rate["high"]))


def score(part: Mapping[str, Any], metric: str) -> Json | None:
    """A metric of one SQuAD scorer in percent; None if the scorer counted no item."""
    if part[metric] is None:
        return None
    ends = (part[f"{metric}_low"], part[f"{metric}_high"])
    return estimate(part["n"], part["clusters"], part[metric], ends)


def sides(summary: Mapping[str, Any]) -> dict[str, str]:
    """The model of each side."""
    return {BASE: BASE, TUNED: summary["tuned"]}


def calibrated(summary: Mapping[str, Any]) -> tuple[str, dict[str, Json]] | None:
    """The protocol whose calibration is shown, and both sides': the headline's, else the first protocol's."""
    headline, both = summary["mcq"]["protocol"], summary["robustness"]
    for name in (headline, *both[TUNED]):
        found = {side: part[name]["calibration"] for side, part in both.items() if name in part}
        if len(found) == len(SIDES) and all(found.values()):
            return name, found
    return None
