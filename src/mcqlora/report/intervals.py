"""Intervals and paired tests for scores of two models on the same questions.

Scores are floats in 0..1 (for accuracy 0 or 1), one an item. `clusters` names what an item belongs to (the
question of a permutation, the paragraph of a SQuAD question): items of one cluster are not independent,
clusters are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mcqlora import hashing

Clusters = Sequence[Hashable]
Statistic = Callable[[np.ndarray], np.ndarray]

RESAMPLES = 9_999  # scipy's default


def wilson(correct: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of the proportion `correct / n`, as fractions; (0, 1) when n is 0.

    `correct` and `n` may be fractional (an effective sample size).
    Source: Wilson 1927, https://doi.org/10.2307/2276774; statsmodels' `proportion_confint`.
    """
    from statsmodels.stats.proportion import proportion_confint

    if n == 0:
        return 0.0, 1.0
    low, high = proportion_confint(correct, n, alpha=1 - confidence, method="wilson")
    return max(0.0, float(low)), min(1.0, float(high))


def interval(
    values: ArrayLike, clusters: Clusters | None = None, confidence: float = 0.95
) -> tuple[float, float]:
    """Wilson interval of the mean of `values` (each in 0..1) at the effective sample size n / design effect.

    The design effect is the squared ratio of the clustered to the plain standard error, never below 1; where
    the values don't vary it can't be told, and the number of clusters counts as n. Without clusters, and for
    0/1 values, it is `wilson`. For values between 0 and 1, as F1, it is too wide rather than too narrow, for
    their variance is at most p(1 - p).
    Source: Franco et al. 2019, https://pmc.ncbi.nlm.nih.gov/articles/PMC6690503 (Wilson at the effective
    sample size).
    """
    values = np.asarray(values, dtype=float)
    n = len(values)
    if n == 0:
        return 0.0, 1.0
    mean = float(values.mean())
    effective = float(n)
    if clusters is not None and len(set(clusters)) < n:
        # Both errors divide by n, so the plain one is that of one cluster an item.
        plain = clustered_standard_error(values, range(n))
        if plain > 0:
            effective = n / max(1.0, (clustered_standard_error(values, clusters) / plain) ** 2)
        else:
            effective = float(len(set(clusters)))
    return wilson(mean * effective, effective, confidence)


def clustered_standard_error(values: ArrayLike, clusters: Clusters) -> float:
    """Standard error of the mean of `values` when only clusters are independent; 0 when nothing varies.

    sqrt(sum over clusters of (sum of the cluster's deviations from the mean)^2) / n.
    Source: Miller 2024, https://arxiv.org/abs/2411.00640 (clustered standard errors); the same as OLS on a
    constant with the cluster-robust covariance of Liang and Zeger 1986 (no small-sample correction).

    Raises:
        ValueError: `values` is empty or differs in length from `clusters`.
    """
    values = np.asarray(values, dtype=float)
    if len(values) == 0 or len(values) != len(clusters):
        raise ValueError(
            f"{len(values)} values in {len(clusters)} clusters; both need the same length, 1 or more"
        )
    sums = cluster_sums([values - values.mean()], clusters)
    return float(np.sqrt(np.sum(sums**2)) / len(values))


def mcnemar_exact(base_correct: ArrayLike, tuned_correct: ArrayLike) -> float:
    """Two-sided exact p of "neither model is right more often", from the pairs where just one is right.

    1 where there is no such pair.
    Shares of a question's permutations answered right may stand in for 0/1: it is then the sign test over
    questions.
    Source: McNemar 1947, https://doi.org/10.1007/BF02295996, with the exact binomial.

    Raises:
        ValueError: the arrays differ in length.
    """
    from statsmodels.stats.contingency_tables import mcnemar

    base, tuned = np.asarray(base_correct, dtype=float), np.asarray(tuned_correct, dtype=float)
    if base.shape != tuned.shape:
        raise ValueError(f"{base.shape} base and {tuned.shape} tuned results; they must be pairs")
    table = [[0, int(np.sum(base > tuned))], [int(np.sum(tuned > base)), 0]]
    return float(mcnemar(table, exact=True).pvalue)


