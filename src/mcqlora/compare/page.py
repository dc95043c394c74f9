"""compare/report.md, from compare/summary.json."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from mcqlora.compare.seeds import POWER
from mcqlora.compare.table import leaked
from mcqlora.evaluate.protocols import label
from mcqlora.files import Json
from mcqlora.report import words
from mcqlora.report.intervals import ALPHA
from mcqlora.report.markdown import Row, plain, table

SOURCES = {"run": "this run", "judged": "judged here", "samples": "another tool's answers"}
_METHODS = f"""\
Intervals are 95 %. Questions of one duplicate group are one cluster (`groups.json`), and clusters are
independent. A rate has Wilson's interval at the effective number of questions; a paired difference of two
models has the bootstrap's, which draws clusters. McNemar's p is exact and counts all signs of the clusters'
differences; Holm adjusts it over the models of the table. Where a variant has several seeds, its interval
adds what another seed would change: two-way random effects by mean squares ([Owen
2007](https://doi.org/10.1214/07-AOAS122) shows what a bootstrap would draw), Student's t at Satterthwaite's
degrees of freedom. "Questions to see it" is their number with which the difference that is there, if it is
the true one, is found with a probability of {100 * POWER:.0f} % ([Miller
2024](https://arxiv.org/abs/2411.00640))."""


def markdown(summary: Json, run: str, figures: Mapping[str, str]) -> str:
    """report.md; `figures` has paths of "accuracies" and "learning_curve", relative to it."""
    curve = summary["learning_curve"]
    blocks: list[list[str]] = [
        [f"# {run}: {len(summary['models'])} models, compared with {summary['against']}"],
        [f"- {line}" for line in verdicts(summary)],
        ["![Accuracy of all models](" + figures["accuracies"] + ")"],
        *([["## Variants"], _trained(summary)] if any(row["variant"] for row in summary["models"]) else []),
        list(_same(summary)),
        ["## All models"],
        _models(summary),
        list(_notes(summary)),
        *([["## Seeds"], _variants(summary)] if summary["variants"] else []),
        *(
            [["## Choice"], _choice(summary["choice"]), list(_not_chosen(summary["choice"]))]
            if summary["choice"]
            else []
        ),
        *(
            [["## Training rows"], [f"![Accuracy by training rows]({figures['learning_curve']})"]]
            if curve
            else []
        ),
        ["## What it took"] if _costs(summary) else [],
        _costs(summary),
        ["## Which questions changed sides"],
        _changes(summary),
        ["## How it was compared"],
        [_METHODS],
    ]
    return "\n\n".join("\n".join(lines) for lines in blocks if lines) + "\n"


def verdicts(summary: Json) -> Iterator[str]:
    """A line for each model that was tested, one for each variant with several seeds, one on the choice."""
    spread = {row["name"]: row for row in summary["variants"] if len(row["models"]) > 1}
    for row in summary["models"]:
        if row["difference"] and row["variant"] not in spread:
            yield _verdict(row, summary["against"])
    for name, row in spread.items():
        if row["difference"]:
            stamped = any(leaked(one) for one in summary["models"] if one["variant"] == name)
            yield _spread_verdict(row, summary["against"], stamped)
    if found := summary["choice"]:
        tried = f"{found['tried']} variants with {found['trainings']} models"
        share = f"{100 * found['valid'][found['chosen']]:.1f} % of the validation questions"
        scores = (
            f"{words.accuracy(found['test'])} of the test, asked once, n = {words.questions(found['test'])}"
        )
        head = f"**Chosen among {tried}: {plain(found['chosen'])}**"
        yield f"{head}, {share} right; its model {plain(found['model'])} has {scores}."


def _spread_verdict(row: Json, against: str, stamped: bool) -> str:
    difference, needed = row["difference"], row["needed"]
    head = "no difference shown"
    if difference["low"] > 0 or difference["high"] < 0:
        head = "better" if difference["value"] > 0 else "worse"
    line = (
        f"**{plain(row['name'])}: {head}**, mean of {len(row['models'])} seeds {words.percent(row['mean'])}, "
    )
    line += f"{words.points(difference)} against {plain(against)}, n = {difference['n']:,}"
    ways = [f"{needed[key]:,} {key}" for key in ("questions", "seeds") if needed[key]]
    if head.startswith("no") and ways:
        line += f"; to see so small a difference would take some {' or '.join(ways)}"
    return line + (". **LEAKED**: test questions stand in what it was trained on." if stamped else ".")


def _verdict(row: Json, against: str) -> str:
    name, both = plain(row["name"]), row["paired"]
    value, p = row["difference"]["value"], row["mcnemar_p_holm"]
    head = "no difference shown"
    if p < ALPHA and value != 0:
        head = "better" if value > 0 else "worse"
    scores = f"{words.points(row['difference'])} against {plain(against)}, {words.p_value(p)} (Holm)"
    line = f"**{name}: {head}**, {words.accuracy(row['mcq'])}, {scores}, n = {both['n']:,}"
    if both["protocol"] != row["protocol"]:
        line += f"; {plain(against)} was asked by {label(both['protocol'])}, it by {label(row['protocol'])}"
    if head.startswith("no") and row["needed"]:
        line += f"; to see so small a difference would take some {row['needed']:,} questions"
    if row["trained_on"]:
        seen = row["trained_on"]["test"]
        some = f"{seen['found']:,} of {seen['questions']:,} test questions"
        none = f"None of {seen['questions']:,} test questions was found"
        line += f". **LEAKED**: {some} stand" if leaked(row) else f". {none}"
        line += " in what it was trained on"
    return line + "."


def _trained(summary: Json) -> list[str]:
    """What each variant changes in the run's configuration, and the models that its trainings gave."""
    trained: dict[str, list[str]] = {}
    for row in summary["models"]:
        if row["variant"]:
            told = row["name"] == row["variant"] or row["name"].endswith(f"seed-{row['seed']}")
            seed = "" if told else f" (seed {row['seed']})"
            trained.setdefault(row["variant"], []).append(plain(row["name"]) + seed)
    told = {name: "nothing: the run itself" for name in trained} | {
        name: ", ".join(f"{key}: {json.dumps(value).strip(chr(34))}" for key, value in changes.items())
        for name, changes in summary["changes"].items()
    }
    rows = [
        [plain(name), plain(change), ", ".join(trained.get(name, ["-"]))] for name, change in told.items()
    ]
    return table(["variant", "differs in", "models"], rows)


def _same(summary: Json) -> Iterator[str]:
    for name, other in summary["same"].items():
        yield f"- {plain(name)} has the keys of {plain(other)}, whose training and answers are its own."


def _choice(found: Json) -> list[str]:
    rows: list[Row] = [[plain(name), f"{100 * value:.1f} %"] for name, value in found["valid"].items()]
    rows += [[plain(name), why] for name, why in found["left_out"].items()]
    return table(["variant", "right of the validation questions, mean over seeds"], rows)


def _not_chosen(found: Json) -> Iterator[str]:
    if found["left_out"]:
        yield f"{len(found['left_out'])} of the variants took no part in the choice."


def _models(summary: Json) -> list[str]:
    rows = []
    for row in summary["models"]:
        p = [words.number(row[key]) if row["difference"] else "-" for key in ("mcnemar_p", "mcnemar_p_holm")]
        difference = words.points(row["difference"]) if row["difference"] else "-"
        needed = f"{row['needed']:,}" if row["needed"] else "-"
        told = [
            plain(row["name"]) + (" **LEAKED**" if leaked(row) else ""),
            SOURCES[row["source"]],
            label(row["protocol"]),
            words.questions(row["mcq"]),
        ]
        rows.append([*told, words.accuracy(row["mcq"]), difference, *p, needed])
    heads = ["model", "from", "asked by", "n", "accuracy", f"difference to {plain(summary['against'])}"]
    return table([*heads, "McNemar p", "p (Holm)", "questions to see it"], rows)


def _notes(summary: Json) -> Iterator[str]:
    """What was left out, and accuracies without what had been seen."""
    for row in summary["models"]:
        both, own = row["paired"], row["mcq"]["questions"]
        if both and both["n"] < own and row["source"] == "run":  # samples say below what they lack
            shared = (
                f"{both['n']:,} of its {own:,} test questions" if both["n"] else "None of its test questions"
            )
            verb = "were" if both["n"] != 1 else "was"
            yield (
                f"- {plain(row['name'])}: {shared} {verb} asked of {plain(summary['against'])} too; "
                + ("the difference is on these." if both["n"] else "there is no difference to tell.")
            )
        if row["clean"]:
            clean = f"{words.accuracy(row['clean'])}, n = {words.questions(row['clean'])}"
            name = plain(row["name"])
            yield f"- {name} without the test questions that stand in its training data: {clean}."
        if counts := row["matched"]:
            left = counts["unmatched"] + counts["twice"] + counts["other_gold"]
            matched = counts["by_id"] + counts["by_text"]
            yield (
                f"- {plain(row['name'])}: {matched:,} of {counts['rows']:,} items are of test questions "
                f"({counts['by_id']:,} by id, {counts['by_text']:,} by text; {left:,} left out); "
                f"{counts['missing']:,} test questions have no item."
            )


def _variants(summary: Json) -> list[str]:
    rows: list[Row] = []
    for row in summary["variants"]:
        mean, difference, more = row["mean"], row["difference"], row["needed"]
        errors = [mean["questions_error"], mean["seeds_error"]]
        parts = ["-" if error is None else f"{100 * error:.1f}" for error in errors]
        seeds = "-" if not more or more["seeds"] is None else f"{more['seeds']:,}"
        questions = "-" if not more or more["questions"] is None else f"{more['questions']:,}"
        change = words.points(difference) if difference else "-"
        name: Row = [plain(row["name"]), len(row["models"]), f"{mean['n']:,}", words.percent(mean)]
        rows.append([*name, *parts, change, questions, seeds])
    heads = ["variant", "seeds", "n", "accuracy", "standard error, questions", "standard error, seeds"]
    return table(
        [*heads, f"difference to {plain(summary['against'])}", "questions to see it", "seeds to see it"], rows
    )


def _costs(summary: Json) -> list[str]:
    rows = []
    for row in summary["models"]:
        if cost := row["cost"]:
            hours = f"{cost['hours']:.2f}" if "hours" in cost else "-"
            memory = f"{cost['memory_gb']:.1f}" if "memory_gb" in cost else "-"
            counts = [f"{cost[key]:,.0f}" if key in cost else "-" for key in ("steps", "tokens")]
            rows.append([plain(row["name"]), *counts, hours, memory, words.accuracy(row["mcq"])])
    heads = ["model", "steps", "tokens", "hours", "memory (10^9 bytes)", "accuracy"]
    return table(heads, rows) if rows else []


def _changes(summary: Json) -> list[str]:
    rows: list[Row] = []
    for row in summary["models"]:
        if found := row["changed"]:
            far = sorted(found["categories"].items(), key=lambda one: (-sum(one[1]), one[0]))[:3]
            most = ", ".join(f"{plain(name)} +{gained} -{lost}" for name, (gained, lost) in far)
            rows.append([plain(row["name"]), len(found["gained"]), len(found["lost"]), most or "-"])
    heads = [
        "model",
        f"right, {plain(summary['against'])} wrong",
        f"wrong, {plain(summary['against'])} right",
    ]
    return table([*heads, "most in"], rows)
