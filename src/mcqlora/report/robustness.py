"""Letter bias, calibration and circular evaluation: does a letter decide, and is confidence deserved?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from mcqlora.data.questions import LETTERS
from mcqlora.files import Json
from mcqlora.report import intervals
from mcqlora.report.comparison import pairs, rate, tested
from mcqlora.report.intervals import Array
from mcqlora.report.schema import BASE, TUNED, Items, estimate, measured, options, rotated

BINS = 10  # of equal width on 0..1


def by_protocol(scores: Json) -> dict[str, Json]:
    """Letters of every protocol; calibration where the scores are likelihoods, not such per character."""
    asked = {name: part["items"] for name, part in scores["protocols"].items() if part["items"]}
    return {
        name: letters(items) | {"calibration": None if name.endswith("_norm") else calibration(items)}
        for name, items in asked.items()
    }


def letters(items: Items) -> Json:
    """Confusion matrix of the letters, recall of each, and RStd, the standard deviation of the recalls.

    The matrix is right letter -> chosen letter or "none" -> items. The intervals are Wilson's, and for RStd
    the bootstrap's over clusters. RStd divides by the number of letters that are gold anywhere, and noise
    alone lifts it above 0. So equal_p is the p of equal recalls, by Pearson's chi-squared test of the
    effective numbers.

    Questions with fewer options are easier to guess, and have the first letters alone. So letters are only
    compared within questions with as many options: RStd is the root of the variances' mean, weighted by
    items, and the test adds up the statistics and their degrees of freedom.
    Source: Zheng et al. 2024, https://arxiv.org/abs/2309.03882 (RStd); Rao and Scott 1992,
    https://doi.org/10.2307/2532311 (the test).

    Raises:
        ValueError: there are no items.
    """
    most = LETTERS[: max(map(options, items))]
    confusion = {gold: dict.fromkeys((*most, "none"), 0) for gold in most}
    for item in items:
        confusion[item["gold"]][item["choice"] or "none"] += 1
    asked = {letter: [item for item in items if item["gold"] == letter] for letter in most}
    recall = {letter: measured(rate(part)) if part else None for letter, part in asked.items()}
    kinds = sorted(set(map(options, items)))
    alike = np.array([[options(item) == k] for item in items for k in kinds]).reshape(len(items), -1)
    gold = np.hstack([_gold(items, k) * alike[:, [i]] for i, k in enumerate(kinds)])
    right = gold * np.array([[bool(item["correct"])] for item in items], dtype=float)
    table = intervals.cluster_sums([*gold.T, *right.T], [item["cluster"] for item in items])
    return {
        "n": len(items),
        "clusters": len(table),
        "confusion": confusion,
        "recall": recall,
        "rstd": _measure(table, partial(_rstd, kinds), len(items)),
        "equal_p": _equal_p([[item for item in items if options(item) == k] for k in kinds]),
    }


def _effective(items: Items) -> tuple[float, float]:
    """How many are right, and how many there are, in effective numbers."""
    right = [float(item["correct"]) for item in items]
    size = intervals.effective_size(right, [item["cluster"] for item in items])
    return size * (sum(right) / len(right)), size


def _gold(items: Items, letters: int) -> Array:
    """float64 [items, letters]: 1 at the right letter."""
    return np.array([[item["gold"] == letter for letter in LETTERS[:letters]] for item in items], dtype=float)


def _equal_p(kinds: Sequence[Items]) -> float:
    """p of "every letter has the same recall" among the items of each kind; 1 where nothing varies."""
    from scipy.stats import chi2, chi2_contingency

    statistic, freedom = 0.0, 0
    for items in kinds:
        letters = sorted({item["gold"] for item in items})
        rates = (_effective([item for item in items if item["gold"] == letter]) for letter in letters)
        table = np.array([(right, n - right) for right, n in rates])
        if len(table) > 1 and table.sum(axis=0).all():
            found = chi2_contingency(table)
            statistic, freedom = statistic + found.statistic, freedom + found.dof
    return float(chi2.sf(statistic, freedom)) if freedom else 1.0


def _rstd(kinds: Sequence[int], sums: Array) -> Array:
    """Of the sums of gold and of right items, each by kind (number of options) and letter."""
    both = (np.split(half, np.cumsum(kinds)[:-1], axis=-1) for half in np.split(sums, 2, axis=-1))
    variance = np.zeros(sums.shape[:-1])
    n = sums[..., : sum(kinds)].sum(axis=-1)
    for gold, right in zip(*both, strict=True):
        asked = gold > 0
        letters = np.maximum(1, asked.sum(axis=-1))
        recall = right / np.where(asked, gold, 1)
        mean = recall.sum(axis=-1) / letters
        squares = asked * (recall - mean[..., None]) ** 2
        variance += gold.sum(axis=-1) / n * (squares.sum(axis=-1) / letters)
    return np.sqrt(variance)


def probabilities(items: Items) -> Array:
    """float64 [items, most options of one]: softmax of each item's scores, 0 where it has no option."""
    scores = np.full((len(items), max(map(options, items))), -np.inf)
    for row, item in zip(scores, items, strict=True):
        row[: options(item)] = item["scores"]
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def calibration(items: Items) -> Json | None:
    """Expected calibration error, Brier score and the bins of a reliability plot; None without scores.

    The model's probability of a letter is the softmax of the item's scores, its confidence the largest.
    ECE: sum over `BINS` bins of equal width, each (low edge, high edge], of n_bin / n |accuracy - mean
    confidence|. Brier: mean of the sum over the letters of (probability - 1 if gold else 0)^2, in 0..2;
    1 - 1/k if each of k letters gets an equal share. The intervals of both are the bootstrap's over clusters.
    ECE of few items is biased upwards, its interval too. Only bins that hold items are listed.
    Source: Guo et al. 2017, https://arxiv.org/abs/1706.04599 (ECE); Brier 1950,
    https://doi.org/10.1175/1520-0493(1950)078%3C0001:VOFEIT%3E2.0.CO;2.
    """
    if not items or any("scores" not in item for item in items):
        return None
    chances = probabilities(items)
    gold = _gold(items, chances.shape[1])
    correct = np.array([bool(item["correct"]) for item in items], dtype=float)
    confidence = chances.max(axis=1)
    place = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    inside = place[:, None] == np.arange(BINS)
    off = inside * (correct - confidence)[:, None]
    squares = ((chances - gold) ** 2).sum(axis=1)
    table = intervals.cluster_sums(
        [np.ones(len(items)), squares, *off.T], [item["cluster"] for item in items]
    )
    bins = []
    for i in np.flatnonzero(inside.any(axis=0)).tolist():
        found = rate([item for item, here in zip(items, inside[:, i], strict=True) if here])
        known = {key: found[key] for key in ("n", "clusters", "accuracy", "low", "high")}
        edges = {"low_edge": i / BINS, "high_edge": (i + 1) / BINS}
        bins.append(edges | {"confidence": float(confidence[inside[:, i]].mean())} | known)
    return {
        "n": len(items),
        "clusters": len(table),
        "ece": _measure(table, lambda sums: np.abs(sums[..., 2:]).sum(axis=-1) / sums[..., 0], len(items)),
        "brier": _measure(table, lambda sums: sums[..., 1] / sums[..., 0], len(items)),
        "bins": bins,
    }


