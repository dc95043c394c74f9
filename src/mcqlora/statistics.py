"""Intervals and paired tests for scores of two models on the same questions.

Scores are floats in 0..1 (for accuracy 0 or 1), one an item. `clusters` names what an item belongs to (the
question of a permutation, the paragraph of a SQuAD question): items of one cluster are not independent,
clusters are.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from mcqlora import io

Clusters = Sequence[Hashable]


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
    sums, _ = _by_cluster(values - values.mean(), clusters)
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


def paired_bootstrap(
    diff: ArrayLike,
    seed: int,
    clusters: Clusters | None = None,
    resamples: int = 10_000,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of `diff` (tuned - base an item), resampling whole clusters.

    The order of the items doesn't matter; the same seed gives the same interval.
    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.

    Raises:
        ValueError: `diff` is empty.
    """
    diff = np.asarray(diff, dtype=float)
    if len(diff) == 0:
        raise ValueError("no differences to resample")
    sums, sizes = _by_cluster(diff, range(len(diff)) if clusters is None else clusters)
    # How often each distinct cluster is drawn is multinomial: the same distribution as drawing clusters
    # one by one, at the cost of the few distinct values (three for accuracy) instead of all the items.
    kinds, counts = np.unique(np.stack([sums, sizes], axis=1), axis=0, return_counts=True)
    generator = io.rng(seed, "paired_bootstrap")
    means = []
    for start in range(0, resamples, 500):  # bounds the memory when all values are distinct
        size = min(500, resamples - start)
        totals = generator.multinomial(len(sums), counts / len(sums), size=size) @ kinds
        means.append(totals[:, 0] / totals[:, 1])
    low, high = np.quantile(np.concatenate(means), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def holm(pvalues: ArrayLike) -> list[float]:
    """P values adjusted for their number by Holm's step-down method, in the given order.

    Source: Holm 1979, https://www.jstor.org/stable/4615733; statsmodels' `multipletests`.
    """
    from statsmodels.stats.multitest import multipletests

    pvalues = np.asarray(pvalues, dtype=float)
    return [] if len(pvalues) == 0 else multipletests(pvalues, method="holm")[1].tolist()


def minimum_detectable_difference(n: int, p: float, power: float = 0.8, alpha: float = 0.05) -> float:
    """Smallest difference of two accuracies near `p`, n questions each, that a two-sided test finds with
    `power`.

    (z(1 - alpha/2) + z(power)) sqrt(2 p (1 - p) / n): taken as unpaired, so an upper bound for models whose
    results on one question agree more often than by chance.
    Source: Miller 2024, https://arxiv.org/abs/2411.00640 (power analysis).

    Raises:
        ValueError: n < 1.
    """
    from scipy.stats import norm

    if n < 1:
        raise ValueError(f"n is {n}; it needs 1 or more")
    return float((norm.ppf(1 - alpha / 2) + norm.ppf(power)) * math.sqrt(2 * p * (1 - p) / n))


def _by_cluster(values: np.ndarray, clusters: Clusters) -> tuple[np.ndarray, np.ndarray]:
    """Sum and number of the values of each cluster, both float64, in order of first appearance."""
    number: dict[Hashable, int] = {}
    codes = np.array([number.setdefault(cluster, len(number)) for cluster in clusters], dtype=np.intp)
    return np.bincount(codes, weights=values), np.bincount(codes).astype(float)
