"""Every stage's numbers gathered into summary.json, and the one-page report made from it."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mcqlora import statistics
from mcqlora.errors import UserError

BASE, TUNED = SIDES = ("base", "tuned")
SCORERS = ("official", "mindformers")
ALPHA = 0.05

Json = dict[str, Any]
Items = Sequence[Mapping[str, Any]]  # of mcq.json or squad.json
Pairs = list[tuple[Mapping[str, Any], Mapping[str, Any]]]  # the same item of base and tuned


def summary(
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
    tuned: str | None = None,
    protocol: str = "answer",
    seed: int = 0,
) -> Json:
    """Build summary.json from what the stages wrote.

    Args:
        leaked: the test questions were trained on; the report then says so on its first line.
        questions: `{"read", "kept": int, "dropped": {reason: count}}`.
        splits: number of records of "train", "valid" and "test".
        parameters: `{"trainable", "total": int, "ratio": float}`.
        training: `{"steps", "workers", "tokens", "useful_token_fraction", "history", "checkpoints"}`; history
            holds `{"step", "train_loss"?, "valid_loss"?}`, checkpoints one or more `{"name", "step"}`.
        mcq: mcq.json by model name, "base" among them.
        squad: squad.json by model name; may lack any model.
        seconds: wall-clock seconds by stage, see `seconds_by_stage`.
        tuned: the checkpoint compared with the base; by default the one of the lowest validation loss (never
            the best on the test questions), else the last.
        protocol: the one whose accuracy is the headline.
        seed: of the bootstrap intervals.

    Accuracies and ratios are fractions, SQuAD's em and f1 percent, `low` and `high` the ends of a 95 %
    interval.

    Raises:
        UserError: an evaluation is missing, or two models answered different items.
    """
    checkpoints = _checkpoints(training, mcq, protocol)
    best = best_checkpoint(checkpoints)
    tuned = tuned or best or checkpoints[-1]["name"]
    for model in (BASE, tuned):
        if model not in mcq:
            raise UserError(f"evaluation/{model}/mcq.json: not given; evaluate {model} before the report")
        if not _items(mcq[model], protocol):
            known = ", ".join(mcq[model]["protocols"])
            raise UserError(
                f"evaluation/{model}/mcq.json: no {protocol!r} items; choose a protocol of {known}"
            )
    protocols = _protocols(mcq[BASE], mcq[tuned], tuned, seed)
    headline = protocols[protocol]
    base_items, tuned_items = _items(mcq[BASE], protocol), _items(mcq[tuned], protocol)
    rows = categories(base_items, tuned_items)
    ratio, accuracy = parameters["ratio"], headline[TUNED]["accuracy"]
    return {
        "run": run,
        "recipe": recipe,
        "leaked": leaked,
        "tuned": tuned,
        "best": best,
        "questions": {key: questions[key] for key in ("read", "kept", "dropped")},
        "splits": {key: splits[key] for key in ("train", "valid", "test")},
        "parameters": {key: parameters[key] for key in ("trainable", "total", "ratio")},
        "training": {key: training[key] for key in ("steps", "workers", "tokens", "useful_token_fraction")}
        | {"valid_loss": losses(training["history"], "valid_loss")},
        "checkpoints": checkpoints,
        "mcq": {"protocol": protocol}
        | headline
        | {
            "categories": _category_counts(rows),
            "benchmarks": _benchmarks(base_items, tuned_items, rows, seed),
            "protocols": protocols,
        },
        "squad": _squad(squad, tuned, seed),
        "seconds": dict(seconds),
        "contest_score": contest_score(ratio, accuracy),
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


def best_checkpoint(checkpoints: Iterable[Mapping[str, Any]]) -> str | None:
    """Name of the checkpoint (`{"name", "valid_loss": float | None}`) of the lowest validation loss.

    The earliest of equals; None if none has a loss.
    """
    measured = [row for row in checkpoints if row["valid_loss"] is not None]
    return min(measured, key=lambda row: row["valid_loss"])["name"] if measured else None


def categories(base: Items, tuned: Items) -> list[Json]:
    """Rows for `figures.accuracy_by_category`, sorted by category, from one protocol's items of two models.

    Each is `{"category": "benchmark/subject", "n": int, "base": (correct, low, high), "tuned": (...),
    "mcnemar_p": float}` with the Wilson interval as fractions.

    Raises:
        UserError: the models answered different items.
    """
    groups: dict[str, Pairs] = defaultdict(list)
    for pair in _pairs(base, tuned, "mcq.json"):
        groups[pair[0]["id"].rsplit("/", 2)[0]].append(pair)
    rows = []
    for category, pairs in sorted(groups.items()):
        both = [_rate([pair[side] for pair in pairs]) for side in (0, 1)]
        rows.append(
            {"category": category, "n": len(pairs)}
            | {
                name: (rate["correct"], rate["low"], rate["high"])
                for name, rate in zip(SIDES, both, strict=True)
            }
            | {"mcnemar_p": _sign_test(pairs)}
        )
    return rows


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


def verdicts(summary: Mapping[str, Any]) -> list[str]:
    """The report's first lines, from the numbers: leak, gain by each protocol, retained ability."""
    return [_leak_line(summary), _gain_line(summary), *_other_protocols(summary), _retained_line(summary)]