def rotations(sides: Mapping[str, Json], model: str) -> Json | None:
    """All rotations of the options, by the protocols that were rotated; None if none was.

    "pinned" questions were left out, as an option refers to others. `model` names tuned in messages.
    """
    given = sides[TUNED]["circular"]
    if not given or not sides[BASE]["circular"]:
        return None
    base, tuned = rotated(sides[BASE]), rotated(sides[TUNED])
    parts = {}
    for name in tuned:
        both = pairs(base[name], tuned[name], f"{model}/mcq.json, circular {name}")
        parts[name] = {"base": circular(base[name]), "tuned": circular(tuned[name]), **tested(both)}
    return {"questions": given["questions"], "pinned": given["pinned"], "protocols": parts}


def circular(items: Items) -> Json:
    """Accuracy over all rotations of the options, and the share of questions right in every one of them.

    A rate with its clustered "standard_error", and "all_right", measured, with "correct".
    Source: Liu et al. 2023, https://arxiv.org/abs/2307.06281 (CircularEval).

    Raises:
        ValueError: there are no items.
    """
    correct, clusters = [bool(item["correct"]) for item in items], [item["cluster"] for item in items]
    found = rate(items) | {"standard_error": intervals.clustered_standard_error(correct, clusters)}
    whole: dict[str, dict[str, Any]] = {}
    for item in items:
        question = whole.setdefault(item["id"], {**item, "correct": True})
        question["correct"] &= bool(item["correct"])
    always = rate(list(whole.values()))
    return found | {"all_right": {"correct": always["correct"]} | measured(always)}


def _measure(table: Array, statistic: intervals.Statistic, n: int) -> Json:
    """A statistic of column sums and its bootstrap interval, widened to the value where noise lifts it."""
    value = float(statistic(table.sum(axis=0)))
    low, high = intervals.percentiles(intervals.bootstrap(table, statistic))
    return estimate(n, len(table), value, (min(low, value), max(high, value)))
