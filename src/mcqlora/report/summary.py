"""Every stage's numbers gathered into summary.json; accuracies are fractions, SQuAD's scores percent."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mcqlora.errors import UserError
from mcqlora.evaluate.selection import RULES, accuracy, best_checkpoint
from mcqlora.report import intervals, robustness

BASE, TUNED = SIDES = ("base", "tuned")
SCORERS = ("official", "mindformers")
METRICS = ("f1", "em")
ALPHA = 0.05
TRAINING = ("steps", "workers", "tokens", "useful_token_fraction", "valid_rows")
KEPT = 0.9  # share of the base's reading score that a tuned model should keep

Json = dict[str, Any]
Items = Sequence[Mapping[str, Any]]  # of mcq.json or squad.json
Pairs = list[tuple[Mapping[str, Any], Mapping[str, Any]]]  # the same item of two models


def build(
    *,
    run: str,
    recipe: str,
    leaked: bool,
    questions: Mapping[str, Any],
    splits: Mapping[str, int],
    parameters: Mapping[str, Any],
    training: Mapping[str, Any],
    mcq: Mapping[str, Mapping[str, Any]],
    squad: Mapping[str, Mapping[str, Any]],
    seconds: Mapping[str, float],
    valid: Mapping[str, Mapping[str, Any]] | None = None,
    best: str = "valid_loss",
    tuned: str = "best",
    protocol: str = "answer",
    inputs: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Json:
    """Build summary.json from what the stages wrote.

    Args:
        leaked: the test questions were trained on; the report then says so on its first line.
        questions: `{"read", "kept": int, "dropped": {reason: count}}`.
        splits: number of records of "train", "valid" and "test".
        parameters: `{"trainable", "total": int, "ratio": float}`.
        training: `{"steps", "workers", "tokens", "useful_token_fraction", "valid_rows" (of the validation
            loss), "history", "checkpoints"}`; history holds `{"step", "train_loss"?, "valid_loss"?}`,
            checkpoints one or more `{"name", "step"}`.
        mcq: mcq.json by model name, "base" first, then the checkpoints in the order of training.
        squad: squad.json by model name; may lack any model.
        seconds: wall-clock seconds by stage, see `seconds_by_stage`.
        valid: valid.json by model name, of the checkpoints whose validation questions were asked.
        best: the rule that says which checkpoint is the best, see `history.best_checkpoint`.
        tuned: the checkpoint compared with the base: "best" (by `best`, never on the test questions; the last
            if none was measured), "last", or its name.
        protocol: the one whose accuracy is the headline.
        inputs: name -> hex SHA-256 of each file the numbers were made from.
        seed: of the bootstrap intervals.

    `low` and `high` are the ends of a 95 % interval. What an evaluation doesn't hold is None.

    Raises:
        UserError: an evaluation is missing, or two models answered different items.
    """
    checkpoints = _checkpoints(training, mcq, valid or {}, protocol)
    last = checkpoints[-1]["name"]
    best_by = {"rule": best} | {rule: best_checkpoint(checkpoints, rule) for rule in RULES}
    best = best_by[best]
    tuned = {"best": best or last, "last": last}.get(tuned, tuned)
    for model in (BASE, tuned):
        if model not in mcq:
            raise UserError(f"evaluation/{model}/mcq.json: not given; evaluate {model} before the report")
        if not _items(mcq[model], protocol):
            known = ", ".join(mcq[model]["protocols"])
            raise UserError(
                f"evaluation/{model}/mcq.json: no {protocol!r} items; choose a protocol of {known}"
            )
    sides = {BASE: mcq[BASE], TUNED: mcq[tuned]}
    protocols = _protocols(sides, tuned, seed)
    headline = protocols[protocol]
    items = {side: _items(scores, protocol) for side, scores in sides.items()}
    rows = categories(items[BASE], items[TUNED])
    leak = _leak(mcq, tuned, protocol, leaked)
    reading = {model: _reading(scores) for model, scores in squad.items()}
    contest = _contest(parameters["ratio"], headline[TUNED])
    return {
        "run": run,
        "recipe": recipe,
        "leaked": leaked,
        "tuned": tuned,
        "best": best,
        "best_by": best_by,
        "last": last,
        "questions": {key: questions[key] for key in ("read", "kept", "dropped")},
        "splits": {key: splits[key] for key in ("train", "valid", "test")},
        "parameters": {key: parameters[key] for key in ("trainable", "total", "ratio")},
        "training": {key: training[key] for key in TRAINING}
        | {"valid_loss": losses(training["history"], "valid_loss")},
        "checkpoints": checkpoints,
        "mcq": {"protocol": protocol}
        | headline
        | {
            "minimum_detectable_difference": _detectable(items, tuned),
            "categories": _category_counts(rows),
            "benchmarks": _benchmarks(items, rows, seed),
            "protocols": protocols,
        },
        "comparisons": _comparisons(mcq, protocol, seed),
        "robustness": {side: _robustness(scores, seed) for side, scores in sides.items()},
        "circular": _circular(sides, tuned, seed),
        "leak": leak,
        "squad": _squad(squad, reading, tuned, seed),
        "tasks": _tasks(mcq, reading, leak),
        "contest_score": contest["value"],
        "contest": contest,
        "seconds": dict(seconds),
        "inputs": dict(inputs or {}),
    }


def contest_score(ratio: float, accuracy: float) -> float:
    """0.3 (1 - 10 ratio) + 0.7 accuracy; `ratio` = trainable / all parameters, both fractions."""
    return 0.3 * (1 - 10 * ratio) + 0.7 * accuracy


def losses(history: Iterable[Mapping[str, Any]], key: str) -> list[list[float]]:
    """`[[step, loss], ...]` of the rows that hold `key`; None and NaN (an empty CSV cell) count as absent."""
    return [
        [int(row["step"]), float(row[key])]
        for row in history
        if row.get(key) is not None and not math.isnan(float(row[key]))
    ]


def categories(base: Items, tuned: Items) -> list[Json]:
    """Base and tuned by category, sorted by it, from one protocol's items of both.

    Each is `{"category": "benchmark/subject", "n": int, "base": (correct, low, high), "tuned": (...),
    "mcnemar_p": float, "mcnemar_p_holm": float}` with the Wilson interval as fractions.

    Raises:
        UserError: the models answered different items.
    """
    groups: dict[str, Pairs] = defaultdict(list)
    for pair in _pairs(base, tuned, "mcq.json"):
        groups[category(pair[0])].append(pair)
    rows = []
    for name, pairs in sorted(groups.items()):
        both = [_rate([pair[side] for pair in pairs]) for side in (0, 1)]
        rows.append(
            {"category": name, "n": len(pairs)}
            | {
                side: (rate["correct"], rate["low"], rate["high"])
                for side, rate in zip(SIDES, both, strict=True)
            }
            | {"mcnemar_p": _sign_test(pairs)}
        )
    adjusted = intervals.holm([row["mcnemar_p"] for row in rows])
    return [row | {"mcnemar_p_holm": p} for row, p in zip(rows, adjusted, strict=True)]


def accuracy_by_model(mcq: Mapping[str, Mapping[str, Any]], protocol: str) -> dict[str, dict[str, Json]]:
    """category -> model -> `{"n", "correct"}`, of the models that have the protocol; sorted by category."""
    table: dict[str, dict[str, Json]] = defaultdict(dict)
    for model, scores in mcq.items():
        for item in _items(scores, protocol):
            cell = table[category(item)].setdefault(model, {"n": 0, "correct": 0})
            cell["n"] += 1
            cell["correct"] += bool(item["correct"])
    return dict(sorted(table.items()))


def category(item: Mapping[str, Any]) -> str:
    return item["id"].rsplit("/", 2)[0]


def seconds_by_stage(paths: Iterable[str | Path], root: str | Path) -> dict[str, float]:
    """Wall-clock seconds by stage from Snakemake benchmark files under `root`, the jobs of a stage added up.

    A stage is `root/<stage>.tsv` or all of `root/<stage>/`; of repeated runs in one file the mean counts.

    Raises:
        UserError: a file is missing or is no benchmark file.
    """
    total: dict[str, float] = defaultdict(float)
    for path in sorted(map(Path, paths)):
        try:
            with open(path, encoding="utf-8", newline="") as file:
                runs = [float(row["s"]) for row in csv.DictReader(file, delimiter="\t")]
            total[path.relative_to(root).parts[0].removesuffix(".tsv")] += sum(runs) / len(runs)
        except (OSError, KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise UserError(
                f"{path}: no Snakemake benchmark file under {root}; delete it and run again"
            ) from error
    return {stage: round(value, 2) for stage, value in sorted(total.items())}


# Multiple choice


def _items(scores: Mapping[str, Any], protocol: str) -> list[Json]:
    return scores["protocols"].get(protocol, {"items": []})["items"]


def _checkpoints(
    training: Mapping[str, Any],
    mcq: Mapping[str, Mapping[str, Any]],
    valid: Mapping[str, Mapping[str, Any]],
    protocol: str,
) -> list[Json]:
    loss = dict(losses(training["history"], "valid_loss"))
    rows = []
    for checkpoint in training["checkpoints"]:
        name, step = checkpoint["name"], checkpoint["step"]
        items = _items(mcq[name], protocol) if name in mcq else []
        rows.append(
            {
                "name": name,
                "step": step,
                "valid_loss": loss.get(step),
                "valid_accuracy": accuracy(valid[name]) if name in valid else None,
                "valid": _rate(valid[name]["items"]) if name in valid else None,
                "mcq": _rate(items) if items else None,
            }
        )
    return rows


def _rate(items: Items) -> Json:
    """Accuracy of the items (one or more); `questions` counts the independent ones: orders of one are not."""
    correct, questions = [bool(item["correct"]) for item in items], [item["id"] for item in items]
    low, high = intervals.interval(correct, questions)
    n, right = len(items), sum(correct)
    rate = {"n": n, "questions": len(set(questions)), "correct": right, "accuracy": right / n}
    return rate | {"low": low, "high": high}


def _pairs(base: Items, tuned: Items, name: str) -> Pairs:
    """Each item of `base` with the same item of `tuned`, sorted; an item is a question in an option order."""
    left, right = ({(item["id"], item.get("order")): item for item in items} for items in (base, tuned))
    if left.keys() != right.keys() or len(left) != len(base) or len(right) != len(tuned):
        odd = min((key[0] for key in left.keys() ^ right.keys()), default="an item given twice")
        raise UserError(
            f"evaluation/{name}: two models answered different items ({len(base)} and {len(tuned)}; "
            f"e.g. {odd}); delete both evaluations and run again"
        )
    if not left:
        raise UserError(f"evaluation/{name}: no items; evaluate at least one question")
    return [(left[key], right[key]) for key in sorted(left, key=lambda key: (key[0], key[1] or ""))]


def _sign_test(pairs: Pairs) -> float:
    """McNemar's exact p over questions: of one in several orders the number of right answers counts."""
    totals: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for pair in pairs:
        for side in (0, 1):
            totals[pair[0]["id"]][side] += bool(pair[side]["correct"])
    base, tuned = zip(*totals.values(), strict=True)
    return intervals.mcnemar_exact(base, tuned)


