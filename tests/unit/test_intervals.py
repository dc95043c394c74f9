import math

import numpy as np
import pytest
import scipy.stats
import statsmodels.api
import statsmodels.stats.power
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import confint_proportions_2indep

from mcqlora.report import intervals

COUNTS = st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


def generator():
    return np.random.default_rng(7)


@given(COUNTS)
def test_wilson_equals_scipy(counts):
    correct, n = counts
    ends = scipy.stats.binomtest(correct, n).proportion_ci(0.95, method="wilson")
    assert intervals.wilson(correct, n) == pytest.approx((ends.low, ends.high), abs=1e-12)


@pytest.mark.parametrize(("n", "points"), [(20, 20.0), (2480, 2.0), (25_624, 0.6)])
def test_wilson_half_width_by_n(n, points):
    low, high = intervals.wilson(0.55 * n, n)
    assert 100 * (high - low) / 2 == pytest.approx(points, abs=0.05)


def test_wilson_never_claims_certainty():
    assert intervals.wilson(0, 0) == (0.0, 1.0)
    low, high = intervals.wilson(20, 20)
    assert high == 1.0 and low == pytest.approx(20 / (20 + 1.959964**2))


def test_interval_is_wilson_for_independent_answers():
    values = [1] * 30 + [0] * 12
    assert intervals.interval(values, range(42)) == intervals.wilson(30, 42)
    assert intervals.interval([], []) == (0.0, 1.0)


def test_interval_counts_copies_of_a_question_once():
    answers = [1] * 30 + [0] * 12
    copies = np.repeat(answers, 5)
    assert intervals.interval(copies, np.repeat(range(42), 5).tolist()) == pytest.approx(
        intervals.wilson(30, 42)
    )
    assert intervals.interval([1] * 50, [0] * 25 + [1] * 25) == intervals.wilson(2, 2)


def test_one_cluster_of_many_answers_tells_as_much_as_one_answer():
    assert intervals.effective_size([1, 0, 1, 1], "aaaa") == 1
    assert intervals.interval([1, 0, 1, 1], "aaaa") == intervals.wilson(0.75, 1)


def test_the_effective_size_is_the_number_over_the_design_effect():
    """Clusters of m alike answers, some of them split: 1 + (m - 1) rho (Kish 1965), rho by variances."""
    random = generator()
    rho, m, k = 0.4, 6, 20_000
    same = random.random(k) < 0.5
    values = np.where(random.random((k, m)) < math.sqrt(rho), same[:, None], random.random((k, m)) < 0.5)
    size = intervals.effective_size(values.ravel(), np.repeat(range(k), m).tolist())
    assert size == pytest.approx(k * m / (1 + (m - 1) * rho), rel=0.03)


def test_interval_is_never_narrower_for_clusters():
    values = [1, 0] * 50  # every cluster holds a right and a wrong one: the clustered error is 0
    assert intervals.interval(values, np.repeat(range(50), 2).tolist()) == intervals.wilson(50, 100)


def test_clustered_standard_error_equals_the_cluster_robust_one_of_statsmodels():
    random = generator()
    clusters = random.integers(0, 30, 200)
    values = random.normal(size=30)[clusters] + random.normal(size=200)
    model = statsmodels.api.OLS(values, np.ones(200))
    fit = model.fit(cov_type="cluster", cov_kwds={"groups": clusters, "use_correction": False})
    assert intervals.clustered_standard_error(values, clusters.tolist()) == pytest.approx(fit.bse[0])


def test_clustered_standard_error_alone_and_together():
    values = [0.0, 1.0, 1.0, 1.0]
    assert intervals.clustered_standard_error(values, "abcd") == pytest.approx(np.std(values) / 2)
    assert intervals.clustered_standard_error(values, "aabb") == pytest.approx(math.sqrt(0.5) / 4)
    for bad in ([], [1.0]):
        with pytest.raises(ValueError, match="clusters"):
            intervals.clustered_standard_error(bad, "ab" if bad else "")


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_is_the_binomial_test_of_the_pairs_that_differ(only_base, only_tuned):
    diff = [-1] * only_base + [1] * only_tuned + [0, 0]
    differ = only_base + only_tuned
    expected = scipy.stats.binomtest(only_base, differ).pvalue if differ else 1.0
    for copies in (1, 2, 5):  # of every item, in the cluster of that item
        clusters = np.repeat(range(len(diff)), copies).tolist()
        assert intervals.mcnemar_exact(np.repeat(diff, copies), clusters) == pytest.approx(expected)


