"""report.md, one page: the verdicts computed from summary.json, then the tables and figures behind them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from mcqlora.evaluate.protocols import label as protocol_label
from mcqlora.files import Json
from mcqlora.report import words
from mcqlora.report.markdown import Row, plain, table
from mcqlora.report.reading import KEPT
from mcqlora.report.robustness import BINS
from mcqlora.report.schema import BASE, METRICS, SCORERS, SIDES, TUNED, calibrated, measured, score
from mcqlora.report.verdicts import chosen, verdicts

_METHODS = f"""\
What was drawn together is one cluster: the orders of a question, the questions of a duplicate group
(`groups.json`), the SQuAD questions of a paragraph. Clusters are independent, items of one are not. Intervals
are 95 %: Wilson's for a rate, at the effective number of items (n over the design effect,
[Rao and Scott 1992](https://doi.org/10.2307/2532311)); Newcombe's for the leak gap, and its like for the gap
beyond the base's ([Zou and Donner 2008](https://doi.org/10.1002/sim.3095)); the paired bootstrap's, drawing
whole clusters, for all else. McNemar's p counts all signs of the clusters' differences. Holm adjusts p over
the protocols, over the categories, and over all pairs of models. The difference found with a probability of
80 % is (z(0.975) + z(0.8)) times the standard error of the paired difference
([Miller 2024](https://arxiv.org/abs/2411.00640)).

Chance is the mean of 1/k over the questions, k their options. The test against it is exact and one-sided, by
the Poisson-binomial distribution of guesses; those of a cluster count as right and wrong together.

RStd is the standard deviation of the letters' recalls; a chi-squared test asks whether they are equal. Both
compare a letter within the questions of as many options. The probability of an option is the softmax of its
question's scores; ECE has {BINS} bins of equal width. Brier is summed over the options: 1 - 1/k if each of k
always gets an equal share. What was retained is the ratio of the scores, tuned to base. It counts as kept if
it is at least {KEPT} with a confidence of 95 %, as not kept if it is below {KEPT} with that confidence
(one-sided paired bootstrap)."""


def markdown(summary: Json, figures: Mapping[str, str]) -> str:
    """report.md.

    Args:
        figures: path relative to report.md of "loss", "heatmap", "forest", "comparison", "letters",
            "reliability" and "leak"; what is missing is left out.
    """
    blocks = [
        [f"# {summary['run']}: {summary['tuned']} against its base"],
        ["> **LEAKED** - don't quote the accuracies below."] if summary["leaked"] else [],
        [f"- {line}" for line in verdicts(summary)],
        [chosen(summary)],
        _image(figures, "loss", "Training and validation loss"),
        ["## Base against tuned"],
        _protocol_table(summary["mcq"]),
        _protocol_notes(summary["mcq"]),
        _image(figures, "comparison", "Base against tuned"),
        ["## Every checkpoint, every task"],
        _task_table(summary),
        _image(figures, "heatmap", "Accuracy by category and model"),
        _image(figures, "forest", "Accuracy by category, base against tuned"),
        ["## Letters and confidence"],
        _robustness_table(summary),
        _image(figures, "letters", "Right letter against chosen letter"),
        _image(figures, "reliability", "Reliability") if calibrated(summary) else [],
        ["## Leak"],
        _leak_table(summary),
        _image(figures, "leak", "Leak gap") if summary["leak"]["gap"] else [],
        ["## Retained ability: SQuAD v1.1"],
        _squad_table(summary["squad"]),
        ["## How it was made"],
        table(["", ""], _made(summary)),
        [_METHODS],
        *_footnotes(summary),
    ]
    return "\n\n".join("\n".join(lines) for lines in blocks if lines) + "\n"


def _protocol_table(mcq: Json) -> list[str]:
    """Base against tuned by every protocol, and by the headline for each of several benchmarks."""
    rows = [_compared(protocol_label(name), part) for name, part in mcq["protocols"].items()]
    if len(mcq["benchmarks"]) > 1:
        headline = protocol_label(mcq["protocol"])
        rows += [_compared(f"{headline}, {name} alone", part) for name, part in mcq["benchmarks"].items()]
    return table(["accuracy by[^mcq]", "n", "base", "tuned", "difference", "McNemar p", "p (Holm)"], rows)


def _compared(label: str, part: Json) -> list[str]:
    rates = (words.accuracy(part[side]) for side in SIDES)
    p = (words.number(part[key]) if key in part else "-" for key in ("mcnemar_p", "mcnemar_p_holm"))
    return [label, words.questions(part[TUNED]), *rates, words.points(part["difference"]), *p]


def _protocol_notes(mcq: Json) -> list[str]:
    """Sentences below that table: categories, means over them, and answers or prompts that were cut."""
    found, smallest = mcq["categories"], mcq["minimum_detectable_difference"]
    headline = protocol_label(mcq["protocol"])
    guessed = ", ".join(f"{side} {words.p_value(mcq[side]['chance_p'])}" for side in SIDES)
    scope = f"{headline}, {found['n']} categories, n = {mcq[TUNED]['n']:,}"
    lines = [
        f"Chance is {words.chance(mcq)}; for guesses that score as high ({headline}): {guessed}.",
        f"By category ({scope}, p Holm-adjusted): {len(found['better'])} better, "
        f"{len(found['worse'])} worse. With n = {smallest['n']:,} a difference of "
        f"{100 * smallest['value']:.1f} points is found with probability {smallest['power']}.",
    ]
    given = {protocol_label(name): part for name, part in mcq["protocols"].items()}
    macro = {f"{name} ({headline})": part for name, part in mcq["benchmarks"].items()}
    macro |= {label: part for label, part in given.items() if part["average"] == "macro"}
    means = (
        f"{label} {words.percent(part[TUNED]['macro'])} against {words.percent(part[BASE]['macro'])}, "
        f"n = {part[TUNED]['n']:,} in {part[TUNED]['macro']['n']}"
        for label, part in macro.items()
    )
    lines.append(f"Mean over categories, tuned against base: {'; '.join(means)}.")
    if generation := mcq["protocols"].get("generation"):
        unread = (f"{side} {generation[side]['unparsed']:,} of {generation[side]['n']:,}" for side in SIDES)
        lines.append(f"Generated answers without a readable choice, counted as wrong: {', '.join(unread)}.")
    cut = {label: part for label, part in given.items() if part["truncated"]}
    if cut:
        many = (f"{label} {part['truncated']:,} of {part[TUNED]['n']:,}" for label, part in cut.items())
        lines.append(f"Prompts shortened to fit: {', '.join(many)}.")
    if few := {label: part for label, part in given.items() if part["lacking"]}:
        many = (f"{label} {part['lacking']:,} of {part[TUNED]['n']:,}" for label, part in few.items())
        lines.append(
            f"Asked with fewer worked examples, since their category has no more: {', '.join(many)}."
        )
    return lines


def _task_table(summary: Json) -> list[str]:
    """Rows are tasks, columns models; a cell's n is the row's unless it says another."""
    models = list(summary["leak"]["models"])
    named = ((TUNED, summary["tuned"]), ("best", summary["best"]), ("last", summary["last"]))
    heads = []
    for model in models:
        marks = ", ".join(mark for mark, name in named if name == model)
        heads.append(f"{model} ({marks})" if marks else model)
    rows = [_task(task, models) for task in summary["tasks"]]
    return table(["%[^all]", "n", *heads], [*_validation(summary, models), *rows, _steps(summary, models)])


def _validation(summary: Json, models: Sequence[str]) -> list[Row]:
    """Of the checkpoints the validation loss, and the accuracy where it was measured."""
    made = summary["checkpoints"]
    losses = {row["name"]: f"{row['valid_loss']:.4f}" for row in made if row["valid_loss"] is not None}
    rates = {row["name"]: words.span(measured(row["valid"])) for row in made if row["valid"]}
    n = summary["training"]["valid_rows"]
    cells = (losses.get(model, "-") for model in models)
    rows: list[Row] = [["validation loss (nats per token)", n, *cells]]
    if rates:
        n = summary["splits"]["valid"]
        rows.append(["full answer, validation questions", n, *(rates.get(model, "-") for model in models)])
    return rows


def _task(task: Json, models: Sequence[str]) -> Row:
    rates = [task["models"].get(model) for model in models]
    n = max((rate["n"] for rate in rates if rate), default=0)
    sign = "+" if task["task"] in ("gap", "did") else ""

    def cell(rate: Json | None) -> str:
        if rate is None:
            return "-"
        return words.span(rate, sign=sign) + (f", n = {rate['n']:,}" if rate["n"] != n else "")

    return [words.task_label(task), n, *map(cell, rates)]


def _steps(summary: Json, models: Sequence[str]) -> Row:
    """Each model against the previous one, by the headline protocol."""
    pairs = {(pair["left"], pair["right"]): pair for pair in summary["comparisons"]["pairs"]}
    found = [pairs.get(step) for step in pairwise(models)]
    n = max((pair["n"] for pair in found if pair), default=0)
    label = f"{protocol_label(summary['comparisons']['protocol'])} against the previous model"
    return [label, n, "-", *(words.change(pair) if pair else "-" for pair in found)]


def _robustness_table(summary: Json) -> list[str]:
    """Letters and calibration of the headline protocol and of the letter; rotations."""
    circular = summary["circular"]
    rows = []
    for name in dict.fromkeys((summary["mcq"]["protocol"], "letter")):
        both = [part[name] for part in summary["robustness"].values() if name in part]
        if len(both) == len(SIDES):
            rows += _letters(protocol_label(name), both)
    if circular:
        rows += _rotations(circular)
    lines = table(["measure[^mcq]", "n", "base", "tuned"], rows)
    if not circular:
        why = f"evaluate.rotations 1, {words.NEITHER}, or an option that refers to others in every question"
        return [*lines, "", f"Rotated options: not run ({why})."]
    if circular["pinned"]:
        lines += ["", f"Left out of the rotations, as an option refers to others: {circular['pinned']:,}."]
    return lines


def _letters(label: str, both: Sequence[Json]) -> list[Row]:
    n = both[-1]["n"]
    recalls = [
        ", ".join(f"{letter} {100 * part['value']:.0f}" for letter, part in side["recall"].items() if part)
        for side in both
    ]
    spreads = [f"{words.span(side['rstd'])}, {words.p_value(side['equal_p'])}" for side in both]
    rows: list[Row] = [
        [f"{label}: recall by letter (%)", n, *recalls],
        [f"{label}: RStd (points), p of equal recalls", n, *spreads],
    ]
    known = [side["calibration"] for side in both]
    if all(known):
        rows += [
            [f"{label}: ECE (points)", n, *(words.span(part["ece"]) for part in known)],
            [f"{label}: Brier (0 to 2)", n, *(words.span(part["brier"], 1, 3) for part in known)],
        ]
    return rows


def _rotations(circular: Json) -> list[Row]:
    rows: list[Row] = []
    for name, part in circular["protocols"].items():
        label, both = protocol_label(name), [part[side] for side in SIDES]
        asked = part[TUNED]["questions"]
        errors = [f"{words.accuracy(side)}, s.e. {100 * side['standard_error']:.1f}" for side in both]
        whole = [words.percent(side["all_right"]) for side in both]
        rows += [
            [f"{label}: accuracy over all rotations (%)", words.questions(part[TUNED]), *errors],
            [f"{label}: right in all rotations (%)", asked, *whole],
        ]
    return rows


def _leak_table(summary: Json) -> list[str]:
    """Honest score, the recipe's, their gap and what of it is beyond the base's, by model."""
    found = summary["leak"]
    rows = []
    for model, part in found["models"].items():
        name = f"{model} (tuned)" if model == summary["tuned"] else model
        both = (part["honest"], part["recipe"])
        scores = [f"{words.percent(rate)}, n = {rate['n']:,}" if rate else "not measured" for rate in both]
        gaps = (part["gap"], part["did"])
        points = (f"{words.span(gap, sign='+')}, n = {gap['n']:,}" if gap else "-" for gap in gaps)
        rows.append([name, *scores, *points])
    heads = ["unseen questions", "training questions again", "gap (points)", "beyond the base's gap"]
    lines = table([f"{protocol_label(found['protocol'])}[^all]", *heads], rows)
    return lines if found["gap"] else [*lines, "", words.no_gap(summary)]


def _squad_table(scores: Json) -> list[str]:
    """Both scorers' metrics of base and tuned, and what was kept."""
    rows = [_metric(scores, scorer, metric) for scorer in SCORERS for metric in METRICS]
    heads = ["base", "tuned", "difference", "of the base's", f"sure of {100 * KEPT:.0f} %", "verdict"]
    lines = table(["score[^squad]", "n", *heads], rows)
    if "of" in scores:
        whole = f"{scores['of']:,} questions (official)"
        first = f"{scores['of_first']:,} first questions of a paragraph (MindFormers)"
        lines += ["", f"Drawn from {whole} and {first}, by article."]
    return lines


def _metric(scores: Json, scorer: str, metric: str) -> Row:
    both = [scores[side] for side in SIDES]
    n = next((side[scorer]["n"] for side in both if side), 0)
    found = [side and score(side[scorer], metric) for side in both]
    cells = [words.span(part, 1) if part else "not measured" for part in found]
    change = scores["difference"] and scores["difference"][scorer][metric]
    points = words.points(change, 1) if change else "-"
    kept = scores["retained"] and scores["retained"][scorer][metric]
    verdict = ["-", "-", "-"]
    if kept:
        verdict = [words.kept_share(kept), words.confidence(kept), words.VERDICTS[kept["verdict"]]]
    return [f"SQuAD {words.score(scorer, metric)}", n, *cells, points, *verdict]


def _made(summary: Json) -> list[Row]:
    questions, training, parameters = summary["questions"], summary["training"], summary["parameters"]
    dropped = questions["dropped"]
    reasons = ", ".join(f"{reason} {n:,}" for reason, n in dropped.items() if n)
    read = f"{questions['read']:,} read, {questions['kept']:,} kept, {sum(dropped.values()):,} dropped"
    trainable = f"{parameters['trainable']:,} of {parameters['total']:,} ({100 * parameters['ratio']:.3f} %)"
    steps = f"{training['steps']:,} steps, {training['workers']} worker(s), {training['tokens']:,} tokens"
    useful = f"{100 * training['useful_token_fraction']:.1f} % of the positions useful"
    seconds = ", ".join(f"{stage} {value:,.1f}" for stage, value in summary["seconds"].items())
    return [
        ["recipe", summary["recipe"]],
        ["questions[^data]", f"{read} ({reasons})" if reasons else read],
        ["records[^data]", ", ".join(f"{name} {n:,}" for name, n in summary["splits"].items())],
        *(["mixed in[^mix]", _mixed(one)] for one in summary["mix"]),
        ["trainable parameters[^train]", trainable],
        ["training[^train]", f"{steps}, {useful}"],
        ["seconds", seconds or "not recorded"],
    ]


def _mixed(one: Json) -> str:
    """A file that is mixed in, see `packing.mixed`."""
    shares = [f"{100 * one[key]:.1f} %" for key in ("share", "share_of_ids")]
    long = f", {one['long']:,} of them longer than a row" if one["long"] else ""
    records = f"{one['documents']:,} records of {plain(one['file'])}{long}"
    return f"{records}: {shares[0]} of all training records, {shares[1]} of their ids"


def _footnotes(summary: Json) -> Iterator[list[str]]:
    """Which files each number comes from, with their hashes."""
    inputs = summary["inputs"]
    compared = {f"evaluation/{model}/" for model in (BASE, summary["tuned"])}
    asked = [name for name in inputs if name.endswith("/mcq.json")]
    groups = {
        "mcq": [*(name for name in asked if name[:-8] in compared), "groups.json"],
        "squad": [name for name in inputs if name.endswith("/squad.json") and name[:-10] in compared],
        "all": [*(name for name in inputs if name.startswith("evaluation/")), "groups.json"],
        "leak": [*asked, "leakage.json", "groups.json"],
        "contest": [f"evaluation/{summary['tuned']}/mcq.json", "groups.json", "training/training.json"],
        "train": ["training/training.json"],
        "data": ["ledger.json", "leakage.json"],
    } | ({"mix": ["packing.json"]} if summary["mix"] else {})
    for mark, names in groups.items():
        known = [f"{name} `{inputs[name][: words.HASH]}`" for name in names if name in inputs]
        made = ", ".join(known) or "files whose hashes were not given"
        yield [f"[^{mark}]: Made from (SHA-256) {made}."]


def _image(figures: Mapping[str, str], key: str, title: str) -> list[str]:
    return [f"![{title}]({figures[key]})"] if key in figures else []