def _changes(pairs: Pairs) -> tuple[list[int], list[str]]:
    """Right minus left an item, and the question of each."""
    diff = [int(right["correct"]) - int(left["correct"]) for left, right in pairs]
    return diff, [left["id"] for left, _ in pairs]


def _difference(diff: Sequence[float], clusters: Sequence[Hashable], seed: int, scale: float = 1.0) -> Json:
    ends = (sum(diff) / len(diff), *intervals.paired_bootstrap(diff, seed, clusters))
    return {name: scale * value for name, value in zip(("value", "low", "high"), ends, strict=True)}


def _compare(items: Mapping[str, Items], name: str, seed: int) -> Json:
    """Both sides' rates, unreadable answers and mean over categories; their difference, and its p."""
    pairs = _pairs(items[BASE], items[TUNED], name)
    sides = {
        side: _rate(rows) | {"unparsed": sum(item["choice"] is None for item in rows), "macro": _macro(rows)}
        for side, rows in items.items()
    }
    return sides | {"difference": _difference(*_changes(pairs), seed), "mcnemar_p": _sign_test(pairs)}


def _macro(items: Items) -> Json:
    groups = [category(item) for item in items]
    value, low, high = intervals.macro([bool(item["correct"]) for item in items], groups)
    return {"n": len(set(groups)), "value": value, "low": low, "high": high}


