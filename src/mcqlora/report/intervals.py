"""Intervals and paired tests for scores of two models on the same questions.

Scores are floats in 0..1 (for accuracy 0 or 1), one per item. `clusters` names what an item belongs to (see
`schema.clustered`): items of one cluster are not independent, clusters are. Where every cluster has one item,
each function gives what it would without clusters. Intervals are 95 %. The bootstrap's draws are seeded: the
same numbers give the same interval.
Where no values are given, or lists of different lengths that belong together, a function raises ValueError
unless it says what it then returns.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcqlora import hashing
from mcqlora.files import Json

Clusters = Sequence[Hashable]
Array = NDArray[np.float64]
Statistic = Callable[[Array], Array]

CONFIDENCE = 0.95
ALPHA = 0.05  # a smaller p counts as significant
SEED = 0
RESAMPLES = 9_999  # scipy's default


def wilson(correct: float, n: float) -> tuple[float, float]:
    """Wilson score interval of the proportion `correct / n`, as fractions; (0, 1) when n is 0.

    `correct` and `n` may be fractional (an effective sample size).
    Source: Wilson 1927, https://doi.org/10.2307/2276774; statsmodels' `proportion_confint`.
    """
    from statsmodels.stats.proportion import proportion_confint

    if n == 0:
        return 0.0, 1.0
    low, high = proportion_confint(correct, n, alpha=1 - CONFIDENCE, method="wilson")
    return max(0.0, float(low)), min(1.0, float(high))


def interval(values: ArrayLike, clusters: Clusters) -> tuple[float, float]:
    """Wilson interval of the mean of `values` (each in 0..1) at the effective sample size n / design effect.

    With one item per cluster and 0/1 values it is `wilson`, so (0, 1) of no values. For values between 0 and
    1, as F1, it is too wide rather than too narrow: their variance is at most p(1 - p).
    Source: Franco et al. 2019, https://pmc.ncbi.nlm.nih.gov/articles/PMC6690503.
    """
    scores = _floats(values)
    effective = effective_size(scores, clusters)
    return wilson(float(scores.mean()) * effective, effective) if effective else (0.0, 1.0)


def effective_size(values: ArrayLike, clusters: Clusters) -> float:
    """How many independent items would tell as much of the mean: n / design effect.

    The design effect is the squared ratio of the clustered to the plain standard error, never below 1. Where
    it is unknown, as the values don't vary or there is one cluster, the number of clusters counts.
    Source: Rao and Scott 1992, https://doi.org/10.2307/2532311.
    """
    scores = _floats(values)
    n, independent = len(scores), len(set(clusters))
    if independent == n:
        return float(n)
    # Both errors divide by n, so the plain one is that of one cluster per item.
    plain = clustered_standard_error(scores, range(n))
    if plain == 0 or independent == 1:
        return float(independent)
    return n / max(1.0, (clustered_standard_error(scores, clusters) / plain) ** 2)


def clustered_standard_error(values: ArrayLike, clusters: Clusters) -> float:
    """Standard error of the mean of `values` when only clusters are independent; 0 when nothing varies.

    sqrt(sum over clusters of (sum of the cluster's deviations from the mean)^2) / n.
    Source: Miller 2024, https://arxiv.org/abs/2411.00640 (clustered standard errors); the same as OLS on a
    constant with the cluster-robust covariance of Liang and Zeger 1986 (no small-sample correction).
    """
    scores = _floats(values)
    if len(scores) == 0 or len(scores) != len(clusters):
        raise ValueError(f"{len(scores)} values in {len(clusters)} clusters; they must be pairs, 1 or more")
    sums = cluster_sums([scores - scores.mean()], clusters)
    return float(np.sqrt(np.sum(sums**2)) / len(scores))


def mcnemar_exact(diff: ArrayLike, clusters: Clusters) -> float:
    """Two-sided exact p of "neither model is right more often"; `diff` (tuned - base) is -1, 0 or 1 per item.

    If the models are alike, the sum of a cluster's differences could as well have the opposite sign. p is the
    share of all choices of signs by which the total is as far from 0 as it is, or farther. With one item per
    cluster that is McNemar's exact test: the binomial one of the pairs where just one is right. 1 where no
    cluster differs.
    Source: McNemar 1947, https://doi.org/10.1007/BF02295996; Fisher 1935, The Design of Experiments, section
    21 (signs of pairs); as `scipy.stats.permutation_test(permutation_type="samples")` of the clusters' sums,
    but with all choices counted.
    """
    from scipy.stats import binom

    sums = np.rint(cluster_sums([diff], clusters)[:, 0]).astype(int)
    chances = np.ones(1)  # of k, twice which less the largest total is a total
    for size, n in zip(*np.unique(np.abs(sums[sums != 0]), return_counts=True), strict=True):
        apart = np.zeros(size * n + 1)
        apart[::size] = binom.pmf(np.arange(n + 1), n, 0.5)
        chances = np.convolve(chances, apart)
    totals = 2 * np.arange(len(chances)) - (len(chances) - 1)
    return min(1.0, float(chances[np.abs(totals) >= abs(sums.sum())].sum()))


def guessed(right: int, chances: Sequence[float], clusters: Clusters) -> float:
    """One-sided p of "all answers are guesses": how likely as many right ones are, or more.

    `chances` are 1 / number of options, one per item. Guesses of independent items are right as often as the
    Poisson-binomial distribution says. Those of a cluster may hang together in any way; they are taken to be
    right and wrong together as far as their chances allow, by which the sum spreads most. Exact, by
    convolution; with one item per cluster as `scipy.stats.poisson_binom`.
    Source: Hong 2013, https://doi.org/10.1016/j.csda.2012.10.006 (the distribution); Puccetti and Wang 2015,
    https://doi.org/10.1214/15-STS525 (comonotonic sums spread most).
    """
    inside: dict[Hashable, list[float]] = {}
    for chance, cluster in zip(chances, clusters, strict=True):
        inside.setdefault(cluster, []).append(chance)
    found = np.ones(1)  # the chance of 0, 1, 2, ... right ones
    for alike, n in Counter(tuple(sorted(own, reverse=True)) for own in inside.values()).items():
        of_one = -np.diff([1.0, *alike, 0.0])  # one uniform number is below the first j chances
        for _ in range(n.bit_length()):
            if n & 1:
                found = np.convolve(found, of_one)
            if n := n >> 1:
                of_one = np.convolve(of_one, of_one)
    return min(1.0, float(found[right:].sum()))


def bootstrap(table: ArrayLike, statistic: Statistic) -> Array:
    """Bootstrap distribution of a statistic of column sums, resampling rows (the independent units).

    Args:
        table: float64 [units, columns]: what each unit adds to every column. Their order does not matter.
        statistic: column sums [..., columns] -> values [...], or [k, ...] for k values at once.

    Returns:
        float64 [RESAMPLES] or [k, RESAMPLES]; of a single unit its own value, once.
    Source: `scipy.stats.bootstrap`; Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.
    """
    from scipy import stats

    parts = _floats(table)
    units = len(parts)
    if units == 0:
        raise ValueError("nothing to resample")
    if units == 1:
        return statistic(parts)
    parts = parts[np.lexsort(parts.T)]

    def of(rows: NDArray[np.intp], axis: int) -> Array:
        # How often each row was drawn, times the table: many columns at the cost of one pass over the draws.
        flat = rows.reshape(-1, units)
        offsets = units * np.arange(len(flat))[:, None]
        counts = np.bincount((flat + offsets).ravel(), minlength=flat.size).reshape(flat.shape)
        return statistic((counts @ parts).reshape(*rows.shape[:-1], parts.shape[1]))

    return stats.bootstrap(
        (np.arange(units),),
        of,
        vectorized=True,
        axis=-1,
        n_resamples=RESAMPLES,
        batch=max(1, 1_000_000 // units),  # bounds the memory
        method="percentile",
        rng=hashing.rng(SEED, "bootstrap"),
    ).bootstrap_distribution


def percentiles(distribution: Array) -> tuple[float, float]:
    """Ends of the percentile interval of a bootstrap distribution; NaN where a resample has no value."""
    low, high = np.quantile(distribution, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def paired_bootstrap(diff: ArrayLike, clusters: Clusters) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of `diff` (tuned - base per item, in -1..1).

    Whole clusters are resampled, and the order of the items does not matter. Where all differences are equal,
    resampling can't tell how rare others are. The interval is then as far from the mean as Wilson's of 0 in
    as many clusters.
    """
    changes = _floats(diff)
    if len(changes) == 0:
        raise ValueError("no differences to resample")
    table = cluster_sums([changes, np.ones(len(changes))], clusters)
    if np.ptp(changes) == 0:
        rare = wilson(0, len(table))[1]
        return max(-1.0, float(changes[0]) - rare), min(1.0, float(changes[0]) + rare)
    return percentiles(bootstrap(table, lambda sums: sums[..., 0] / sums[..., 1]))


def kept_share(base: ArrayLike, tuned: ArrayLike, clusters: Clusters, share: float) -> Json:
    """Did tuning keep at least `share` of the base's score? A one-sided paired bootstrap of tuned / base.

    `confidence` is 1 - (1 + resamples whose ratio is below `share`) / (1 + resamples), but at most
    1 - share^k, k being the clusters with any base score: all of few may be kept by chance, which resampling
    can't tell. The verdict is "kept" where it reaches `CONFIDENCE` (so at 0.9 never on fewer than 29
    clusters), "lost" where the opposite does, else "undecided"; "untestable" when the base scores nothing.
    A bound is None where a resample has no ratio.
    Source: Efron and Tibshirani 1993, chapter 13 (percentile bound); Davison and Hinkley 1997, section 4.4
    (the added ones).
    """
    before, after = _floats(base), _floats(tuned)
    if len(before) == 0 or before.shape != after.shape:
        raise ValueError(f"{before.shape} base and {after.shape} tuned scores; they must be pairs, 1 or more")
    table = cluster_sums([before, after], clusters)
    result: Json = {"share": share, "n": len(before), "clusters": len(table)}
    if before.sum() == 0:
        unknown = dict.fromkeys(("value", "low", "high", "lower", "confidence"))
        return result | unknown | {"verdict": "untestable"}
    sums = bootstrap(table, lambda sums: np.moveaxis(sums, -1, 0))
    resamples, reached = sums.shape[1], int(np.sum(sums[1] >= share * sums[0] - 1e-9))
    scoring = int(np.sum(table[:, 0] > 0))
    sure = min(1 - (1 + resamples - reached) / (1 + resamples), 1 - share**scoring)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = sums[1] / sums[0]
        low, high = percentiles(ratios)
        lower = float(np.quantile(ratios, 1 - CONFIDENCE))
    if low == high:
        # Nothing varies: as far down as a loss may be that none of so many clusters shows.
        low, lower = (low * part ** (1 / scoring) for part in ((1 - CONFIDENCE) / 2, 1 - CONFIDENCE))
    verdict = "undecided"
    if sure >= CONFIDENCE:
        verdict = "kept"
    elif (1 + reached) / (1 + resamples) <= 1 - CONFIDENCE:
        verdict = "lost"
    ends = {"low": low, "high": high, "lower": lower}
    result |= {"value": float(after.sum() / before.sum())}
    result |= {key: end if math.isfinite(end) else None for key, end in ends.items()}
    return result | {"confidence": sure, "verdict": verdict}


def independent_difference(first: Json, second: Json) -> Json:
    """first - second, two independent estimates, from their values and intervals.

    Newcombe's hybrid score interval when the given intervals are Wilson's.
    Source: Zou and Donner 2008, https://doi.org/10.1002/sim.3095 (any estimates); Newcombe 1998, method 10,
    https://pubmed.ncbi.nlm.nih.gov/9595617; statsmodels' `confint_proportions_2indep(method="newcomb")`.
    """
    value = first["value"] - second["value"]
    down = math.hypot(first["value"] - first["low"], second["high"] - second["value"])
    up = math.hypot(first["high"] - first["value"], second["value"] - second["low"])
    return {"value": value, "low": value - down, "high": value + up}


def macro(values: ArrayLike, strata: Sequence[Hashable], clusters: Clusters) -> Json:
    """Unweighted mean over strata (categories) of the mean of the 0/1 `values` in each.

    Wilson's interval at the effective sample size p (1 - p) / V, V the sum over strata of their means'
    variances, divided by the number of strata squared. With k clusters such a variance is k / (k - 1) times
    the squared clustered standard error: s^2 / n of single items, s^2 of the n - 1 kind. A stratum of one
    cluster counts with the variance of all values.
    Source: Cochran 1977, Sampling Techniques, section 5.3, and 9.7 for clusters.
    """
    scores = _floats(values)
    if len(scores) == 0 or len(scores) != len(strata):
        raise ValueError(f"{len(scores)} values in {len(strata)} strata; they must be pairs, 1 or more")
    members: dict[Hashable, list[int]] = {}
    for index, stratum in enumerate(strata):
        members.setdefault(stratum, []).append(index)
    means, variance, independent = [], 0.0, 0
    for inside in members.values():
        part, of = scores[inside], [clusters[index] for index in inside]
        k, error = len(set(of)), clustered_standard_error(part, of)
        variance += k / (k - 1) * error**2 if k > 1 else float(scores.var())
        means.append(float(part.mean()))
        independent += k
    mean, variance = float(np.mean(means)), variance / len(means) ** 2
    effective = mean * (1 - mean) / variance if variance > 0 else float(independent)
    low, high = wilson(mean * effective, effective)
    return {"value": mean, "low": low, "high": high}


def holm(pvalues: Sequence[float]) -> list[float]:
    """p values adjusted for their number by Holm's step-down method, in the given order.

    Source: Holm 1979, https://www.jstor.org/stable/4615733; the same as statsmodels' `multipletests`, which
    collects all garbage of the process in each call.
    """
    values = _floats(pvalues)
    order = np.argsort(values)
    adjusted = np.empty_like(values)
    adjusted[order] = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)).clip(max=1)
    return adjusted.tolist()


def minimum_detectable_difference(standard_error: float, power: float) -> float:
    """Smallest difference that a two-sided test at `ALPHA` finds with probability `power`.

    (z(1 - ALPHA / 2) + z(power)) times the standard error of the difference. That is
    `clustered_standard_error` of the differences for paired results, and sqrt(2 p (1 - p) / n) for two
    independent accuracies near p.
    Source: Miller 2024, https://arxiv.org/abs/2411.00640, section 5 (power analysis).
    """
    from scipy.stats import norm

    return float((norm.ppf(1 - ALPHA / 2) + norm.ppf(power)) * standard_error)


def cluster_sums(columns: Sequence[ArrayLike], clusters: Clusters) -> Array:
    """float64 [clusters, columns]: each column ([items]) summed by cluster, in order of first appearance."""
    number: dict[Hashable, int] = {}
    codes = np.array([number.setdefault(key, len(number)) for key in clusters], dtype=np.intp)
    return np.stack([np.bincount(codes, weights=_floats(column), minlength=1) for column in columns], axis=1)


def _floats(values: ArrayLike) -> Array:
    return np.asarray(values, dtype=np.float64)
