"""Choosing among variants without peeking: by the validation questions, and the test is asked once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mcqlora.compare.models import Model
from mcqlora.files import Json
from mcqlora.report import comparison


def choose(trained: Mapping[str, Sequence[Model]], protocol: str, groups: Mapping[str, str]) -> Json | None:
    """The variant with the most right answers to the validation questions, the first of equals.

    A variant's validation accuracy is the mean over its trainings; of these its best one by the same rule is
    delivered. Only variants all of whose trainings answered validation questions count; None if there are not
    two. The test score is that of the model chosen, and of no other, so no test result had a part in it.
    Source: Cawley and Talbot 2010, https://jmlr.org/papers/v11/cawley10a.html (bias of selection).

    Returns:
        `tried`, the number of variants, and `trainings` of these; `valid`, {variant: accuracy}; `chosen`,
        `model`, and its `test` rate.
    """
    asked = {name: part for name, part in trained.items() if all(one.valid for one in part)}
    if len(asked) < 2:
        return None
    valid = {name: sum(map(accuracy, part)) / len(part) for name, part in asked.items()}
    best = max(valid, key=lambda name: valid[name])
    model = max(asked[best], key=accuracy)
    items = [{**item, "cluster": groups[item["id"]]} for item in model.by(protocol)]
    found: Json = {"tried": len(asked), "trainings": sum(map(len, asked.values())), "valid": valid}
    return found | {"chosen": best, "model": model.name, "test": comparison.rate(items)}


def accuracy(model: Model) -> float:
    """Share of right answers to the validation questions."""
    return sum(bool(item["correct"]) for item in model.valid) / len(model.valid)