def _protocols(sides: Mapping[str, Mapping[str, Any]], model: str, seed: int) -> Json:
    """The comparison by every protocol that both models have items of, p also adjusted for their number."""
    parts = {}
    for name, given in sides[TUNED]["protocols"].items():
        items = {side: _items(scores, name) for side, scores in sides.items()}
        if all(items.values()):
            part = _compare(items, f"{model}/mcq.json, {name}", seed)
            for side, scores in sides.items():
                part[side]["stderr"] = scores["protocols"][name].get("stderr")
            kept = {key: given[key] for key in ("shots", "truncated") if key in given}
            parts[name] = part | {"average": given.get("average", "micro")} | kept
    adjusted = intervals.holm([part["mcnemar_p"] for part in parts.values()])
    return {name: parts[name] | {"mcnemar_p_holm": p} for name, p in zip(parts, adjusted, strict=True)}


def _detectable(items: Mapping[str, Items], model: str) -> Json:
    """The difference that these questions would show with a probability of 80 %, by the pairs' spread."""
    diff, questions = _changes(_pairs(items[BASE], items[TUNED], f"{model}/mcq.json"))
    # Where no pair differs the spread can't be told; one that does is the least that it may be.
    error = max(intervals.clustered_standard_error(diff, questions), 1 / len(diff))
    smallest = intervals.minimum_detectable_difference(error, power=0.8, alpha=ALPHA)
    return {"n": len(diff), "value": smallest, "power": 0.8, "alpha": ALPHA}


