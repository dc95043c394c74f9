"""Does a letter decide, and does the model know what it knows? Letter bias, calibration, circular evaluation.

Items are those of mcq.json: `{"id", "gold", "choice": "A".."D" | None, "correct", "scores"?: [4 floats]}`,
scores being natural log-likelihoods. A letter is that of the order shown to the model.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mcqlora.report import intervals

LETTERS = "ABCD"
BINS = 10  # of equal width on 0..1

Items = Sequence[Mapping[str, Any]]


def letters(items: Items, seed: int) -> dict[str, Any]:
    """Confusion matrix of the letters, recall of each, and RStd, the standard deviation of the recalls.

    Returns:
        `{"n", "confusion": {gold: {"A".."D", "none": count}}, "recall": {letter: rate | None},
        "rstd": {"n", "value", "low", "high"}, "equal_p": float}`, a rate being like rstd. Fractions; low and
        high are the ends of 95 % intervals (Wilson's, and for RStd the bootstrap's over questions). RStd
        divides by the number of letters that are gold anywhere, and noise alone lifts it above 0: equal_p is
        the p of equal recalls, by Pearson's chi-squared test (items taken as independent).

    Source: Zheng et al. 2024, https://arxiv.org/abs/2309.03882 (RStd).

    Raises:
        ValueError: there are no items.
    """
    confusion = {gold: dict.fromkeys((*LETTERS, "none"), 0) for gold in LETTERS}
    for item in items:
        confusion[item["gold"]][item["choice"] or "none"] += 1
    recall = {}
    for letter, row in confusion.items():
        n = sum(row.values())
        ends = dict(zip(("low", "high"), intervals.wilson(row[letter], n), strict=True))
        recall[letter] = {"n": n, "value": row[letter] / n} | ends if n else None
    gold = np.array([[item["gold"] == letter for letter in LETTERS] for item in items], dtype=float)
    right = gold * np.array([[bool(item["correct"])] for item in items], dtype=float)
    table = intervals.cluster_sums([*gold.T, *right.T], [item["id"] for item in items])
    rstd = _measure(table, _rstd, len(items), seed)
    equal = _equal_p([(row[letter], sum(row.values())) for letter, row in confusion.items()])
    return {"n": len(items), "confusion": confusion, "recall": recall, "rstd": rstd, "equal_p": equal}


def _equal_p(rates: Sequence[tuple[int, int]]) -> float:
    """p of "every letter has the same recall", by Pearson's chi-squared test; 1 where nothing varies."""
    from scipy.stats import chi2_contingency

    table = np.array([(right, n - right) for right, n in rates if n])
    return float(chi2_contingency(table).pvalue) if len(table) > 1 and table.sum(axis=0).all() else 1.0


def _rstd(sums: np.ndarray) -> np.ndarray:
    gold, right = sums[..., : len(LETTERS)], sums[..., len(LETTERS) :]
    return np.nanstd(right / np.where(gold > 0, gold, np.nan), axis=-1)


def probabilities(items: Items) -> np.ndarray:
    """float [items, 4]: softmax of each item's four scores."""
    scores = np.array([item["scores"] for item in items], dtype=float)
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def calibration(items: Items, seed: int) -> dict[str, Any] | None:
    """Expected calibration error, Brier score and the bins of a reliability plot; None without scores.

    The model's probability of a letter is the softmax of the four scores, its confidence the largest of them.
    ECE: sum over `BINS` bins of equal width, each (low edge, high edge], of n_bin / n |accuracy - mean
    confidence|. Brier: mean of the sum over the letters of (probability - 1 if gold else 0)^2, 0..2; 0.75 for
    one who gives each letter a quarter.

    Returns:
        `{"n", "ece": {"n", "value", "low", "high"}, "brier": {...}, "bins": [{"low_edge", "high_edge", "n",
        "confidence", "accuracy", "low", "high"}, ...]}` with the bins that hold items; the intervals of ECE
        and Brier are the bootstrap's over questions (ECE of few items is biased upwards, its interval too).

    Source: Guo et al. 2017, https://arxiv.org/abs/1706.04599 (ECE); Brier 1950,
    https://doi.org/10.1175/1520-0493(1950)078%3C0001:VOFEIT%3E2.0.CO;2.
    """
    if not items or any("scores" not in item for item in items):
        return None
    chances = probabilities(items)
    gold = np.array([[item["gold"] == letter for letter in LETTERS] for item in items], dtype=float)
    correct = np.array([bool(item["correct"]) for item in items], dtype=float)
    confidence = chances.max(axis=1)
    place = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    inside = place[:, None] == np.arange(BINS)
    off = inside * (correct - confidence)[:, None]
    squares = ((chances - gold) ** 2).sum(axis=1)
    table = intervals.cluster_sums([np.ones(len(items)), squares, *off.T], [item["id"] for item in items])
    bins = []
    for i in np.flatnonzero(inside.any(axis=0)).tolist():
        n, right = int(inside[:, i].sum()), float(correct[inside[:, i]].sum())
        low, high = intervals.wilson(right, n)
        bins.append(
            {"low_edge": i / BINS, "high_edge": (i + 1) / BINS, "n": n}
            | {"confidence": float(confidence[inside[:, i]].mean()), "accuracy": right / n}
            | {"low": low, "high": high}
        )
    return {
        "n": len(items),
        "ece": _measure(
            table, lambda sums: np.abs(sums[..., 2:]).sum(axis=-1) / sums[..., 0], len(items), seed
        ),
        "brier": _measure(table, lambda sums: sums[..., 1] / sums[..., 0], len(items), seed),
        "bins": bins,
    }


def circular(items: Items) -> dict[str, Any]:
    """Accuracy over all rotations of the options, and the share of questions right in every one of them.

    Returns:
        `{"n" (items), "questions", "correct", "accuracy", "standard_error" (clustered by question), "low",
        "high", "all_right": {"n", "correct", "value", "low", "high"}}`.

    Source: Liu et al. 2023, https://arxiv.org/abs/2307.06281 (CircularEval).

    Raises:
        ValueError: there are no items.
    """
    answers: dict[str, list[bool]] = defaultdict(list)
    for item in items:
        answers[item["id"]].append(bool(item["correct"]))
    correct, questions = [bool(item["correct"]) for item in items], [item["id"] for item in items]
    error = intervals.clustered_standard_error(correct, questions)
    low, high = intervals.interval(correct, questions)
    whole = sum(all(right) for right in answers.values())
    ends = dict(zip(("low", "high"), intervals.wilson(whole, len(answers)), strict=True))
    return {
        "n": len(items),
        "questions": len(answers),
        "correct": sum(correct),
        "accuracy": sum(correct) / len(items),
        "standard_error": error,
        "low": low,
        "high": high,
        "all_right": {"n": len(answers), "correct": whole, "value": whole / len(answers)} | ends,
    }


def _measure(table: np.ndarray, statistic: intervals.Statistic, n: int, seed: int) -> dict[str, Any]:
    """A statistic of column sums and its bootstrap interval, widened to the value where noise lifts it."""
    value = float(statistic(table.sum(axis=0)))
    low, high = intervals.percentiles(intervals.bootstrap(table, statistic, seed))
    return {"n": n, "value": value, "low": min(low, value), "high": max(high, value)}
