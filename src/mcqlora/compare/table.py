"""compare/summary.json: all models side by side, each against one of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import product

import numpy as np

from mcqlora.compare import choice, models, seeds
from mcqlora.compare.models import Model, Paired
from mcqlora.errors import UserError
from mcqlora.files import Json
from mcqlora.report import comparison, intervals
from mcqlora.report.schema import chance

Groups = Mapping[str, str]  # {id: duplicate group} of every question


def build(
    compared: Sequence[Model],
    against: str,
    protocol: str,
    groups: Groups,
    changes: Mapping[str, Json] | None = None,
    same: Mapping[str, str] | None = None,
) -> Json:
    """All models, the one called `against` among them.

    - protocol, against
    - models: of each `row`
    - variants: of each `spread`; those with several trainings, and the one of `against`, if there are any
    - choice: see `choice.choose`
    - changes: {variant: {key: value}} of what each changes in the run's configuration
    - same: {training: the one whose keys are equal}, which was compared in its place
    - learning_curve: (rows, mean) of the variants that say their training rows, see `seeds.Estimate`

    An other protocol's answers, as those of another tool, are compared with the reference's by that protocol.

    Raises:
        UserError: a model or its answers are missing, or none has a question in common with `against`.
    """
    reference = models.named(compared, against)
    rows = [row(one, reference, protocol, groups) for one in compared]
    tested = [one for one in rows if one["difference"]]
    if not tested and len(rows) > 1:
        raise UserError(
            f"compare: {reference.name} and the others have no question in common; evaluate them on one run"
        )
    adjusted = intervals.holm([one["mcnemar_p"] for one in tested])
    for one, p in zip(tested, adjusted, strict=True):
        one["mcnemar_p_holm"] = p
    trained = models.variants(compared)
    return {
        "protocol": protocol,
        "against": reference.name,
        "changes": dict(changes or {}),
        "same": dict(same or {}),
        "models": rows,
        "variants": _spreads(trained, reference, protocol, groups),
        "choice": choice.choose(trained, protocol, groups),
        "learning_curve": _curve(trained, protocol, groups),
    }


def row(one: Model, reference: Model, protocol: str, groups: Groups) -> Json:
    """A model: its rate, what guessing would score (`chance`), and what it has on the reference.

    `difference` (an estimate), `mcnemar_p`, `mcnemar_p_holm` (for the number of models), `changed`, `needed`
    (questions that would show the difference) are None of the reference itself, and of a model that has no
    question in common with it; `paired` of the former. `clean` is the
    rate without the questions that stand in its training data; None where these are not known or hold none.
    """
    own = one.asked_by(protocol)
    items = [{**item, "cluster": groups[item["id"]]} for item in one.by(protocol)]
    found: Json = {"name": one.name, "source": one.source, "variant": one.variant, "seed": one.seed}
    found |= {
        "protocol": own,
        "mcq": comparison.rate(items),
        "chance": chance(items),
        "cost": dict(one.cost),
        "matched": one.matched,
    }
    found |= {"trained_on": one.trained_on and {part: one.trained_on[part] for part in ("test", "valid")}}
    seen = set(one.trained_on["ids"]) if one.trained_on else set()
    unseen = [item for item in items if item["id"] not in seen]
    found["clean"] = comparison.rate(unseen) if unseen and len(unseen) < len(items) else None
    parts = dict.fromkeys(("difference", "mcnemar_p", "mcnemar_p_holm", "changed", "needed", "paired"))
    if one is reference:
        return found | parts
    both = models.paired(reference.by(own), one.by(protocol))
    clusters = [groups[identity] for identity in both.ids]
    n, by = len(both.ids), reference.asked_by(own)
    found |= parts | {"paired": {"n": n, "clusters": len(set(clusters)), "protocol": by}}
    if not n:
        return found
    value = comparison.difference(both.diff, clusters)
    found |= {"difference": value, "mcnemar_p": intervals.mcnemar_exact(both.diff, clusters)}
    estimate = seeds.difference(both.left, both.right, clusters)
    return found | {"changed": changed(both), "needed": seeds.needed(estimate).questions}


def leaked(row: Json) -> bool:
    """Do test questions stand in what the model of a `row` was trained on?"""
    return bool(row["trained_on"] and row["trained_on"]["test"]["found"])


def changed(both: Paired) -> Json:
    """Which questions changed sides, and how many in each category.

    `gained` and `lost` are ids; `categories` {category: [gained, lost]} of those where any did.
    """
    gained, lost = (
        [one for one, d in zip(both.ids, both.diff, strict=True) if d == sign] for sign in (1, -1)
    )
    categories: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for side, ids in enumerate((gained, lost)):
        for category, count in Counter(comparison.category({"id": one}) for one in ids).items():
            categories[category][side] = count
    return {"gained": gained, "lost": lost, "categories": dict(sorted(categories.items()))}


def _spreads(
    trained: Mapping[str, Sequence[Model]], reference: Model, protocol: str, groups: Groups
) -> list[Json]:
    if all(len(part) == 1 for part in trained.values()):
        return []
    base = next(part for part in trained.values() if reference in part)
    return [
        spread(name, part, [] if part is base else base, protocol, groups)
        for name, part in trained.items()
        if len(part) > 1 or part is base
    ]


def spread(name: str, part: Sequence[Model], base: Sequence[Model], protocol: str, groups: Groups) -> Json:
    """A variant: its mean over seeds and questions, and the difference to `base`, if there is any.

    `mean` and `difference` are `seeds.Estimate`, the latter of the questions that all of both answered;
    `needed` is of the difference. Both are None where there is no such question.
    """
    ids, scores = matrix(part, protocol)
    clusters, k = [groups[identity] for identity in ids], len(part)
    found: Json = {"name": name, "seeds": [one.seed for one in part], "models": [one.name for one in part]}
    found |= {
        "chance": chance(part[0].by(protocol)),
        "mean": asdict(seeds.mean(scores, clusters)),
        "difference": None,
        "needed": None,
    }
    ids, scores = matrix([*part, *base], protocol)
    if base and ids:
        difference = seeds.difference(scores[k:], scores[:k], [groups[identity] for identity in ids])
        found |= {"difference": asdict(difference), "needed": asdict(seeds.needed(difference))}
    return found


def matrix(compared: Sequence[Model], protocol: str) -> tuple[list[str], seeds.Scores]:
    """The questions that all answered, sorted, and float64 [models, questions]: 1 where right."""
    right = [{item["id"]: float(item["correct"]) for item in one.by(protocol)} for one in compared]
    ids = sorted(set.intersection(*map(set, right)))
    scores = np.zeros((len(right), len(ids)))
    for (i, one), (j, identity) in product(enumerate(right), enumerate(ids)):
        scores[i, j] = one[identity]
    return ids, scores


def _curve(trained: Mapping[str, Sequence[Model]], protocol: str, groups: Groups) -> list[Json]:
    """By training rows, where variants differ in them."""
    points = []
    for name, part in trained.items():
        if (rows := part[0].rows) is not None:
            ids, scores = matrix(part, protocol)
            found = seeds.mean(scores, [groups[identity] for identity in ids])
            guessed = chance(part[0].by(protocol))
            points.append({"name": name, "rows": rows, "chance": guessed, **asdict(found)})
    return sorted(points, key=lambda point: point["rows"]) if len(points) > 1 else []