def markdown(
    summary: Mapping[str, Any],
    figures: Mapping[str, str] | None = None,
    inputs: Mapping[str, str] | None = None,
) -> str:
    """report.md: the verdicts, then the tables behind them.

    Args:
        summary: of `summary`.
        figures: title -> path relative to report.md.
        inputs: name -> hex SHA-256 of each file the numbers were made from.
    """
    mcq = summary["mcq"]
    stamp = ["> **LEAKED** - don't quote the accuracies below.", ""]
    parts = [
        f"# {summary['run']}: {summary['tuned']} against the base",
        "",
        *(stamp if summary["leaked"] else []),
        *(f"- {line}" for line in verdicts(summary)),
        "",
        "## Multiple choice",
        "",
        *_table(
            ["protocol", "n", "base", "tuned", "difference", "McNemar p", "p (Holm)"],
            [_protocol_row(name, part) for name, part in _comparisons(mcq)],
        ),
        "",
        *_notes(summary),
        "",
        "## Retained ability: SQuAD v1.1",
        "",
        *_squad_table(summary["squad"]),
        "",
        "## Checkpoints",
        "",
        *_table(
            ["checkpoint", "step", f"validation loss (n = {summary['splits']['valid']:,})", "accuracy"],
            [_checkpoint_row(row, summary) for row in summary["checkpoints"]],
        ),
        "",
        *(line for title, path in (figures or {}).items() for line in (f"![{title}]({path})", "")),
        "## How it was made",
        "",
        *_table(["", ""], _made(summary)),
        "",
        "Intervals are 95 %: Wilson's at the effective number of independent questions for a rate, "
        "the paired bootstrap for a difference.",
    ]
    if inputs:
        rows = [[name, f"`{value}`"] for name, value in sorted(inputs.items())]
        parts += ["", "## Made from", "", *_table(["input", "SHA-256"], rows)]
    return "\n".join(parts) + "\n"


# Numbers


def _items(scores: Mapping[str, Any], protocol: str) -> list[Json]:
    return scores["protocols"].get(protocol, {"items": []})["items"]


def _checkpoints(training: Mapping[str, Any], mcq: Mapping[str, Any], protocol: str) -> list[Json]:
    valid = dict(losses(training["history"], "valid_loss"))
    rows = []
    for checkpoint in training["checkpoints"]:
        name, step = checkpoint["name"], checkpoint["step"]
        items = _items(mcq[name], protocol) if name in mcq else []
        rate = _rate(items) if items else None
        rows.append({"name": name, "step": step, "valid_loss": valid.get(step), "mcq": rate})
    return rows


def _rate(items: Items) -> Json:
    """Accuracy of the items (one or more); `questions` counts the independent ones: orders of one are not."""
    correct, questions = [bool(item["correct"]) for item in items], [item["id"] for item in items]
    low, high = statistics.interval(correct, questions)
    n, right = len(items), sum(correct)
    rate = {"n": n, "questions": len(set(questions)), "correct": right, "accuracy": right / n}
    return rate | {"low": low, "high": high}