def _category_counts(rows: Sequence[Json]) -> Json:
    """How many categories changed, each tested alone and the p values adjusted for their number."""
    changed = [row for row in rows if row["mcnemar_p_holm"] < ALPHA]
    better = [row["category"] for row in changed if row[TUNED][0] > row[BASE][0]]
    worse = [row["category"] for row in changed if row[TUNED][0] < row[BASE][0]]
    return {"n": len(rows), "better": better, "worse": worse, "rows": list(rows)}


def _benchmarks(items: Mapping[str, Items], rows: Sequence[Json], seed: int) -> Json:
    """The comparison of each benchmark alone; its `macro` is the mean over its categories."""
    result = {}
    for name in sorted({row["category"].split("/")[0] for row in rows}):
        inside = {
            side: [item for item in both if item["id"].startswith(f"{name}/")] for side, both in items.items()
        }
        result[name] = _compare(inside, name, seed)
    return result


def _comparisons(mcq: Mapping[str, Mapping[str, Any]], protocol: str, seed: int) -> Json:
    """Every model against every later one; p adjusted for the number of pairs."""
    models = [model for model, scores in mcq.items() if _items(scores, protocol)]
    rows = []
    for i, right in enumerate(models):
        for left in models[:i]:
            pairs = _pairs(_items(mcq[left], protocol), _items(mcq[right], protocol), f"{right}/mcq.json")
            rows.append(
                {"left": left, "right": right, "n": len(pairs)}
                | {"difference": _difference(*_changes(pairs), seed), "mcnemar_p": _sign_test(pairs)}
            )
    adjusted = intervals.holm([row["mcnemar_p"] for row in rows])
    pairs = [row | {"mcnemar_p_holm": p} for row, p in zip(rows, adjusted, strict=True)]
    return {"protocol": protocol, "pairs": pairs}


