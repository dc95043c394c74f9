"""Multiple choice: rates of a model; base against tuned on the same items; every pair of models; the leak."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any

from mcqlora.errors import UserError
from mcqlora.files import Json
from mcqlora.report import intervals
from mcqlora.report.schema import BASE, SIDES, TUNED, Items, answers, chance, measured, options

POWER = 0.8  # of `detectable`

Pairs = Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]


def category(item: Mapping[str, Any]) -> str:
    """Its "benchmark/subject", the beginning of its id (as `Question.category`)."""
    return item["id"].rsplit("/", 2)[0]


def rate(items: Items) -> Json:
    """Accuracy on the items, one or more, with Wilson's interval at their effective number."""
    correct, clusters = [bool(item["correct"]) for item in items], [item["cluster"] for item in items]
    low, high = intervals.interval(correct, clusters)
    return {
        "n": len(items),
        "questions": len({item["id"] for item in items}),
        "clusters": len(set(clusters)),
        "correct": sum(correct),
        "accuracy": sum(correct) / len(items),
        "low": low,
        "high": high,
    }


def accuracy(items: Items) -> Json | None:
    """Measured; None where there are no items."""
    return measured(rate(items)) if items else None


def pairs(base: Items, tuned: Items, name: str) -> Pairs:
    """Each item of `base` with the same item of `tuned`, sorted; `name` is that of the file in a message.

    Raises:
        UserError: the models answered different items, or none.
    """
    # A question in another order of its options is another item; reading has no orders.
    left, right = (
        {(item["id"], str(item.get("order", ""))): item for item in items} for items in (base, tuned)
    )
    if left.keys() != right.keys() or len(left) != len(base) or len(right) != len(tuned):
        odd = min((key[0] for key in left.keys() ^ right.keys()), default="an item given twice")
        raise UserError(
            f"evaluation/{name}: two models answered different items ({len(base)} and {len(tuned)}; "
            f"e.g. {odd}); delete both evaluations and run again"
        )
    if not left:
        raise UserError(f"evaluation/{name}: no items; evaluate at least one question")
    return [(left[key], right[key]) for key in sorted(left)]


def changes(pairs: Pairs) -> tuple[list[int], list[str]]:
    """Right minus left per item, in -1..1, and the cluster of each."""
    diff = [int(right["correct"]) - int(left["correct"]) for left, right in pairs]
    return diff, [left["cluster"] for left, _ in pairs]


def difference(diff: Sequence[float], clusters: Sequence[Hashable], scale: float = 1.0) -> Json:
    """Mean of `diff`, an estimate with its bootstrap interval over clusters, times `scale`."""
    low, high = intervals.paired_bootstrap(diff, clusters)
    return {"value": scale * (sum(diff) / len(diff)), "low": scale * low, "high": scale * high}


def tested(pairs: Pairs) -> Json:
    """{"difference": an estimate, "mcnemar_p"} of the pairs."""
    changed = changes(pairs)
    return {"difference": difference(*changed), "mcnemar_p": intervals.mcnemar_exact(*changed)}


def compare(items: Mapping[str, Items], name: str) -> Json:
    """A comparison: "chance", both sides' rates and what `tested` gives.

    A side also has "chance_p", of guessing alone (see `intervals.guessed`); "unparsed", its answers without a
    readable choice, which count as wrong; and "macro", the mean over categories, n of them.
    """
    difference = tested(pairs(items[BASE], items[TUNED], name))
    result: Json = {"chance": chance(items[BASE])}
    for side, given in items.items():
        groups = [category(item) for item in given]
        right, clusters = zip(*((bool(item["correct"]), item["cluster"]) for item in given), strict=True)
        macro = intervals.macro(right, groups, clusters)
        unparsed = sum(item["choice"] is None for item in given)
        p = intervals.guessed(sum(right), [1 / options(item) for item in given], clusters)
        result[side] = rate(given) | {"chance_p": p, "unparsed": unparsed}
        result[side] |= {"macro": {"n": len(set(groups)), **macro}}
    return result | difference


