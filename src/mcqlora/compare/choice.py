"""Choosing among variants without peeking: by the validation questions, and the test is asked once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mcqlora.compare.models import Model
from mcqlora.files import Json
from mcqlora.report import comparison


def choose(trained: Mapping[str, Sequence[Model]], protocol: str, groups: Mapping[str, str]) -> Json | None:
    """The variant with the most right answers to the validation questions, the first of equals.

    A variant's validation accuracy is the mean over its trainings; of these its best one by the same rule is
    delivered. None if there are not two variants to choose among. The test score is that of the model chosen,
    and of no other, so no test result had a part in it.
    Source: Cawley and Talbot 2010, https://jmlr.org/papers/v11/cawley10a.html (bias of selection).

    Returns:
        `tried`, the number of variants, and `trainings` of these; `valid`, {variant: accuracy}; `chosen`,
        `model`, and its `test` rate; `left_out`, {variant: why}, see `not_comparable`.
    """
    variants = {name: part for name, part in trained.items() if part[0].variant}
    if not variants:
        return None
    first = next((part[0] for part in variants.values() if not_comparable(part, part[0]) is None), None)
    left_out = {name: not_comparable(part, first or part[0]) for name, part in variants.items()}
    asked = {name: part for name, part in variants.items() if left_out[name] is None}
    if len(asked) < 2:
        return None
    valid = {name: sum(map(accuracy, part)) / len(part) for name, part in asked.items()}
    best = max(valid, key=lambda name: valid[name])
    model = max(asked[best], key=accuracy)
    items = [{**item, "cluster": groups[item["id"]]} for item in model.by(protocol)]
    found: Json = {"tried": len(asked), "trainings": sum(map(len, asked.values())), "valid": valid}
    found |= {"chosen": best, "model": model.name, "test": comparison.rate(items)}
    return found | {"left_out": {name: why for name, why in left_out.items() if why}}


def not_comparable(part: Sequence[Model], first: Model) -> str | None:
    """Why a variant's validation accuracy says nothing beside that of `first`; None if it does."""
    if any(not one.valid for one in part):
        return "no validation questions were asked"
    if any(one.trained_on and one.trained_on["valid"]["found"] for one in part):
        return "LEAKED: validation questions were trained on"
    if any({item["id"] for item in one.valid} != {item["id"] for item in first.valid} for one in part):
        return "other validation questions"
    return None


def accuracy(model: Model) -> float:
    """Share of right answers to the validation questions."""
    return sum(bool(item["correct"]) for item in model.valid) / len(model.valid)