# Robustness and leak


def _robustness(scores: Mapping[str, Any], seed: int) -> Json:
    """Letters of every protocol; calibration where the scores are likelihoods, not such a character."""
    return {
        name: robustness.letters(part["items"], seed)
        | {"calibration": None if name.endswith("_norm") else robustness.calibration(part["items"], seed)}
        for name, part in scores["protocols"].items()
        if part["items"]
    }


def _circular(sides: Mapping[str, Mapping[str, Any]], model: str, seed: int) -> Json | None:
    """All rotations of the options, by the protocols that were rotated; None if none was."""
    given = {side: scores.get("circular") for side, scores in sides.items()}
    if not all(given.values()):
        return None
    parts = {}
    for name in (key for key, part in given[TUNED].items() if isinstance(part, Mapping)):
        items = {side: part[name]["items"] for side, part in given.items()}
        pairs = _pairs(items[BASE], items[TUNED], f"{model}/mcq.json, circular {name}")
        parts[name] = {side: robustness.circular(rows) for side, rows in items.items()} | {
            "difference": _difference(*_changes(pairs), seed),
            "mcnemar_p": _sign_test(pairs),
        }
    return {key: given[TUNED][key] for key in ("questions", "pinned")} | {"protocols": parts}


def _leak(mcq: Mapping[str, Mapping[str, Any]], tuned: str, protocol: str, leaked: bool) -> Json:
    """Honest score (unseen questions), recipe's (re-ordered training questions) and their gap, by model.

    Those of `tuned` stand on top. What was not measured is None: the recipe's when no training questions were
    asked, the honest one when the split itself leaks (its score is then the recipe's).
    """
    measured = {model: scores.get("leak") for model, scores in mcq.items()}
    name = protocol
    if measured[tuned]:
        known = measured[tuned]["recipe"]
        name = next((one for one in (protocol, "answer", "letter") if one in known), protocol)
    models = {}
    for model, scores in mcq.items():
        given = measured[model]
        honest, recipe = _items(scores, name), []
        if given and name in given["recipe"]:
            honest, recipe = given["honest"][name]["items"], given["recipe"][name]["items"]
        elif leaked:
            honest, recipe = [], honest
        models[model] = _gap(honest, recipe)
    return {"protocol": name} | models[tuned] | {"models": models}


def _gap(honest: Items, recipe: Items) -> Json:
    rates: Json = {}
    for name, items in (("honest", honest), ("recipe", recipe)):
        rates[name] = None
        if items:
            rate = _rate(items)
            rates[name] = {
                "n": rate["n"],
                "value": rate["accuracy"],
                "low": rate["low"],
                "high": rate["high"],
            }
    if not all(rates.values()):
        return rates | {"gap": None}
    # Different questions on both sides, so nothing is paired.
    ends = [tuple(rates[name][key] for key in ("value", "low", "high")) for name in ("recipe", "honest")]
    gap = dict(zip(("value", "low", "high"), intervals.independent_difference(*ends), strict=True))
    return rates | {"gap": {"n": len(honest) + len(recipe)} | gap}


# Reading


def _reading(scores: Mapping[str, Any]) -> Json:
    """By scorer em, f1 and n as evaluated, with their intervals in percent."""
    result: Json = {}
    for scorer in SCORERS:
        items = [item for item in scores["items"] if item[scorer]]
        paragraphs = [_paragraph(item) for item in items]
        part = {key: scores[scorer][key] for key in ("em", "f1", "n")}
        for key in ("em", "f1"):
            ends = intervals.interval([item[scorer][key] for item in items], paragraphs)
            part |= {f"{key}_{end}": 100 * value for end, value in zip(("low", "high"), ends, strict=True)}
        result[scorer] = part
    return result