def headline(sides: Mapping[str, Json], model: str, protocol: str) -> Json:
    """The comparison by `protocol` and, behind it, by the other protocols, by category and by benchmark.

    `model` is the name of tuned, for messages.
    """
    protocols = by_protocol(sides, model)
    items = {side: answers(scores, protocol) for side, scores in sides.items()}
    rows = categories(items[BASE], items[TUNED])
    return {
        "protocol": protocol,
        **protocols[protocol],
        "minimum_detectable_difference": detectable(items, model),
        "categories": changed(rows),
        "benchmarks": by_benchmark(items, rows),
        "protocols": protocols,
    }


def by_protocol(sides: Mapping[str, Json], model: str) -> dict[str, Json]:
    """The comparison by every protocol that both models have items of, p also adjusted for their number.

    With the protocol's "average" ("micro" or "macro", as its source has it), "shots", "truncated", the number
    of prompts shortened to fit, and "lacking", of those whose category had too few worked examples; each side
    has "stderr", as the source reckons it.
    """
    parts: dict[str, Json] = {}
    given = sides[TUNED]["protocols"]
    for name in given:
        items = {side: answers(scores, name) for side, scores in sides.items()}
        if all(items.values()):
            parts[name] = compare(items, f"{model}/mcq.json, {name}")
            for side, scores in sides.items():
                parts[name][side]["stderr"] = scores["protocols"][name]["stderr"]
            parts[name] |= {key: given[name][key] for key in ("average", "shots", "truncated", "lacking")}
    _adjust(parts.values())
    return parts


def by_benchmark(items: Mapping[str, Items], rows: Sequence[Json]) -> dict[str, Json]:
    """The comparison of each benchmark alone; its `macro` is the mean over its categories."""

    def inside(given: Items, name: str) -> Items:
        return [item for item in given if item["id"].startswith(f"{name}/")]

    names = sorted({row["category"].split("/")[0] for row in rows})
    return {
        name: compare({side: inside(given, name) for side, given in items.items()}, name) for name in names
    }


def categories(base: Items, tuned: Items) -> list[Json]:
    """Base and tuned by category, sorted by it, from one protocol's items of both.

    A side's three numbers are the right answers and the ends of Wilson's interval of their share.

    Raises:
        UserError: the models answered different items.
    """
    groups = defaultdict(list)
    for pair in pairs(base, tuned, "mcq.json"):
        groups[category(pair[0])].append(pair)
    rows = []
    for name, group in sorted(groups.items()):
        changed = changes(group)
        row: Json = {"category": name, "n": len(group), "clusters": len(set(changed[1]))}
        row["chance"] = chance([left for left, _ in group])
        for side, given in zip(SIDES, zip(*group, strict=True), strict=True):
            found = rate(given)
            row[side] = found["correct"], found["low"], found["high"]
        rows.append(row | {"mcnemar_p": intervals.mcnemar_exact(*changed)})
    _adjust(rows)
    return rows


def _adjust(parts: Collection[Json]) -> None:
    """Adds the p values adjusted for their number."""
    for part, p in zip(parts, intervals.holm([part["mcnemar_p"] for part in parts]), strict=True):
        part["mcnemar_p_holm"] = p


def changed(rows: Sequence[Json]) -> Json:
    """Which categories changed, each tested alone and the p values adjusted for their number."""
    significant = [row for row in rows if row["mcnemar_p_holm"] < intervals.ALPHA]
    better = [row["category"] for row in significant if row[TUNED][0] > row[BASE][0]]
    worse = [row["category"] for row in significant if row[TUNED][0] < row[BASE][0]]
    return {"n": len(rows), "better": better, "worse": worse, "rows": rows}


def accuracy_by_model(mcq: Mapping[str, Json], protocol: str) -> dict[str, dict[str, Json]]:
    """category -> model -> {"n", "correct"}, of the models that have the protocol; sorted by category."""
    table: dict[str, dict[str, Json]] = defaultdict(dict)
    for model, scores in mcq.items():
        for item in answers(scores, protocol):
            cell = table[category(item)].setdefault(model, {"n": 0, "correct": 0})
            cell["n"] += 1
            cell["correct"] += bool(item["correct"])
    return dict(sorted(table.items()))