@given(st.lists(st.tuples(st.integers(-1, 1), st.integers(0, 5)), min_size=1, max_size=20))
def test_mcnemar_of_clusters_equals_scipys_permutation_test(items):
    diff, clusters = zip(*items, strict=True)
    sums = np.r_[intervals.cluster_sums([diff], clusters)[:, 0], 0, 0]  # it wants two or more
    expected = scipy.stats.permutation_test(
        (sums,), np.sum, permutation_type="samples", vectorized=True, n_resamples=np.inf
    )
    assert intervals.mcnemar_exact(diff, clusters) == pytest.approx(expected.pvalue)


def test_mcnemar_of_thousands_is_near_that_of_the_normal():
    """(Sum of the clusters' sums)^2 over the sum of their squares is chi-squared, with Yates's correction."""
    random = generator()
    clusters = random.integers(0, 1_000, 3_000)
    diff = random.choice([-1, 0, 1], p=[0.28, 0.4, 0.32], size=3_000)
    sums = np.bincount(clusters, weights=diff)
    expected = scipy.stats.chi2.sf((abs(sums.sum()) - 1) ** 2 / (sums**2).sum(), 1)
    assert 0.001 < expected < 0.2
    assert intervals.mcnemar_exact(diff, clusters.tolist()) == pytest.approx(expected, rel=0.02)


def test_mcnemar_needs_a_cluster_for_each_difference():
    with pytest.raises(ValueError):
        intervals.mcnemar_exact([1, 0], "a")


def test_bootstrap_equals_scipys_percentile_bootstrap():
    diff = generator().choice([-1.0, 0.0, 1.0], p=[0.1, 0.5, 0.4], size=300)
    ends = scipy.stats.bootstrap((diff,), np.mean, method="percentile", random_state=1).confidence_interval
    assert intervals.paired_bootstrap(diff, range(300)) == pytest.approx((ends.low, ends.high), abs=0.01)


def test_bootstrap_resamples_clusters_of_unequal_size():
    random = generator()
    sizes = random.integers(1, 6, 80)
    clusters = np.repeat(range(80), sizes)
    diff = random.choice([-1.0, 0.0, 1.0], size=80)[clusters]
    sums = np.bincount(clusters, weights=diff)
    ends = scipy.stats.bootstrap(
        (sums, sizes),
        lambda total, size, axis: total.sum(axis) / size.sum(axis),
        paired=True,
        method="percentile",
        random_state=1,
    ).confidence_interval
    ours = intervals.paired_bootstrap(diff, clusters.tolist())
    assert ours == pytest.approx((ends.low, ends.high), abs=0.02)
    alone = intervals.paired_bootstrap(diff, range(len(diff)))
    assert ours[1] - ours[0] > 1.3 * (alone[1] - alone[0])


def test_bootstrap_does_not_depend_on_the_order():
    diff = generator().choice([-1.0, 0.0, 1.0], size=101)
    assert intervals.paired_bootstrap(diff, range(101)) == intervals.paired_bootstrap(diff[::-1], range(101))
    rare = intervals.wilson(0, 9)[1]
    assert intervals.paired_bootstrap([0.0] * 9, range(9)) == (-rare, rare)
    assert intervals.paired_bootstrap([1.0] * 9, range(9)) == (1 - rare, 1.0)
    with pytest.raises(ValueError, match="no differences"):
        intervals.paired_bootstrap([], [])


def test_holm_steps_down_in_the_given_order():
    # Smallest times 3, next times 2, largest times 1, never falling.
    assert intervals.holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert intervals.holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert intervals.holm([]) == []