def _squad(squad: Mapping[str, Any], reading: Mapping[str, Json], tuned: str, seed: int) -> Json:
    result: Json = {side: reading.get(model) for side, model in ((BASE, BASE), (TUNED, tuned))}
    result |= {"difference": None, "retained": None}
    given = squad.get(tuned, {})
    result |= {key: given[key] for key in ("of", "of_first", "truncated") if key in given}
    if all(result[side] for side in SIDES):
        pairs = _pairs(squad[BASE]["items"], squad[tuned]["items"], f"{tuned}/squad.json")
        both = {scorer: {key: _kept(pairs, scorer, key, seed) for key in METRICS} for scorer in SCORERS}
        for i, name in enumerate(("difference", "retained")):
            result[name] = {
                scorer: {key: part[i] for key, part in parts.items()} for scorer, parts in both.items()
            }
    return result


def _kept(pairs: Pairs, scorer: str, key: str, seed: int) -> tuple[Json | None, Json | None]:
    """The difference in points, and the verdict on what was kept; None without items of the scorer."""
    scored = [(left, right) for left, right in pairs if left[scorer] and right[scorer]]
    if not scored:
        return None, None
    base, tuned = ([pair[side][scorer][key] for pair in scored] for side in (0, 1))
    paragraphs = [_paragraph(left) for left, _ in scored]
    diff = [right - left for left, right in zip(base, tuned, strict=True)]
    kept = intervals.kept_share(base, tuned, seed, paragraphs, KEPT, 1 - ALPHA)
    return _difference(diff, paragraphs, seed, scale=100), kept


def _paragraph(item: Mapping[str, Any]) -> Hashable:
    """What a SQuAD item is clustered by: its paragraph if the evaluation kept it, else itself."""
    return item.get("paragraph", item["id"])


# All together


def _tasks(mcq: Mapping[str, Any], reading: Mapping[str, Json], leak: Mapping[str, Any]) -> list[Json]:
    """Every score of every model, as fractions: `{"task", "detail", "models": {model: rate | None}}`."""
    models = list(mcq)
    names = dict.fromkeys(name for scores in mcq.values() for name in scores["protocols"])
    rows = [("mcq", name, {model: _accuracy(_items(mcq[model], name)) for model in models}) for name in names]
    turned = {model: scores.get("circular") or {} for model, scores in mcq.items()}
    protocols = dict.fromkeys(name for part in turned.values() for name in part)
    for name in (name for name in protocols if name not in ("questions", "pinned")):
        found = {
            model: robustness.circular(part[name]["items"]) if name in part else None
            for model, part in turned.items()
        }
        rows.append(("circular", name, {model: part and _named(part) for model, part in found.items()}))
        rows.append(("all_right", name, {model: part and part["all_right"] for model, part in found.items()}))
    if leak["gap"]:
        for key in ("recipe", "gap"):
            rows.append((key, leak["protocol"], {model: part[key] for model, part in leak["models"].items()}))
    for scorer in SCORERS if reading else ():
        for key in METRICS:
            found = {model: _score(reading.get(model), scorer, key) for model in models}
            rows.append(("squad", f"{scorer} {key}", found))
    return [{"task": task, "detail": detail, "models": found} for task, detail, found in rows]


def _accuracy(items: Items) -> Json | None:
    return _named(_rate(items)) if items else None


def _named(rate: Mapping[str, Any]) -> Json:
    return {"n": rate["n"], "value": rate["accuracy"], "low": rate["low"], "high": rate["high"]}


def _score(reading: Mapping[str, Any] | None, scorer: str, key: str) -> Json | None:
    if not reading or not reading[scorer]["n"]:
        return None
    part = reading[scorer]
    ends = {"value": part[key], "low": part[f"{key}_low"], "high": part[f"{key}_high"]}
    return {"n": part["n"]} | {name: value / 100 for name, value in ends.items()}


def _contest(ratio: float, rate: Mapping[str, Any]) -> Json:
    """The contest's score of the tuned model; its interval is that of the accuracy."""
    ends = (("value", "accuracy"), ("low", "low"), ("high", "high"))
    return {"n": rate["n"]} | {name: contest_score(ratio, rate[key]) for name, key in ends}