def detectable(items: Mapping[str, Items], model: str) -> Json:
    """The difference that these questions would show with probability `POWER`, by the pairs' spread."""
    diff, clusters = changes(pairs(items[BASE], items[TUNED], f"{model}/mcq.json"))
    # Where no pair differs the spread is unknown; a cluster that does is the least that it may be.
    independent = len(set(clusters))
    error = max(intervals.clustered_standard_error(diff, clusters), 1 / independent)
    smallest = intervals.minimum_detectable_difference(error, POWER)
    sizes = {"n": len(diff), "clusters": independent}
    return sizes | {"value": smallest, "power": POWER, "alpha": intervals.ALPHA}


def every_pair(mcq: Mapping[str, Json], protocol: str) -> Json:
    """Every model against every later one; p adjusted for the number of pairs."""
    models = [model for model, scores in mcq.items() if answers(scores, protocol)]
    rows: list[Json] = []
    for i, right in enumerate(models):
        for left in models[:i]:
            both = pairs(answers(mcq[left], protocol), answers(mcq[right], protocol), f"{right}/mcq.json")
            sizes = {"n": len(both), "clusters": len(set(changes(both)[1]))}
            rows.append({"left": left, "right": right, **sizes, **tested(both)})
    _adjust(rows)
    return {"protocol": protocol, "pairs": rows}


def leak(mcq: Mapping[str, Json], tuned: str, protocol: str, leaked: bool) -> Json:
    """What a leak would add, by model and of tuned: unseen questions against re-ordered training questions.

    "honest" is the score of the first, "recipe" of the second, "gap" their difference: of the base too, which
    was tuned on neither, as the two samples differ. "did" is the difference of the differences: what the
    model gained on the base by the second, less what by the first. So it is the model's gap less the base's.
    All measured or None: the recipe's when no training questions were asked, the honest one when the split
    itself leaks (its score is then the recipe's); the base has no "did". The protocol is the headline if
    training questions were asked by it, else the first that they were asked by.

    Raises:
        UserError: a model and the base answered different items.
    """
    asked = (mcq[tuned]["leak"] or {"recipe": {}})["recipe"]
    name = protocol if protocol in asked else next(iter(asked), protocol)
    models: dict[str, Json] = {}
    start = _leak_items(mcq[BASE], name, leaked)
    for model, scores in mcq.items():
        found = _leak_items(scores, name, leaked)
        beyond = None if model == BASE else gained(start, found, f"{model}/mcq.json, leak {name}")
        models[model] = gap(*found) | {"did": beyond}
    items = [item for part in start for item in part]
    return {"protocol": name, "chance": chance(items), **models[tuned], "models": models}


def _leak_items(scores: Json, name: str, leaked: bool) -> tuple[Items, Items]:
    """Unseen and re-ordered training questions; one is empty where they were not told apart."""
    given, honest = scores["leak"], answers(scores, name)
    if given and name in given["recipe"]:
        return given["honest"][name]["items"], given["recipe"][name]["items"]
    return ([], honest) if leaked else (honest, [])


def gained(base: tuple[Items, Items], tuned: tuple[Items, Items], name: str) -> Json | None:
    """How much more tuned gained on the base by the second items than by the first; None without one of them.

    Each gain is of pairs, with its bootstrap interval over clusters. No cluster is in both, as the split
    keeps duplicate groups whole, so they are independent.
    Source: Zou and Donner 2008, https://doi.org/10.1002/sim.3095, for the interval of their difference.
    """
    if not (all(base) and all(tuned)):
        return None
    unseen, seen = (changes(pairs(*both, name)) for both in zip(base, tuned, strict=True))
    found = intervals.independent_difference(difference(*seen), difference(*unseen))
    n, clusters = (len(seen[0]) + len(unseen[0])), len({*seen[1], *unseen[1]})
    return {"n": n, "clusters": clusters} | found


def gap(honest: Items, recipe: Items) -> Json:
    """Newcombe's interval of the gap: the questions differ between the two, so nothing is paired."""
    unseen, seen = accuracy(honest), accuracy(recipe)
    difference = None
    if unseen and seen:
        sizes = {key: unseen[key] + seen[key] for key in ("n", "clusters")}
        difference = sizes | intervals.independent_difference(seen, unseen)
    return {"honest": unseen, "recipe": seen, "gap": difference}
