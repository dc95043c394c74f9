"""report.md, one page: the verdicts computed from summary.json, then the tables and figures behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from mcqlora.report.labels import (
    HASH,
    METRIC_WORDS,
    NEITHER,
    RULE_WORDS,
    SCORER_WORDS,
    VERDICT_WORDS,
    Summary,
    calibrated,
    no_gap,
    protocol_label,
    score_label,
    sides,
    task_label,
)
from mcqlora.report.markdown import table
from mcqlora.report.robustness import BINS
from mcqlora.report.summary import ALPHA, BASE, KEPT, METRICS, SCORERS, SIDES, TUNED

_METHODS = f"""\
Intervals are 95 %: Wilson's for a rate, at the effective number of independent questions (paragraphs for
SQuAD); Newcombe's for the leak gap; the paired bootstrap's, drawing whole questions or paragraphs, for all
else. Holm adjusts p over the protocols, over the categories, and over all pairs of models. The difference
found with a probability of 80 % is (z(0.975) + z(0.8)) times the standard error of the paired difference
([Miller 2024](https://arxiv.org/abs/2411.00640)).

RStd is the standard deviation of the letters' recalls; a chi-squared test asks whether they are equal. The
probability of an option is the softmax of the four scores; ECE has {BINS} bins of equal width, Brier is
summed over the four options (a blind guesser's: 0.75). What was retained is the ratio of the scores, tuned
to base: kept when it is at least {KEPT} with a confidence of 95 % (one-sided paired bootstrap), not kept
when it is below as surely."""


def verdicts(summary: Summary) -> list[str]:
    """The report's first lines: what was learnt, leak, retained ability, contest score, robustness."""
    first = [_learnt(summary) + "[^mcq]", _leak(summary) + "[^leak]"]
    return [
        *(reversed(first) if summary["leaked"] else first),
        _retained(summary) + ("[^squad]" if summary["squad"]["retained"] else ""),
        _contest(summary) + "[^contest]",
        _robust(summary) + "[^mcq]",
    ]


def markdown(summary: Summary, figures: Mapping[str, str] | None = None) -> str:
    """report.md.

    Args:
        summary: of `summary.build`.
        figures: path relative to report.md of "loss", "heatmap", "forest", "comparison", "letters",
            "reliability" and "leak"; what is missing is left out.
    """
    stamp = ["> **LEAKED** - don't quote the accuracies below.", ""]
    shown = figures or {}
    parts = [
        f"# {summary['run']}: {summary['tuned']} against its base",
        "",
        *(stamp if summary["leaked"] else []),
        *(f"- {line}" for line in verdicts(summary)),
        "",
        _which(summary),
        "",
        *_image(shown, "loss", "Training and validation loss"),
        "## Base against tuned",
        "",
        *_protocol_table(summary["mcq"]),
        "",
        *_notes(summary),
        "",
        *_image(shown, "comparison", "Base against tuned"),
        "## Every checkpoint, every task",
        "",
        *_task_table(summary),
        "",
        *_image(shown, "heatmap", "Accuracy by category and model"),
        *_image(shown, "forest", "Accuracy by category, base against tuned"),
        "## Letters and confidence",
        "",
        *_robustness_table(summary),
        "",
        *_image(shown, "letters", "Right letter against chosen letter"),
        *_image(shown, "reliability" if calibrated(summary) else "", "Reliability"),
        "## Leak",
        "",
        *_leak_table(summary),
        "",
        *_image(shown, "leak" if summary["leak"]["gap"] else "", "Leak gap"),
        "## Retained ability: SQuAD v1.1",
        "",
        *_squad_table(summary["squad"]),
        "",
        "## How it was made",
        "",
        *table(["", ""], _made(summary)),
        "",
        _METHODS,
        "",
        *_footnotes(summary),
    ]
    return "\n".join(parts) + "\n"


# Verdicts


def _learnt(summary: Summary) -> str:
    mcq = summary["mcq"]
    scores = (
        f"{_rate(mcq[TUNED])} tuned against {_rate(mcq[BASE])} base ({protocol_label(mcq['protocol'])}), "
        f"{_points(mcq['difference'])}, n = {_n(mcq[TUNED])}, exact McNemar {_p(mcq['mcnemar_p'])}."
    )
    if summary["leaked"]:
        return f"**Learnt: can't be told**, the test questions were trained on: {scores}"
    word = _direction(mcq["difference"], mcq["mcnemar_p"])
    head = {1: "**Learnt: yes**", -1: "**Learnt: no, tuned is worse**", 0: "**Learnt: not shown**"}[word]
    line = f"{head}, on unseen questions: {scores}"
    if word == 0:
        smallest = mcq["minimum_detectable_difference"]
        line += f" A difference under {100 * smallest['value']:.1f} points would likely be missed."
    return line


def _direction(difference: Mapping[str, float], p: float) -> int:
    """1 better, -1 worse, 0 when neither is shown."""
    value = difference["value"]
    return 0 if p >= ALPHA or value == 0 else 1 if value > 0 else -1


def _leak(summary: Summary) -> str:
    leak, n = summary["leak"], summary["mcq"][TUNED]["questions"]
    if summary["leaked"]:
        return (
            f"**LEAKED**: the test (n = {n:,}) re-orders questions of the training set; accuracy measures "
            "memory."
        )
    head = f"**Leak: none**, no test question (n = {n:,}), nor a duplicate of one, was trained on."
    if not leak["gap"]:
        return f"{head} What a leak would add is not known. {no_gap(summary)}"
    base, gap = leak["models"][BASE]["gap"], leak["gap"]
    beside = f"; base {_span(base, sign='+')}, n = {base['n']:,}" if base else ""
    word = "a leak would add" if gap["low"] > 0 else "no gap is shown,"
    return (
        f"{head} Asked training questions in another order it scores {_percent(leak['recipe'])} "
        f"(n = {leak['recipe']['n']:,}) against {_percent(leak['honest'])} (n = {leak['honest']['n']:,}): "
        f"{word} {_span(gap, sign='+')} points{beside}."
    )


def _retained(summary: Summary) -> str:
    squad = summary["squad"]
    if squad["retained"] is None:
        missing = " and ".join(side for side in SIDES if squad[side] is None)
        return f"**Retained ability: not measured**, no SQuAD score of {missing}."
    parts = {
        (scorer, key): squad["retained"][scorer][key]
        for scorer in SCORERS
        for key in METRICS
        if squad["retained"][scorer][key]
    }
    chief = parts.pop(("official", "f1"))
    base, tuned = (squad[side]["official"]["f1"] for side in SIDES)
    head = f"**Retained ability, at least {100 * KEPT:.0f} %: {VERDICT_WORDS[chief['verdict']]}**"
    scores = f"SQuAD official F1 {tuned:.1f} against {base:.1f}, n = {chief['n']:,}"
    others = "; ".join(
        f"{SCORER_WORDS[name]} {METRIC_WORDS[key]} {VERDICT_WORDS[part['verdict']]}"
        for (name, key), part in parts.items()
    )
    if chief["value"] is None:
        return f"{head}, the base scores nothing: {scores}; {others}."
    return f"{head}, {_share(chief)} of the base's, {_sure(chief['confidence'])} sure: {scores}; {others}."


def _contest(summary: Summary) -> str:
    contest, ratio = summary["contest"], summary["parameters"]["ratio"]
    accuracy = summary["mcq"][TUNED]["accuracy"]
    return (
        f"**Contest score {_span(contest, 1, 4)}** = 0.3 x (1 - 10 x {ratio:.5f}) + 0.7 x {accuracy:.4f}, "
        f"n = {contest['n']:,}" + (", LEAKED." if summary["leaked"] else ".")
    )


def _robust(summary: Summary) -> str:
    name = summary["mcq"]["protocol"]
    letters = {side: summary["robustness"][side][name]["rstd"] for side in SIDES}
    words = [
        f"recall by letter spreads {_span(letters[TUNED])} points (RStd; base {_span(letters[BASE])}), "
        f"n = {letters[TUNED]['n']:,}"
    ]
    found = calibrated(summary)
    if found:
        ece = {side: summary["robustness"][side][found]["calibration"]["ece"] for side in SIDES}
        words.append(
            f"its probabilities are off by {_span(ece[TUNED])} points (ECE; base {_span(ece[BASE])}), "
            f"n = {ece[TUNED]['n']:,}"
        )
    if summary["circular"]:
        turned = next(iter(summary["circular"]["protocols"].values()))
        whole = {side: turned[side]["all_right"] for side in SIDES}
        words.append(
            f"right in all four rotations {_percent(whole[TUNED])} (base {_percent(whole[BASE])}), "
            f"n = {whole[TUNED]['n']:,}"
        )
    else:
        words.append("rotations not run")
    return f"**Robustness**: {'; '.join(words)}."


def _which(summary: Summary) -> str:
    best, last, tuned, by = (summary[key] for key in ("best", "last", TUNED, "best_by"))
    rule = RULE_WORDS[by["rule"]]
    if best is None:
        return f"Tuned is {tuned}; the last is {last}, and no {rule} says which is the best."
    measured = {row["name"]: row for row in summary["checkpoints"]}
    found = [
        f"by {RULE_WORDS[key]} {by[key]} ({_measured(measured[by[key]], key)})"
        for key in RULE_WORDS
        if by[key]
    ]
    chosen = f", chosen by {rule}" if tuned == best else ""
    line = f"Tuned is {tuned}{chosen}. Best {'; best '.join(found)}. The last is {last}."
    if best == last:
        return line
    pair = next(
        (one for one in summary["comparisons"]["pairs"] if {one["left"], one["right"]} == {best, last}), None
    )
    return line + (
        f" {pair['right']} against {pair['left']}: {_pair(pair)}, n = {pair['n']:,}." if pair else ""
    )


def _measured(checkpoint: Mapping[str, Any], rule: str) -> str:
    if rule == "valid_loss":
        return f"{checkpoint['valid_loss']:.4f} nats a token"
    return f"{_rate(checkpoint['valid'])}, full answer, n = {_n(checkpoint['valid'])}"


# Tables


def _protocol_table(mcq: Mapping[str, Any]) -> list[str]:
    rows = [(protocol_label(name), part) for name, part in mcq["protocols"].items()]
    if len(mcq["benchmarks"]) > 1:
        headline = protocol_label(mcq["protocol"])
        rows += [(f"{headline}, {name} alone", part) for name, part in mcq["benchmarks"].items()]
    cells = [
        [
            label,
            _n(part[TUNED]),
            *(_rate(part[side]) for side in SIDES),
            _points(part["difference"]),
            _number(part["mcnemar_p"]),
            _number(part["mcnemar_p_holm"]) if "mcnemar_p_holm" in part else "-",
        ]
        for label, part in rows
    ]
    return table(["accuracy by[^mcq]", "n", "base", "tuned", "difference", "McNemar p", "p (Holm)"], cells)


def _notes(summary: Summary) -> list[str]:
    mcq = summary["mcq"]
    found, smallest = mcq["categories"], mcq["minimum_detectable_difference"]
    scope = f"{protocol_label(mcq['protocol'])}, {found['n']} categories, n = {mcq[TUNED]['n']:,}"
    lines = [
        f"Chance is 25 %. By category ({scope}, p Holm-adjusted): {len(found['better'])} better, "
        f"{len(found['worse'])} worse. With n = {smallest['n']:,} a difference of "
        f"{100 * smallest['value']:.1f} points is found with probability {smallest['power']}."
    ]
    macro = [
        (f"{name} ({protocol_label(mcq['protocol'])})", part) for name, part in mcq["benchmarks"].items()
    ]
    macro += [
        (protocol_label(name), part) for name, part in mcq["protocols"].items() if part["average"] == "macro"
    ]
    words = (
        f"{label} {_percent(part[TUNED]['macro'])} against {_percent(part[BASE]['macro'])}, "
        f"n = {part[TUNED]['n']:,} in {part[TUNED]['macro']['n']}"
        for label, part in macro
    )
    lines.append(f"Mean over categories, tuned against base: {'; '.join(words)}.")
    generation = mcq["protocols"].get("generation")
    if generation:
        unread = (f"{side} {generation[side]['unparsed']:,} of {generation[side]['n']:,}" for side in SIDES)
        lines.append(f"Generated answers without a readable choice, counted as wrong: {', '.join(unread)}.")
    cut = [
        f"{protocol_label(name)} {part['truncated']:,} of {part[TUNED]['n']:,}"
        for name, part in mcq["protocols"].items()
        if part.get("truncated")
    ]
    if cut:
        lines.append(f"Prompts shortened to fit: {', '.join(cut)}.")
    return lines


def _task_table(summary: Summary) -> list[str]:
    """Rows are tasks, columns models; a cell's n is the row's unless it says another."""
    models = list(summary["leak"]["models"])
    marks: dict[str, list[str]] = {model: [] for model in models}
    for key in (TUNED, "best", "last"):
        if summary[key] in marks:
            marks[summary[key]].append(key)
    heads = [model + (f" ({', '.join(marks[model])})" if marks[model] else "") for model in models]
    n = f"{summary['splits']['valid']:,}"
    rows_measured = f"{summary['training']['valid_rows']:,}"
    losses = {row["name"]: row["valid_loss"] for row in summary["checkpoints"]}
    words = {model: "-" if losses.get(model) is None else f"{losses[model]:.4f}" for model in models}
    rows = [["validation loss (nats a token)", rows_measured, *words.values()]]
    valid = {row["name"]: _span(_valued(row["valid"])) for row in summary["checkpoints"] if row["valid"]}
    if valid:
        rows.append(["full answer, validation questions", n, *(valid.get(model, "-") for model in models)])
    for task in summary["tasks"]:
        rates = [task["models"].get(model) for model in models]
        n = max((rate["n"] for rate in rates if rate), default=0)
        sign = "+" if task["task"] == "gap" else ""
        cells = [
            "-"
            if rate is None
            else _span(rate, sign=sign) + (f", n = {rate['n']:,}" if rate["n"] != n else "")
            for rate in rates
        ]
        rows.append([task_label(task), f"{n:,}", *cells])
    rows.append(_steps(summary, models))
    return table(["%[^all]", "n", *heads], rows)


def _steps(summary: Summary, models: Sequence[str]) -> list[str]:
    """Each model against the one before it, by the headline protocol."""
    pairs = {(pair["left"], pair["right"]): pair for pair in summary["comparisons"]["pairs"]}
    found = [pairs.get(step) for step in pairwise(models)]
    n = max((pair["n"] for pair in found if pair), default=0)
    label = f"{protocol_label(summary['comparisons']['protocol'])} against the one before"
    return [label, f"{n:,}", "-", *(_pair(pair) if pair else "-" for pair in found)]


def _robustness_table(summary: Summary) -> list[str]:
    rows = []
    for name in dict.fromkeys((summary["mcq"]["protocol"], "letter")):
        both = [summary["robustness"][side].get(name) for side in SIDES]
        if not all(both):
            continue
        label = protocol_label(name)
        recalls = [
            ", ".join(
                f"{letter} {100 * part['value']:.0f}" for letter, part in side["recall"].items() if part
            )
            for side in both
        ]
        n = f"{both[1]['n']:,}"
        rows.append([f"{label}: recall by letter (%)", n, *recalls])
        spreads = [f"{_span(side['rstd'])}, {_p(side['equal_p'])}" for side in both]
        rows.append([f"{label}: RStd (points), p of equal recalls", n, *spreads])
        found = [side["calibration"] for side in both]
        if all(found):
            rows.append([f"{label}: ECE (points)", n, *(_span(part["ece"]) for part in found)])
            rows.append([f"{label}: Brier (0 to 2)", n, *(_span(part["brier"], 1, 3) for part in found)])
    circular = summary["circular"]
    for name, part in (circular["protocols"] if circular else {}).items():
        errors = [f"{_rate(part[side])}, s.e. {100 * part[side]['standard_error']:.1f}" for side in SIDES]
        label, turned = protocol_label(name), part[TUNED]
        n = f"{turned['n']:,} ({turned['questions']:,} questions)"
        rows.append([f"{label}: accuracy over four rotations (%)", n, *errors])
        whole = [_percent(part[side]["all_right"]) for side in SIDES]
        rows.append([f"{label}: right in all four (%)", f"{turned['questions']:,}", *whole])
    lines = table(["measure[^mcq]", "n", "base", "tuned"], rows)
    if not circular:
        why = f"evaluate.rotations 1, {NEITHER}, or an option that refers to others in every question"
        return [*lines, "", f"Rotated options: not run ({why})."]
    if circular["pinned"]:
        lines += ["", f"Left out of the rotations, as an option refers to others: {circular['pinned']:,}."]
    return lines


def _leak_table(summary: Summary) -> list[str]:
    leak = summary["leak"]
    rows = []
    for model, part in leak["models"].items():
        cells = [
            f"{_percent(part[key])}, n = {part[key]['n']:,}" if part[key] else "not measured"
            for key in ("honest", "recipe")
        ]
        gap = part["gap"]
        name = f"{model} (tuned)" if model == summary["tuned"] else model
        rows.append([name, *cells, f"{_span(gap, sign='+')}, n = {gap['n']:,}" if gap else "-"])
    label = protocol_label(leak["protocol"])
    lines = table([f"{label}[^all]", "unseen questions", "training questions again", "gap (points)"], rows)
    return lines if leak["gap"] else [*lines, "", no_gap(summary)]


def _squad_table(squad: Mapping[str, Any]) -> list[str]:
    rows = []
    for scorer in SCORERS:
        for key in METRICS:
            cells = [_squad_cell(squad[side], scorer, key) for side in SIDES]
            n = next((squad[side][scorer]["n"] for side in SIDES if squad[side]), 0)
            change = squad["difference"] and squad["difference"][scorer][key]
            kept = squad["retained"] and squad["retained"][scorer][key]
            verdict = ["-", "-", "-"]
            if kept:
                known = kept["value"] is not None
                verdict = [_share(kept), _sure(kept["confidence"])] if known else ["-", "-"]
                verdict.append(VERDICT_WORDS[kept["verdict"]])
            points = _points(change, 1) if change else "-"
            rows.append([score_label(scorer, key), f"{n:,}", *cells, points, *verdict])
    heads = ["base", "tuned", "difference", "of the base's", f"sure of {100 * KEPT:.0f} %", "verdict"]
    lines = table(["score[^squad]", "n", *heads], rows)
    total = [f"{squad[key]:,} {word}" for key, word in _FULL.items() if key in squad]
    return lines + (["", f"Drawn from {' and '.join(total)}, by article."] if total else [])


_FULL = {"of": "questions (official)", "of_first": "first questions of a paragraph (MindFormers)"}


def _squad_cell(side: Mapping[str, Any] | None, scorer: str, key: str) -> str:
    if side is None or side[scorer]["n"] == 0:
        return "not measured"
    score = side[scorer]
    return f"{score[key]:.1f} [{score[f'{key}_low']:.1f}, {score[f'{key}_high']:.1f}]"


def _made(summary: Summary) -> list[list[str]]:
    training, parameters = summary["training"], summary["parameters"]
    trainable = f"{parameters['trainable']:,} of {parameters['total']:,} ({100 * parameters['ratio']:.3f} %)"
    steps = f"{training['steps']:,} steps, {training['workers']} worker(s), {training['tokens']:,} tokens"
    useful = f"{100 * training['useful_token_fraction']:.1f} % of the positions useful"
    seconds = ", ".join(f"{stage} {value:,.1f}" for stage, value in summary["seconds"].items())
    return [
        ["recipe", summary["recipe"]],
        ["questions[^data]", _questions(summary["questions"])],
        ["records[^data]", ", ".join(f"{name} {n:,}" for name, n in summary["splits"].items())],
        ["trainable parameters[^train]", trainable],
        ["training[^train]", f"{steps}, {useful}"],
        ["seconds", seconds or "not recorded"],
    ]


def _questions(questions: Mapping[str, Any]) -> str:
    dropped = sum(questions["dropped"].values())
    reasons = ", ".join(f"{reason} {n:,}" for reason, n in questions["dropped"].items() if n)
    return f"{questions['read']:,} read, {questions['kept']:,} kept, {dropped:,} dropped" + (
        f" ({reasons})" if reasons else ""
    )


def _footnotes(summary: Summary) -> list[str]:
    """Which files each number comes from, with their hashes."""
    inputs = summary["inputs"]
    compared = {f"evaluation/{model}/" for model in sides(summary).values()}
    groups = {
        "mcq": [name for name in inputs if name.endswith("/mcq.json") and name[:-8] in compared],
        "squad": [name for name in inputs if name.endswith("/squad.json") and name[:-10] in compared],
        "all": [name for name in inputs if name.startswith("evaluation/")],
        "leak": [name for name in inputs if name.endswith("/mcq.json")] + ["leakage.json"],
        "contest": [f"evaluation/{summary['tuned']}/mcq.json", "training/training.json"],
        "train": ["training/training.json"],
        "data": ["ledger.json", "leakage.json"],
    }
    lines = []
    for mark, names in groups.items():
        known = [f"{name} `{inputs[name][:HASH]}`" for name in names if name in inputs]
        lines += [
            f"[^{mark}]: Made from (SHA-256) {', '.join(known) or 'files whose hashes were not given'}.",
            "",
        ]
    return lines[:-1]


# Words


def _image(figures: Mapping[str, str], key: str, title: str) -> list[str]:
    return [f"![{title}]({figures[key]})", ""] if key in figures else []


def _n(rate: Mapping[str, Any]) -> str:
    items, questions = rate["n"], rate["questions"]
    return f"{items:,}" if items == questions else f"{items:,} ({questions:,} questions)"


def _span(rate: Mapping[str, Any], scale: float = 100.0, digits: int = 1, sign: str = "") -> str:
    value, low, high = (f"{scale * rate[key]:{sign}.{digits}f}" for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def _percent(rate: Mapping[str, Any]) -> str:
    return f"{100 * rate['value']:.1f} % [{100 * rate['low']:.1f}, {100 * rate['high']:.1f}]"


def _rate(rate: Mapping[str, Any]) -> str:
    return _percent(_valued(rate))


def _valued(rate: Mapping[str, Any]) -> dict[str, float]:
    return {"value": rate["accuracy"], "low": rate["low"], "high": rate["high"]}


def _points(difference: Mapping[str, float], scale: float = 100.0) -> str:
    value, low, high = (scale * difference[key] for key in ("value", "low", "high"))
    return f"{value:+.1f} points [{low:+.1f}, {high:+.1f}]"


def _pair(pair: Mapping[str, Any]) -> str:
    return f"{_span(pair['difference'], sign='+')}, {_p(pair['mcnemar_p_holm'])} (Holm)"


def _share(kept: Mapping[str, Any]) -> str:
    ends = ("-" if kept[key] is None else f"{100 * kept[key]:.0f}" for key in ("low", "high"))
    return f"{100 * kept['value']:.0f} % [{', '.join(ends)}]"


def _sure(confidence: float) -> str:
    if confidence < 0.001:
        return "< 0.1 %"
    return "> 99.9 %" if confidence > 0.999 else f"{100 * confidence:.1f} %"


def _p(p: float) -> str:
    return f"p {'<' if p < 0.0001 else '='} {_number(p).lstrip('< ')}"


def _number(p: float) -> str:
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}"
