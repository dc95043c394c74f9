"""Two sources of chance: which questions were asked, and which seed a training had.

Scores are float64 [seeds, questions] in 0..1: every training of one variant answered the same questions.
Another draw of questions would move all trainings together, another seed moves one training on all questions.
`clusters` are as in `report.intervals`. Intervals are 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcqlora.report import intervals
from mcqlora.report.intervals import Clusters

POWER = 0.8  # of `needed`

Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Parts:
    """The variance of a mean of [seeds, questions], by source.

    `seeds` and `cells` are None of a single seed: there is no telling them from the questions then.
    """

    questions: float  # of another draw of clusters, with the same seeds; `cells` are in it
    seeds: float | None  # of other seeds beyond `cells`; chance may take the estimate below 0
    cells: float | None  # of a seed's own answers to a question
    squares: tuple[tuple[float, float], ...]  # what was summed, with degrees of freedom; the questions' first


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean or a difference of means with its interval, and how much of its variance is whose."""

    value: float
    low: float
    high: float
    n: int  # questions
    clusters: int
    seeds: tuple[int, ...]  # of each side
    questions_error: float  # standard errors
    seeds_error: (
        float | None
    )  # None: some side has one seed, and the interval speaks of these trainings alone
    cells_error: float | None


def parts(scores: Scores, clusters: Clusters) -> Parts:
    """The variance of the mean of `scores`, by source.

    Two-way random effects: a score is the mean, plus its seed's effect, plus its cluster's, plus what that
    seed does with that cluster. Mean squares of the clusters' sums estimate each. It is in closed form what a
    hierarchical bootstrap that draws seeds, or clusters, comes to, without its bias of (k - 1) / k. Drawing
    both at once would count the cells' part three times.
    Source: Searle, Casella and McCulloch 1992, Variance Components, section 4.3 (ANOVA estimators);
    Owen 2007, https://doi.org/10.1214/07-AOAS122 (the bootstrap of rows and columns, its threefold part).

    Raises:
        ValueError: there is no score, or not one cluster for each question.
    """
    if scores.ndim != 2 or scores.size == 0 or scores.shape[1] != len(clusters):
        raise ValueError(f"scores {scores.shape} of {len(clusters)} clustered questions")
    seeds, n = scores.shape
    table = intervals.cluster_sums(list(scores - scores.mean()), clusters).T  # [seeds, clusters]
    k = table.shape[1]
    scale = k / n**2  # of a mean square of cluster sums to a variance of the mean
    by_cluster = seeds * table.mean(axis=0).var(ddof=1) if k > 1 else 0.0
    questions = float(scale * by_cluster / seeds)
    if seeds == 1:
        return Parts(questions, None, None, ((questions, k - 1.0),))
    by_seed = k * table.mean(axis=1).var(ddof=1)
    residual = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
    within = float((residual**2).sum() / ((seeds - 1) * (k - 1))) if k > 1 else 0.0
    cells = float(scale * within / seeds)
    together = float(scale * by_seed / seeds)
    squares = ((questions, k - 1.0), (together, seeds - 1.0), (cells, (seeds - 1.0) * (k - 1)))
    return Parts(questions, together - cells, cells, squares)


def mean(scores: ArrayLike, clusters: Clusters) -> Estimate:
    """The mean of one variant's `scores`."""
    return _estimate([np.atleast_2d(np.asarray(scores, float))], clusters, (0.0, 1.0))


def difference(left: ArrayLike, right: ArrayLike, clusters: Clusters) -> Estimate:
    """right - left of two variants that answered the same questions; their seeds are not paired."""
    sides = [np.atleast_2d(np.asarray(side, float)) for side in (right, left)]
    if sides[0].shape[1] != sides[1].shape[1]:
        raise ValueError(f"{sides[1].shape[1]} and {sides[0].shape[1]} questions; they must be pairs")
    return _estimate(sides, clusters, (-1.0, 1.0))


def _estimate(sides: Sequence[Scores], clusters: Clusters, bounds: tuple[float, float]) -> Estimate:
    """The first side, less the second if there is one.

    Student's t at Satterthwaite's degrees of freedom: few seeds know little of their own spread. Where
    nothing varies the ends are Wilson's of none in as many clusters, as in `intervals.paired_bootstrap`.
    Source: Satterthwaite 1946, https://doi.org/10.2307/3002019.
    """
    from scipy.stats import t

    signs = (1.0, -1.0)[: len(sides)]
    # The questions are the same on both sides, so their part is that of the difference.
    whole = sum(sign * side.mean(axis=0) for sign, side in zip(signs, sides, strict=True))
    questions = parts(np.atleast_2d(whole), clusters)
    own = [parts(side, clusters) for side in sides]
    seeds, cells = (sum(getattr(part, name) or 0.0 for part in own) for name in ("seeds", "cells"))
    # Unbiased, but never below what is the questions' alone.
    variance = questions.questions + max(seeds, -min(cells, questions.questions))
    squares = [*questions.squares, *(pair for part in own for pair in part.squares[1:])]
    value = float(np.mean(whole))
    if variance > 0:
        freedom = variance**2 / sum(part**2 / df for part, df in squares if df > 0)
        freedom = max(
            freedom, min(df for _, df in squares if df > 0)
        )  # a part below 0 may leave next to none
        half = float(t.ppf((1 + intervals.CONFIDENCE) / 2, freedom)) * math.sqrt(variance)
    else:
        half = intervals.wilson(0, len(set(clusters)))[1]
    known = all(part.seeds is not None for part in own)
    return Estimate(
        value=value,
        low=max(bounds[0], value - half),
        high=min(bounds[1], value + half),
        n=len(clusters),
        clusters=len(set(clusters)),
        seeds=tuple(len(side) for side in sides),
        questions_error=math.sqrt(questions.questions),
        seeds_error=math.sqrt(max(0.0, seeds)) if known else None,
        cells_error=math.sqrt(cells) if known else None,
    )


@dataclass(frozen=True, slots=True)
class Needed:
    """How many questions, or seeds on each side, would show a difference; None: no number would.

    The other number stays as it is. `seeds` is also None where some side has a single seed.
    """

    questions: int | None
    seeds: int | None


def needed(found: Estimate, power: float = POWER) -> Needed:
    """What it would take to see the difference that is there, if it is the true one.

    A two-sided test at 5 % sees a difference of (z(0.975) + z(power)) standard errors with the probability
    `power`. The questions' variance falls with their number, that of seeds and cells with that of seeds.
    Source: Miller 2024, https://arxiv.org/abs/2411.00640, section 5; Bouthillier et al. 2021,
    https://arxiv.org/abs/2103.03098, for seeds as a source of their own.
    """
    if found.value == 0:
        return Needed(None, None)
    target = (abs(found.value) / intervals.minimum_detectable_difference(1.0, power)) ** 2
    questions, seeds = found.questions_error**2, (found.seeds_error or 0.0) ** 2
    more = math.ceil(found.n * questions / (target - seeds)) if target > seeds else None
    if found.seeds_error is None or found.cells_error is None:
        return Needed(more, None)
    cells = min(found.cells_error**2, questions)
    left = target - (questions - cells)
    if left <= 0:
        return Needed(more, None)
    return Needed(more, max(1, math.ceil(min(found.seeds) * (seeds + cells) / left)))
