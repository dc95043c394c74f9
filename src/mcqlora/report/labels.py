"""Words for what summary.json names by keys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mcqlora.report.summary import BASE, TUNED

Summary = Mapping[str, Any]

PROTOCOL_WORDS = {
    "answer": "full answer",
    "letter": "letter",
    "option": "option text",
    "harness": "lm-evaluation-harness",
    "cmmlu": "CMMLU's own",
    "generation": "generation",
}
TASK_WORDS = {
    "mcq": "{}",
    "circular": "{}, all four rotations",
    "all_right": "{}, right in all four",
    "recipe": "{}, training questions again",
    "gap": "{}, leak gap",
}
NEITHER = "evaluate.protocols without answer and letter"
RULE_WORDS = {"valid_loss": "validation loss", "valid_accuracy": "validation accuracy"}
SCORER_WORDS = {"official": "official", "mindformers": "MindFormers"}
METRIC_WORDS = {"em": "EM", "f1": "F1"}
VERDICT_WORDS = {
    "kept": "kept",
    "lost": "not kept",
    "undecided": "not decided",
    "untestable": "can't be told",
}


def protocol_label(name: str) -> str:
    """A protocol's name in words: "harness_5shot" is "lm-evaluation-harness, 5-shot"."""
    stem, norm, shots = re.fullmatch(r"(.+?)(_norm)?(?:_(\d+)shot)?", name).groups()
    return (
        PROTOCOL_WORDS.get(stem, stem)
        + (" per character" if norm else "")
        + (f", {shots}-shot" if shots else "")
    )


def task_label(task: Mapping[str, Any]) -> str:
    """A row of `summary["tasks"]` in words."""
    if task["task"] == "squad":
        return score_label(*task["detail"].split())
    return TASK_WORDS[task["task"]].format(protocol_label(task["detail"]))


def sides(summary: Summary) -> dict[str, str]:
    """Side -> model name."""
    return {BASE: BASE, TUNED: summary["tuned"]}


def calibrated(summary: Summary) -> str | None:
    """The protocol whose calibration is shown: the headline if it has one, else the first that has."""
    found = [
        name
        for name, part in summary["robustness"][TUNED].items()
        if part["calibration"] and summary["robustness"][BASE].get(name, {}).get("calibration")
    ]
    headline = summary["mcq"]["protocol"]
    return headline if headline in found else next(iter(found), None)


def no_gap(summary: Summary) -> str:
    """Why there is no leak gap."""
    if summary["leaked"]:
        return "The split itself leaks: no unseen questions were held out to compare with."
    return f"Not run: no training questions were asked again (evaluate.leak_items 0, or {NEITHER})."


def score_label(scorer: str, key: str) -> str:
    return f"SQuAD {SCORER_WORDS[scorer]} {METRIC_WORDS[key]}"


HASH = 12  # hexadecimal digits of a SHA-256 that are shown