def test_bootstrap_of_several_sums_equals_scipys():
    random = generator()
    base, tuned = random.random((2, 200))
    ends = scipy.stats.bootstrap(
        (tuned, base),
        lambda top, bottom, axis: top.sum(axis) / bottom.sum(axis),
        paired=True,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    table = intervals.cluster_sums([base, tuned], range(200))
    both = intervals.bootstrap(table, lambda sums: np.stack([sums[..., 1] / sums[..., 0], sums[..., 0]]))
    assert both.shape == (2, intervals.RESAMPLES)
    assert intervals.percentiles(both[0]) == pytest.approx((ends.low, ends.high), abs=0.01)
    assert both[1].std() == pytest.approx(base.std() * math.sqrt(200), rel=0.05)


def test_bootstrap_of_one_unit_is_its_own_value():
    assert intervals.bootstrap([[3.0, 2.0]], lambda sums: sums[..., 0] / sums[..., 1]).tolist() == [1.5]
    with pytest.raises(ValueError, match="nothing to resample"):
        intervals.bootstrap(np.empty((0, 2)), lambda sums: sums[..., 0])


@pytest.mark.parametrize(
    ("lost", "n", "verdict"),
    [(0, 28, "undecided"), (0, 29, "kept"), (2, 200, "kept"), (20, 200, "undecided"), (60, 200, "lost")],
)
def test_the_verdict_on_what_was_kept(lost, n, verdict):
    base, tuned = np.ones(n), np.r_[np.zeros(lost), np.ones(n - lost)]
    result = intervals.kept_share(base, tuned, range(n), 0.9)
    assert (result["verdict"], result["value"]) == (verdict, (n - lost) / n)
    assert result["low"] <= result["lower"] <= result["value"] <= result["high"]
    assert (result["confidence"] >= 0.95) == (verdict == "kept")


def test_nothing_lost_of_few_is_no_certainty():
    result = intervals.kept_share(np.ones(40), np.ones(40), range(40), 0.9)
    assert result["confidence"] == pytest.approx(1 - 0.9**40)
    # The exact one-sided bound of 0 lost in 40, and the two-sided one.
    assert result["lower"] == pytest.approx(
        1 - scipy.stats.binomtest(0, 40, alternative="less").proportion_ci().high
    )
    assert result["low"] == pytest.approx(1 - scipy.stats.binomtest(0, 40).proportion_ci().high)
    assert result["high"] == 1.0


def test_the_confidence_is_that_of_the_binomial_when_the_base_is_always_right():
    # Resampling 200 items, 10 of them lost, draws a binomial count; the share is kept up to 20.
    tuned = np.r_[np.zeros(10), np.ones(190)]
    result = intervals.kept_share(np.ones(200), tuned, range(200), 0.9)
    assert result["confidence"] == pytest.approx(scipy.stats.binom.cdf(20, 200, 0.05), abs=0.002)
    lower = 1 - scipy.stats.binom.ppf(0.95, 200, 0.05) / 200
    assert result["lower"] == pytest.approx(lower, abs=0.005)


def test_paragraphs_not_questions_are_resampled_for_what_was_kept():
    tuned = np.repeat([0.0] * 7 + [1.0] * 93, 10)
    alone = intervals.kept_share(np.ones(1000), tuned, range(1000), 0.9)
    together = intervals.kept_share(np.ones(1000), tuned, np.repeat(range(100), 10).tolist(), 0.9)
    assert (alone["clusters"], together["clusters"]) == (1000, 100)
    assert together["high"] - together["low"] > 2 * (alone["high"] - alone["low"])
    assert (alone["verdict"], together["verdict"]) == ("kept", "undecided")


def test_what_a_base_without_score_kept_cannot_be_told():
    result = intervals.kept_share([0.0, 0.0], [1.0, 0.0], range(2), 0.9)
    assert (result["verdict"], result["value"], result["confidence"]) == ("untestable", None, None)
    rare = intervals.kept_share([1.0] + [0.0] * 40, [0.0] * 41, range(41), 0.9)
    assert rare["high"] is None and rare["verdict"] == "undecided"
    for pair in (([], []), ([1.0], [1.0, 0.0])):
        with pytest.raises(ValueError, match="pairs"):
            intervals.kept_share(*pair, range(len(pair[0])), 0.9)


@given(COUNTS, COUNTS)
def test_the_difference_of_two_independent_rates_is_newcombes(first, second):
    rates = [
        dict(zip(("value", "low", "high"), (k / n, *intervals.wilson(k, n)), strict=True))
        for k, n in (first, second)
    ]
    expected = confint_proportions_2indep(*first, *second, method="newcomb")
    gap = intervals.independent_difference(*rates)
    assert (gap["low"], gap["high"]) == pytest.approx(expected, abs=1e-9)
    assert gap["low"] <= gap["value"] <= gap["high"]
    assert gap["value"] == rates[0]["value"] - rates[1]["value"]


def test_the_macro_average_has_the_stratified_standard_error_of_statsmodels():
    random = generator()
    strata = np.repeat(range(5), [20, 30, 40, 50, 400])
    values = (random.random(len(strata)) < np.array([0.2, 0.4, 0.5, 0.6, 0.9])[strata]).astype(float)
    groups = [statsmodels.api.stats.DescrStatsW(values[strata == i]) for i in range(5)]
    found = intervals.macro(values, strata.tolist(), range(len(values)))
    assert found["value"] == pytest.approx(np.mean([group.mean for group in groups]))
    error = math.sqrt(sum(group.std_mean**2 for group in groups)) / 5
    assert (found["high"] - found["low"]) / 2 == pytest.approx(1.96 * error, rel=0.02)


def test_the_macro_average_of_one_category_or_of_single_items():
    values = [1.0] * 30 + [0.0] * 12
    assert intervals.macro(values, ["x"] * 42, range(42))["value"] == pytest.approx(30 / 42)
    single = intervals.macro(values, range(42), range(42))
    assert (single["low"], single["high"]) == pytest.approx(intervals.wilson(30, 42))
    low, high = intervals.wilson(9, 9)
    assert intervals.macro([1.0] * 9, "aaabbbccc", range(9)) == {"value": 1.0, "low": low, "high": high}
    with pytest.raises(ValueError, match="strata"):
        intervals.macro([1.0], "ab", "ab")


def test_copies_change_no_macro_average():
    values, strata = generator().integers(0, 2, 60), [0] * 10 + [1] * 20 + [2] * 30
    once = intervals.macro(values, strata, range(60))
    thrice = intervals.macro(
        np.repeat(values, 3), np.repeat(strata, 3).tolist(), np.repeat(range(60), 3).tolist()
    )
    assert thrice == pytest.approx(once)
    apart = intervals.macro(np.repeat(values, 3), np.repeat(strata, 3).tolist(), range(180))
    assert once["high"] - once["low"] > 1.6 * (apart["high"] - apart["low"])


def test_minimum_detectable_difference_has_the_power_it_names():
    n, p = 2480, 0.5
    error = math.sqrt(2 * p * (1 - p) / n)
    delta = intervals.minimum_detectable_difference(error, power=0.8)
    expected = statsmodels.stats.power.NormalIndPower().solve_power(
        effect_size=delta / math.sqrt(p * (1 - p)), nobs1=n, alpha=0.05, power=None
    )
    assert expected == pytest.approx(0.8, abs=1e-6)


def test_cluster_sums_keep_the_order_of_first_appearance():
    table = intervals.cluster_sums([[1, 2, 3], [1, 1, 1]], ["b", "a", "b"])
    assert table.tolist() == [[4, 2], [2, 1]]


@given(st.lists(st.sampled_from([1 / 2, 1 / 3, 1 / 4, 1 / 10]), min_size=1, max_size=40), st.data())
def test_guesses_of_single_items_are_scipys_poisson_binomial(chances, data):
    right = data.draw(st.integers(0, len(chances)))
    expected = scipy.stats.poisson_binom(chances).sf(right - 1)
    assert intervals.guessed(right, chances, range(len(chances))) == pytest.approx(expected, abs=1e-12)


def test_guesses_with_one_number_of_options_are_binomial():
    assert intervals.guessed(300, [0.25] * 1000, range(1000)) == pytest.approx(
        scipy.stats.binom.sf(299, 1000, 0.25), rel=1e-9
    )
    assert intervals.guessed(0, [0.5], ["a"]) == 1


def test_guesses_of_a_cluster_are_right_together():
    assert intervals.guessed(3, [1 / 4] * 3, ["a"] * 3) == pytest.approx(1 / 4)
    # One uniform number u: two are right below 1/10, one below 1/2.
    assert intervals.guessed(1, [1 / 2, 1 / 10], ["a", "a"]) == pytest.approx(1 / 2)
    assert intervals.guessed(2, [1 / 2, 1 / 10], ["a", "a"]) == pytest.approx(1 / 10)
    apart = intervals.guessed(40, [1 / 4] * 100, range(100))
    assert apart < 0.01 < intervals.guessed(40, [1 / 4] * 100, [i // 4 for i in range(100)])
