"""Seeds beside questions: the closed form against simple cases, the intervals against simulated truth."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from mcqlora.compare import seeds
from mcqlora.report import intervals

TRIALS = 2000
CASES = {  # seeds, clusters, questions of each; spread of seeds, of clusters, of cells
    "3 seeds": (3, 450, 1, 0.1, 0.7, 0.0),
    "5 seeds without a spread": (5, 450, 1, 0.0, 0.7, 0.0),
    "5 seeds, families": (5, 75, 6, 0.1, 0.7, 0.3),
    "10 seeds, few questions": (10, 60, 2, 0.2, 0.7, 0.3),
}
# Three seeds know little of their spread: too wide where there is none, too narrow where accuracies differ by
# seven points (one standard deviation) from seed to seed.
EDGES = {"3 seeds without a spread": (3, 450, 1, 0.0, 0.7, 0.0), "3 seeds": (3, 450, 1, 0.3, 0.7, 0.0)}


def drawn(rng, count, clusters, size, by_seed, by_cluster, by_cell, levels=(0.3,)):
    """0/1 scores [seeds, questions] of variants at these levels on the same questions, and the true means.

    A score is 1 where the level and normal effects are above 0.
    """
    shared = by_cluster * rng.normal(size=(1, clusters, 1)) + rng.normal(size=(1, clusters, size))
    spread = math.sqrt(by_seed**2 + by_cluster**2 + by_cell**2 + 2)
    scores = []
    for level in levels:
        own = by_seed * rng.normal(size=(count, 1, 1)) + by_cell * rng.normal(size=(count, clusters, 1))
        noise = rng.normal(size=(count, clusters, size))
        scores.append((level + shared + own + noise > 0).reshape(count, -1).astype(float))
    return scores, [float(norm.cdf(level / spread)) for level in levels]


def one(seed, *case):
    return drawn(np.random.default_rng(seed), *case)[0][0]


def names(clusters, size):
    return [number for number in range(clusters) for _ in range(size)]


def test_one_seed_is_the_clustered_standard_error():
    scores, clusters = one(0, 1, 40, 3, 0, 1, 0), names(40, 3)
    found = seeds.mean(scores, clusters)
    error = intervals.clustered_standard_error(scores[0], clusters)
    assert found.questions_error == pytest.approx(error * math.sqrt(40 / 39))
    assert found.seeds_error is None and found.cells_error is None
    assert found.value == scores.mean() and (found.n, found.clusters, found.seeds) == (120, 40, (1,))


def test_the_parts_are_those_that_a_bootstrap_draws():
    """Drawing one source's units, without the bootstrap's own bias, gives its part."""
    scores = one(1, 6, 60, 2, 0.5, 1, 0.3)
    rng, found = np.random.default_rng(1), seeds.parts(scores, names(60, 2))
    sums = scores.reshape(6, 60, 2).mean(axis=2)
    by_seed = sums[rng.integers(0, 6, (20_000, 6))].mean(axis=(1, 2)).var() * 6 / 5
    by_cluster = sums[:, rng.integers(0, 60, (20_000, 60))].mean(axis=(0, 2)).var() * 60 / 59
    assert found.seeds + found.cells == pytest.approx(by_seed, rel=0.05)
    assert found.questions == pytest.approx(by_cluster, rel=0.05)


def test_equal_trainings_have_no_spread_between_seeds():
    scores = one(2, 1, 50, 2, 0, 1, 0)
    alone, thrice = (seeds.mean(np.repeat(scores, k, axis=0), names(50, 2)) for k in (1, 3))
    assert (thrice.seeds_error, thrice.cells_error) == pytest.approx((0, 0))
    assert (thrice.low, thrice.high) == pytest.approx((alone.low, alone.high))


def test_seeds_that_differ_widen_the_interval():
    scores = np.repeat(one(3, 1, 50, 2, 0, 0.5, 0), 3, axis=0)
    alike = seeds.mean(scores, names(50, 2))
    scores[0, ::2], scores[1, ::2] = 0, 1
    found = seeds.mean(scores, names(50, 2))
    assert found.seeds_error > 0.1 and found.high - found.low > alike.high - alike.low


def test_a_difference_of_a_variant_from_itself_is_none():
    scores = one(4, 2, 30, 2, 0, 1, 0)
    found = seeds.difference(scores, scores, names(30, 2))
    assert found.value == 0 and found.low < 0 < found.high
    assert seeds.needed(found) == seeds.Needed(None, None)


def test_nothing_that_varies_is_no_certainty():
    found = seeds.mean(np.ones((1, 20)), range(20))
    assert (found.value, found.high) == (1, 1)
    assert found.low == pytest.approx(1 - intervals.wilson(0, 20)[1])


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (2, 4)])
def test_shapes_that_do_not_fit_are_refused(shape):
    with pytest.raises(ValueError, match="clustered questions"):
        seeds.parts(np.zeros(shape), range(3))


def test_more_questions_or_more_seeds():
    """With the number that it names the standard error is as small as the test needs."""
    wanted = 0.04 / intervals.minimum_detectable_difference(1.0, 0.8)
    many = seeds.needed(seeds.Estimate(0.04, 0, 0, 450, 450, (3, 3), 0.020, 0.004, 0.006))
    assert math.hypot(0.020 * math.sqrt(450 / many.questions), 0.004) == pytest.approx(wanted, rel=0.01)
    assert many.questions > 450 and many.seeds is None  # the questions' own part is too large
    few = seeds.needed(seeds.Estimate(0.04, 0, 0, 450, 450, (3, 3), 0.012, 0.012, 0.006))
    errors = [
        math.sqrt(0.012**2 - 0.006**2 + (0.012**2 + 0.006**2) * 3 / k) for k in (few.seeds - 1, few.seeds)
    ]
    assert errors[1] <= wanted < errors[0]
    alone = seeds.needed(seeds.Estimate(0.04, 0, 0, 450, 450, (1, 1), 0.020, None, None))
    assert alone.seeds is None and 450 < alone.questions < many.questions


@pytest.mark.parametrize("draw", [8, 15, 18, 26])
def test_an_estimate_below_0_of_the_seeds_spread_leaves_an_interval_that_says_something(draw):
    """Trainings that share nothing but their level: the questions' variance is all but cancelled."""
    scores = (np.random.default_rng(draw).random((3, 50)) < 0.9).astype(float)
    found = seeds.mean(scores, [str(i) for i in range(50)])
    assert 0 < found.high - found.low < 0.3


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("levels", [(0.3,), (0.2, 0.4)], ids=["mean", "difference"])
def test_coverage(case, levels):
    """95 % intervals hold the true value in 93 to 97 % of simulated experiments."""
    share = coverage(CASES[case], levels)
    print(f"\n{case}: {100 * share:.1f} %", end="")
    assert 0.93 <= share <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("case", EDGES)
@pytest.mark.parametrize("levels", [(0.3,), (0.2, 0.4)], ids=["mean", "difference"])
def test_coverage_at_the_edges(case, levels):
    share = coverage(EDGES[case], levels)
    print(f"\n{case}, at the edge: {100 * share:.1f} %", end="")
    assert 0.91 <= share <= 0.985


def coverage(case, levels):
    """Of one variant's mean, or of the difference of two that share the questions."""
    rng, clusters, hits = np.random.default_rng(5), names(*case[1:3]), 0
    for _ in range(TRIALS):
        sides, truth = drawn(rng, *case, levels=levels)
        if len(sides) == 1:
            found, true = seeds.mean(sides[0], clusters), truth[0]
        else:
            found, true = seeds.difference(*sides, clusters), truth[1] - truth[0]
        hits += found.low <= true <= found.high
    return hits / TRIALS
