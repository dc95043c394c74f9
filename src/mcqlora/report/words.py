"""Words and numbers of summary.json as the page and the figures write them: labels, value, interval, p."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcqlora.evaluate.protocols import label
from mcqlora.report.schema import measured

HASH = 12  # hexadecimal digits of a SHA-256 that are shown

TASKS = {
    "mcq": "{}",
    "circular": "{}, all rotations",
    "all_right": "{}, right in all rotations",
    "recipe": "{}, training questions again",
    "gap": "{}, leak gap",
    "did": "{}, leak gap beyond the base's",
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
    """How many items, and how many questions or clusters where these are fewer."""
    items, questions, clusters = rate["n"], rate["questions"], rate["clusters"]
    told = [f"{questions:,} questions"] if questions < items else []
    told += [f"{clusters:,} clusters"] if clusters < questions else []
    return f"{items:,} ({', '.join(told)})" if told else f"{items:,}"


def leak(did: Numbers) -> str:
    """What the difference of the differences says, without a full stop."""
    gained, n = "Training questions, re-ordered, gained", f"n = {did['n']:,}"
    if did["low"] > 0:
        return f"{gained} {span(did)} points more than unseen ones ({n}): what testing on them would add"
    signed = f"{span(did, sign='+')} points ({n})"
    if did["high"] < 0:
        return f"{gained} less than unseen ones, {signed}: testing on them would add nothing"
    minus = f"their gain, re-ordered, minus the gain on unseen ones is {signed}"
    return f"What testing on training questions would add is not shown: {minus}"


def span(estimate: Numbers, scale: float = 100.0, digits: int = 1, sign: str = "", unit: str = "") -> str:
    value, low, high = (f"{scale * estimate[key]:{sign}.{digits}f}" for key in ("value", "low", "high"))
    return f"{value}{unit} [{low}, {high}]"


def chance(found: Numbers) -> str:
    """What guessing scores, with as many digits as it needs: 25 %, 33.6 %."""
    return f"{100 * found['chance']:.3g} %"


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