def bootstrap(table: ArrayLike, statistic: Statistic, seed: int, resamples: int = RESAMPLES) -> np.ndarray:
    """Bootstrap distribution of a statistic of column sums, resampling rows (the independent units).

    Args:
        table: float [units, columns]; of each unit what it adds to every column.
        statistic: column sums [..., columns] -> values [...], or [k, ...] for k values at once.
        seed: the same seed gives the same distribution, whatever the order of the rows.

    Returns:
        float [resamples] or [k, resamples]; of a single unit its own value, once.

    Source: `scipy.stats.bootstrap`; Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.

    Raises:
        ValueError: the table has no rows.
    """
    from scipy import stats

    table = np.asarray(table, dtype=float)
    units = len(table)
    if units == 0:
        raise ValueError("nothing to resample")
    if units == 1:
        return statistic(table)
    table = table[np.lexsort(table.T)]

    def of(rows: np.ndarray, axis: int) -> np.ndarray:
        # How often each row was drawn, times the table: many columns at the cost of one pass over the draws.
        flat = rows.reshape(-1, units)
        offsets = units * np.arange(len(flat))[:, None]
        counts = np.bincount((flat + offsets).ravel(), minlength=flat.size).reshape(flat.shape)
        return statistic((counts @ table).reshape(*rows.shape[:-1], table.shape[1]))

    return stats.bootstrap(
        (np.arange(units),),
        of,
        vectorized=True,
        axis=-1,
        n_resamples=resamples,
        batch=max(1, 1_000_000 // units),  # bounds the memory
        method="percentile",
        rng=hashing.rng(seed, "bootstrap"),
    ).bootstrap_distribution


def percentiles(distribution: ArrayLike, confidence: float = 0.95) -> tuple[float, float]:
    """Ends of the percentile interval of a bootstrap distribution; NaN where a resample has no value."""
    low, high = np.quantile(distribution, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def paired_bootstrap(
    diff: ArrayLike,
    seed: int,
    clusters: Clusters | None = None,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of `diff` (tuned - base an item, in -1..1), resampling whole
    clusters.

    The order of the items doesn't matter; the same seed gives the same interval. Where all differences are
    equal resampling can't tell how rare others are: the interval is then as far from the mean as Wilson's of
    0 in as many clusters.

    Raises:
        ValueError: `diff` is empty.
    """
    diff = np.asarray(diff, dtype=float)
    if len(diff) == 0:
        raise ValueError("no differences to resample")
    table = cluster_sums([diff, np.ones(len(diff))], clusters)
    if np.ptp(diff) == 0:
        rare = wilson(0, len(table), confidence)[1]
        return max(-1.0, float(diff[0]) - rare), min(1.0, float(diff[0]) + rare)
    return percentiles(
        bootstrap(table, lambda sums: sums[..., 0] / sums[..., 1], seed, resamples), confidence
    )


def kept_share(
    base: ArrayLike,
    tuned: ArrayLike,
    seed: int,
    clusters: Clusters | None = None,
    share: float = 0.9,
    confidence: float = 0.95,
) -> dict[str, Any]:
    """Did tuning keep at least `share` of the base's score? A one-sided paired bootstrap of tuned / base.

    `confidence` of the result is 1 - (1 + resamples whose ratio is below `share`) / (1 + resamples), but at
    most 1 - share^k, k being the clusters with any base score: all of few may be kept by chance, which
    resampling can't tell. The verdict is "kept" where it reaches the asked confidence (so never on fewer than
    29), "lost" where the opposite does, else "undecided"; "untestable" when the base scores nothing.

    Returns:
        `{"share", "value" (the ratio), "low", "high" (two-sided), "lower" (one-sided bound), "confidence",
        "verdict", "n", "clusters"}`; a bound is None where a resample has no ratio.

    Source: Efron and Tibshirani 1993, chapter 13 (percentile bound); Davison and Hinkley 1997, section 4.4
    (the added ones).

    Raises:
        ValueError: the arrays are empty or differ in length.
    """
    base, tuned = np.asarray(base, dtype=float), np.asarray(tuned, dtype=float)
    if len(base) == 0 or base.shape != tuned.shape:
        raise ValueError(f"{base.shape} base and {tuned.shape} tuned scores; they must be pairs, 1 or more")
    table = cluster_sums([base, tuned], clusters)
    result: dict[str, Any] = {"share": share, "n": len(base), "clusters": len(table)}
    if base.sum() == 0:
        nothing = dict.fromkeys(("value", "low", "high", "lower", "confidence"))
        return result | nothing | {"verdict": "untestable"}
    sums = bootstrap(table, lambda sums: np.moveaxis(sums, -1, 0), seed)
    reached = int(np.sum(sums[1] >= share * sums[0] - 1e-9))
    resamples = sums.shape[1]
    scoring = int(np.sum(table[:, 0] > 0))
    sure = min(1 - (1 + resamples - reached) / (1 + resamples), 1 - share**scoring)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = sums[1] / sums[0]
        bounds = (*percentiles(ratios, confidence), float(np.quantile(ratios, 1 - confidence)))
    if bounds[0] == bounds[1]:
        # Nothing varies: as far down as a loss may be that none of so many clusters shows.
        low, lower = (bounds[0] * part ** (1 / scoring) for part in ((1 - confidence) / 2, 1 - confidence))
        bounds = (low, bounds[1], lower)
    verdict = "undecided"
    if sure >= confidence:
        verdict = "kept"
    elif (1 + reached) / (1 + resamples) <= 1 - confidence:
        verdict = "lost"
    named = {
        key: value if math.isfinite(value) else None
        for key, value in zip(("low", "high", "lower"), bounds, strict=True)
    }
    return (
        result | {"value": float(tuned.sum() / base.sum())} | named | {"confidence": sure, "verdict": verdict}
    )


def independent_difference(
    first: tuple[float, float, float], second: tuple[float, float, float]
) -> tuple[float, float, float]:
    """(value, low, high) of first - second from two independent rates, each (value, low, high).

    Newcombe's hybrid score interval when the given intervals are Wilson's.
    Source: Newcombe 1998, method 10, https://pubmed.ncbi.nlm.nih.gov/9595617; statsmodels'
    `confint_proportions_2indep(method="newcomb")`.
    """
    (a, a_low, a_high), (b, b_low, b_high) = first, second
    value = a - b
    return value, value - math.hypot(a - a_low, b_high - b), value + math.hypot(a_high - a, b - b_low)


def macro(
    values: ArrayLike, strata: Sequence[Hashable], confidence: float = 0.95
) -> tuple[float, float, float]:
    """(mean, low, high) of the unweighted mean over strata (categories) of the mean of 0/1 `values` in each.

    Wilson's interval at the effective sample size p (1 - p) / V, V the stratified variance
    sum over strata of s^2 / n, divided by the number of strata squared, with s^2 of the n - 1 kind; a stratum
    of one item counts with the variance of all.
    Source: Cochran 1977, Sampling Techniques, section 5.3.

    Raises:
        ValueError: `values` is empty or differs in length from `strata`.
    """
    values = np.asarray(values, dtype=float)
    if len(values) == 0 or len(values) != len(strata):
        raise ValueError(
            f"{len(values)} values in {len(strata)} strata; both need the same length, 1 or more"
        )
    table = cluster_sums([values, values**2, np.ones(len(values))], strata)
    total, squares, n = table.T
    means = total / n
    spread = np.where(n > 1, (squares - n * means**2) / np.maximum(n - 1, 1), values.var())
    mean, variance = float(means.mean()), float(np.sum(np.maximum(spread, 0) / n) / len(n) ** 2)
    effective = mean * (1 - mean) / variance if variance > 0 else float(len(values))
    return mean, *wilson(mean * effective, effective, confidence)


def holm(pvalues: ArrayLike) -> list[float]:
    """P values adjusted for their number by Holm's step-down method, in the given order.

    Source: Holm 1979, https://www.jstor.org/stable/4615733; statsmodels' `multipletests`.
    """
    from statsmodels.stats.multitest import multipletests

    pvalues = np.asarray(pvalues, dtype=float)
    return [] if len(pvalues) == 0 else multipletests(pvalues, method="holm")[1].tolist()


def minimum_detectable_difference(standard_error: float, power: float = 0.8, alpha: float = 0.05) -> float:
    """Smallest difference that a two-sided test finds with `power`: (z(1 - alpha/2) + z(power)) times the
    standard error of the difference.

    That error is `clustered_standard_error` of the differences for paired results, sqrt(2 p (1 - p) / n) for
    two independent accuracies near p.
    Source: Miller 2024, https://arxiv.org/abs/2411.00640, section 5 (power analysis).
    """
    from scipy.stats import norm

    return float((norm.ppf(1 - alpha / 2) + norm.ppf(power)) * standard_error)


def cluster_sums(columns: Sequence[ArrayLike], clusters: Clusters | None = None) -> np.ndarray:
    """float [clusters, columns]: each column ([items]) summed by cluster, in order of first appearance.

    Without clusters each item is its own.
    """
    columns = [np.asarray(column, dtype=float) for column in columns]
    number: dict[Hashable, int] = {}
    keys = range(len(columns[0])) if clusters is None else clusters
    codes = np.array([number.setdefault(key, len(number)) for key in keys], dtype=np.intp)
    return np.stack([np.bincount(codes, weights=column, minlength=1) for column in columns], axis=1)