def _pairs(base: Items, tuned: Items, name: str) -> Pairs:
    """Each item of `base` with the same item of `tuned`, sorted; an item is a question in an option order."""
    left, right = ({(item["id"], item.get("order")): item for item in items} for items in (base, tuned))
    if left.keys() != right.keys() or len(left) != len(base) or len(right) != len(tuned):
        odd = min((key[0] for key in left.keys() ^ right.keys()), default="an item given twice")
        raise UserError(
            f"evaluation/{name}: base and tuned answered different items ({len(base)} and {len(tuned)}; "
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
    return statistics.mcnemar_exact(base, tuned)


def _compare(base: Items, tuned: Items, name: str, seed: int) -> Json:
    pairs = _pairs(base, tuned, name)
    diff = [int(right["correct"]) - int(left["correct"]) for left, right in pairs]
    sides = {
        side: _rate(items) | {"unparsed": sum(item["choice"] is None for item in items)}
        for side, items in ((BASE, base), (TUNED, tuned))
    }
    return sides | {
        "difference": _difference(diff, [left["id"] for left, _ in pairs], seed),
        "mcnemar_p": _sign_test(pairs),
    }


def _difference(diff: Sequence[float], clusters: Sequence[Hashable], seed: int) -> Json:
    low, high = statistics.paired_bootstrap(diff, seed, clusters)
    return {"value": sum(diff) / len(diff), "low": low, "high": high}


def _protocols(base: Mapping[str, Any], tuned: Mapping[str, Any], model: str, seed: int) -> Json:
    """The comparison by every protocol that both models have items of, p also adjusted for their number."""
    parts = {
        name: _compare(_items(base, name), _items(tuned, name), f"{model}/mcq.json, {name}", seed)
        for name in tuned["protocols"]
        if _items(base, name) and _items(tuned, name)
    }
    adjusted = statistics.holm([part["mcnemar_p"] for part in parts.values()])
    return {name: parts[name] | {"mcnemar_p_holm": p} for name, p in zip(parts, adjusted, strict=True)}


def _category_counts(rows: Sequence[Json]) -> Json:
    """How many categories changed, each tested alone and the p values adjusted for their number."""
    adjusted = statistics.holm([row["mcnemar_p"] for row in rows])
    changed = [row for row, p in zip(rows, adjusted, strict=True) if p < ALPHA]
    better = [row["category"] for row in changed if row[TUNED][0] > row[BASE][0]]
    worse = [row["category"] for row in changed if row[TUNED][0] < row[BASE][0]]
    return {"n": len(rows), "better": better, "worse": worse}


def _benchmarks(base: Items, tuned: Items, rows: Sequence[Json], seed: int) -> Json:
    """The comparison of each benchmark alone; `macro` is the mean over its categories, as CMMLU reports."""
    result = {}
    for name in sorted({row["category"].split("/")[0] for row in rows}):
        inside = [row for row in rows if row["category"].startswith(f"{name}/")]
        both = ([item for item in items if item["id"].startswith(f"{name}/")] for items in (base, tuned))
        macro = {side: sum(row[side][0] / row["n"] for row in inside) / len(inside) for side in SIDES}
        result[name] = _compare(*both, name, seed) | {"categories": len(inside), "macro": macro}
    return result


def _squad(squad: Mapping[str, Mapping[str, Any]], tuned: str, seed: int) -> Json:
    sides = {side: squad.get(model) for side, model in ((BASE, BASE), (TUNED, tuned))}
    result: Json = {
        side: {scorer: _squad_scores(scores, scorer) for scorer in SCORERS} if scores else None
        for side, scores in sides.items()
    }
    result["difference"] = None
    if all(sides.values()):
        pairs = _pairs(sides[BASE]["items"], sides[TUNED]["items"], f"{tuned}/squad.json")
        result["difference"] = {
            scorer: {key: _squad_difference(pairs, scorer, key, seed) for key in ("em", "f1")}
            for scorer in SCORERS
        }
    return result


def _squad_scores(scores: Mapping[str, Any], scorer: str) -> Json:
    """The scorer's em, f1 and n as evaluated, with their intervals in percent."""
    items = [item for item in scores["items"] if item[scorer]]
    paragraphs = [_paragraph(item) for item in items]
    result = {key: scores[scorer][key] for key in ("em", "f1", "n")}
    for key in ("em", "f1"):
        ends = statistics.interval([item[scorer][key] for item in items], paragraphs)
        result |= {f"{key}_{end}": 100 * value for end, value in zip(("low", "high"), ends, strict=True)}
    return result


def _squad_difference(pairs: Pairs, scorer: str, key: str, seed: int) -> Json | None:
    scored = [(left, right) for left, right in pairs if left[scorer] and right[scorer]]
    if not scored:
        return None
    diff = [100 * (right[scorer][key] - left[scorer][key]) for left, right in scored]
    return _difference(diff, [_paragraph(left) for left, _ in scored], seed)


def _paragraph(item: Mapping[str, Any]) -> Hashable:
    """What a SQuAD item is clustered by: its paragraph if the evaluation kept it, else itself."""
    return item.get("paragraph", item["id"])


# Words


def _leak_line(summary: Mapping[str, Any]) -> str:
    n = f"n = {summary['mcq']['tuned']['questions']:,}"
    if summary["leaked"]:
        return (
            f"**LEAKED**: the test ({n}) re-orders questions of the training set; accuracy measures memory."
        )
    return f"**Not leaked**: no test question ({n}), nor a duplicate of one, was trained on."


def _gain_line(summary: Mapping[str, Any]) -> str:
    mcq = summary["mcq"]
    questions = "on questions it was trained on" if summary["leaked"] else "on unseen questions"
    word, scores = _verdict(mcq["difference"], mcq["mcnemar_p"]), _scores(mcq)
    if word == "neither":
        # At the end of the interval nearest to one half, where a difference is hardest to see.
        rate = min(max(0.5, mcq[BASE]["low"]), mcq[BASE]["high"])
        smallest = 100 * statistics.minimum_detectable_difference(mcq[BASE]["questions"], rate)
        return (
            f"**No difference shown** between tuned and base {questions} ({mcq['protocol']} protocol): "
            f"{scores}. With this n a difference under about {smallest:.1f} points would likely be missed."
        )
    verb = {"better": "beats", "worse": "is worse than"}[word]
    return f"**Tuned {verb} base** {questions} ({mcq['protocol']} protocol): {scores}."


def _other_protocols(summary: Mapping[str, Any]) -> list[str]:
    words = {"better": "tuned is better", "worse": "tuned is worse", "neither": "no difference shown"}
    lines = []
    for name, part in summary["mcq"]["protocols"].items():
        if name != summary["mcq"]["protocol"]:
            word = words[_verdict(part["difference"], part["mcnemar_p"])]
            lines.append(f"By {name}: {word}: {_scores(part)}.")
    return lines


def _verdict(difference: Mapping[str, float], p: float) -> str:
    if p >= ALPHA or difference["value"] == 0:
        return "neither"
    return "better" if difference["value"] > 0 else "worse"


def _scores(part: Mapping[str, Any]) -> str:
    return (
        f"{_percent(part['tuned'])} against {_percent(part[BASE])}, {_points(part['difference'])}, "
        f"n = {_n(part['tuned'])}, exact McNemar {_p(part['mcnemar_p'])}"
    )


def _retained_line(summary: Mapping[str, Any]) -> str:
    squad = summary["squad"]
    if squad["difference"] is None:
        missing = " and ".join(side for side in SIDES if squad[side] is None)
        return f"**Retained ability not measured**: no SQuAD score of {missing}."
    base, tuned = squad[BASE]["official"], squad[TUNED]["official"]
    change = squad["difference"]["official"]["f1"]
    if base["f1"] == 0 and tuned["f1"] == 0:
        return (
            f"**Retained ability can't be told**: base and tuned both score 0 on SQuAD (n = {base['n']:,})."
        )
    word = "no change shown"
    if change["high"] < 0:
        word = "lost"
    elif change["low"] > 0:
        word = "gained"
    return (
        f"**Retained ability: {word}**: SQuAD official F1 {tuned['f1']:.1f} against {base['f1']:.1f}, "
        f"{_points(change, 1)}, n = {tuned['n']:,}."
    )


def _notes(summary: Mapping[str, Any]) -> list[str]:
    mcq = summary["mcq"]
    found = mcq["categories"]
    lines = [
        f"Chance is 25 %. By category ({mcq['protocol']} protocol, n = {found['n']}, p Holm-adjusted): "
        f"{len(found['better'])} better, {len(found['worse'])} worse."
    ]
    means = (
        f"{name} ({part['categories']}) {100 * part['macro']['tuned']:.1f} % "
        f"against {100 * part['macro'][BASE]:.1f} %"
        for name, part in mcq["benchmarks"].items()
    )
    lines.append(f"Mean over the categories of a benchmark: {', '.join(means)}.")
    generation = mcq["protocols"].get("generation")
    if generation:
        unread = (f"{side} {generation[side]['unparsed']:,} of {generation[side]['n']:,}" for side in SIDES)
        lines.append(f"Generated answers without a readable choice, counted as wrong: {', '.join(unread)}.")
    return lines


def _comparisons(mcq: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Label and comparison of the protocols, then of the benchmarks where there are several."""
    rows = list(mcq["protocols"].items())
    if len(mcq["benchmarks"]) > 1:
        rows += [(f"{mcq['protocol']}, {name} alone", part) for name, part in mcq["benchmarks"].items()]
    return rows


def _protocol_row(name: str, part: Mapping[str, Any]) -> list[str]:
    both = [_percent(part[side]) for side in SIDES]
    adjusted = _number(part["mcnemar_p_holm"]) if "mcnemar_p_holm" in part else "-"
    return [name, _n(part[TUNED]), *both, _points(part["difference"]), _number(part["mcnemar_p"]), adjusted]


def _squad_table(squad: Mapping[str, Any]) -> list[str]:
    rows = []
    for scorer in SCORERS:
        for key in ("em", "f1"):
            cells = [_squad_cell(squad[side], scorer, key) for side in SIDES]
            n = next((squad[side][scorer]["n"] for side in SIDES if squad[side]), 0)
            change = squad["difference"] and squad["difference"][scorer][key]
            rows.append([f"{scorer} {key.upper()}", f"{n:,}", *cells, _points(change, 1) if change else "-"])
    return _table(["score", "n", "base", "tuned", "difference"], rows)


def _squad_cell(side: Mapping[str, Any] | None, scorer: str, key: str) -> str:
    if side is None or side[scorer]["n"] == 0:
        return "not measured"
    score = side[scorer]
    return f"{score[key]:.1f} [{score[f'{key}_low']:.1f}, {score[f'{key}_high']:.1f}]"


def _checkpoint_row(row: Mapping[str, Any], summary: Mapping[str, Any]) -> list[str]:
    marks = [
        mark for key, mark in (("tuned", "tuned"), ("best", "lowest loss")) if summary[key] == row["name"]
    ]
    name = f"{row['name']} ({', '.join(marks)})" if marks else row["name"]
    loss = "not measured" if row["valid_loss"] is None else f"{row['valid_loss']:.4f}"
    accuracy = f"{_percent(row['mcq'])}, n = {_n(row['mcq'])}" if row["mcq"] else "not measured"
    return [name, f"{row['step']:,}", loss, accuracy]


def _made(summary: Mapping[str, Any]) -> list[list[str]]:
    training, parameters = summary["training"], summary["parameters"]
    trainable = f"{parameters['trainable']:,} of {parameters['total']:,} ({100 * parameters['ratio']:.3f} %)"
    steps = f"{training['steps']:,} steps, {training['workers']} worker(s), {training['tokens']:,} tokens"
    useful = f"{100 * training['useful_token_fraction']:.1f} % of the positions useful"
    seconds = ", ".join(f"{stage} {value:,.1f}" for stage, value in summary["seconds"].items())
    return [
        ["recipe", summary["recipe"]],
        ["questions", _questions(summary["questions"])],
        ["records", ", ".join(f"{name} {n:,}" for name, n in summary["splits"].items())],
        ["trainable parameters", trainable],
        ["training", f"{steps}, {useful}"],
        ["contest score", f"{summary['contest_score']:.4f} = 0.3 (1 - 10 ratio) + 0.7 accuracy"],
        ["seconds", seconds or "not recorded"],
    ]


def _questions(questions: Mapping[str, Any]) -> str:
    dropped = sum(questions["dropped"].values())
    reasons = ", ".join(f"{reason} {n:,}" for reason, n in questions["dropped"].items() if n)
    return f"{questions['read']:,} read, {questions['kept']:,} kept, {dropped:,} dropped" + (
        f" ({reasons})" if reasons else ""
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


def _n(rate: Mapping[str, Any]) -> str:
    items, questions = rate["n"], rate["questions"]
    return f"{items:,}" if items == questions else f"{items:,} ({questions:,} questions)"


def _percent(rate: Mapping[str, Any]) -> str:
    return f"{100 * rate['accuracy']:.1f} % [{100 * rate['low']:.1f}, {100 * rate['high']:.1f}]"


def _points(difference: Mapping[str, float], scale: float = 100.0) -> str:
    value, low, high = (scale * difference[key] for key in ("value", "low", "high"))
    return f"{value:+.1f} points [{low:+.1f}, {high:+.1f}]"


def _p(p: float) -> str:
    return f"p {'<' if p < 0.0001 else '='} {_number(p).lstrip('< ')}"


def _number(p: float) -> str:
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}"
