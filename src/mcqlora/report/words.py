"""Words and numbers of summary.json as the page and the figures write them: labels, value, interval, p."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcqlora.evaluate.protocols import label
from mcqlora.report.schema import measured

HASH = 12  # hexadecimal digits of a SHA-256 that are shown

TASKS = {
    "mcq": "{}",
    "circular": "{}, all four rotations",
    "all_right": "{}, right in all four",
    "recipe": "{}, training questions again",
    "gap": "{}, leak gap",
}
NEITHER = "evaluate.protocols without answer and letter"
RULES = {"valid_loss": "validation loss", "valid_accuracy": "validation accuracy"}
SCORERS = {"official": "official", "mindformers": "MindFormers"}
METRICS = {"em": "EM", "f1": "F1"}
VERDICTS = {"kept": "kept", "lost": "not kept", "undecided": "not decided", "untestable": "can't be told"}

Numbers = Mapping[str, Any]  # an estimate, a rate or what holds one


def task_label(task: Numbers) -> str:
    if task["task"] == "squad":
        return f"SQuAD {score(*task['detail'].split())}"
    return TASKS[task["task"]].format(label(task["detail"]))


def score(scorer: str, metric: str) -> str:
    return f"{SCORERS[scorer]} {METRICS[metric]}"


def no_gap(summary: Numbers) -> str:
    """Why there is no leak gap."""
    if summary["leaked"]:
        return "The split itself leaks: no unseen questions were held out to compare with."
    return f"Not run: no training questions were asked again (evaluate.leak_items 0, or {NEITHER})."


def questions(rate: Numbers) -> str:
    items, questions = rate["n"], rate["questions"]
    return f"{items:,}" if items == questions else f"{items:,} ({questions:,} questions)"


def span(estimate: Numbers, scale: float = 100.0, digits: int = 1, sign: str = "", unit: str = "") -> str:
    value, low, high = (f"{scale * estimate[key]:{sign}.{digits}f}" for key in ("value", "low", "high"))
    return f"{value}{unit} [{low}, {high}]"


def percent(share: Numbers) -> str:
    return span(share, unit=" %")


def accuracy(rate: Numbers) -> str:
    return percent(measured(rate))


def points(difference: Numbers, scale: float = 100.0) -> str:
    return span(difference, scale, sign="+", unit=" points")


def change(pair: Numbers) -> str:
    return f"{span(pair['difference'], sign='+')}, {p_value(pair['mcnemar_p_holm'])} (Holm)"


def kept_share(kept: Numbers) -> str:
    """ "-" where the base scores nothing."""
    if kept["value"] is None:
        return "-"
    ends = ("-" if end is None else f"{100 * end:.0f}" for end in (kept["low"], kept["high"]))
    return f"{100 * kept['value']:.0f} % [{', '.join(ends)}]"


def confidence(kept: Numbers) -> str:
    """ "-" where the base scores nothing."""
    sure = kept["confidence"]
    if sure is None:
        return "-"
    if sure < 0.001:
        return "< 0.1 %"
    return "> 99.9 %" if sure > 0.999 else f"{100 * sure:.1f} %"


def p_value(p: float) -> str:
    return f"p {'<' if p < 0.0001 else '='} {number(p).lstrip('< ')}"


def number(p: float) -> str:
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}"
