import math

import numpy as np
import pytest
import scipy.special
import scipy.stats

from mcqlora.report import intervals, robustness


def item(i, gold, choice, scores=None):
    row = {"id": f"x/y/test/{i}", "order": "ABCD", "gold": gold, "choice": choice, "correct": gold == choice}
    row["cluster"] = row["id"]
    return row if scores is None else row | {"scores": scores}


def drawn(n, seed=3, sharpness=1.0):
    """Items whose gold letter is drawn from the softmax of their scores / sharpness: calibrated at 1."""
    random = np.random.default_rng(seed)
    scores = random.normal(size=(n, 4)) * 1.5
    rows = []
    for i, row in enumerate(scores):
        gold = random.choice(list("ABCD"), p=scipy.special.softmax(row))
        rows.append(item(i, gold, "ABCD"[row.argmax()], (sharpness * row).tolist()))
    return rows


def test_the_confusion_counts_every_item_once():
    items = [item(0, "A", "A"), item(1, "A", "B"), item(2, "B", None), item(3, "D", "D"), item(4, "D", "D")]
    found = robustness.letters(items)
    assert found["confusion"]["A"] == {"A": 1, "B": 1, "C": 0, "D": 0, "none": 0}
    assert found["confusion"]["B"]["none"] == 1
    assert sum(sum(row.values()) for row in found["confusion"].values()) == found["n"] == 5
    assert found["recall"]["A"] == {"n": 2, "clusters": 2, "value": 0.5} | dict(
        zip(("low", "high"), intervals.wilson(1, 2), strict=True)
    )
    assert found["recall"]["C"] is None
    assert found["rstd"]["value"] == pytest.approx(np.std([0.5, 0.0, 1.0]))


def test_a_model_that_always_says_one_letter_has_the_largest_spread():
    items = [item(i, "ABCD"[i % 4], "C") for i in range(40)]
    rstd = robustness.letters(items)["rstd"]
    assert rstd["value"] == pytest.approx(math.sqrt(3) / 4)
    assert (rstd["low"], rstd["high"]) == (rstd["value"], rstd["value"])


def test_the_interval_of_the_spread_is_scipys():
    random = np.random.default_rng(1)
    gold = random.integers(0, 4, 300)
    right = random.random(300) < np.array([0.9, 0.5, 0.5, 0.3])[gold]
    items = [
        item(i, "ABCD"[g], "ABCD"[g if r else (g + 1) % 4])
        for i, (g, r) in enumerate(zip(gold, right, strict=True))
    ]

    def spread(chosen):
        return np.std([right[chosen][gold[chosen] == letter].mean() for letter in range(4)])

    ends = scipy.stats.bootstrap(
        (np.arange(300),),
        spread,
        vectorized=False,
        n_resamples=2000,
        method="percentile",
        rng=np.random.default_rng(2),
    ).confidence_interval
    found = robustness.letters(items)["rstd"]
    assert found["value"] == pytest.approx(spread(np.arange(300)))
    assert (found["low"], found["high"]) == pytest.approx((ends.low, ends.high), abs=0.015)


def test_probabilities_are_scipys_softmax_even_of_very_small_likelihoods():
    items = [item(0, "A", "A", [-1000.0, -1001.0, -1002.0, -1500.0]), item(1, "A", "A", [0.0, 0.0, 0.0, 0.0])]
    expected = scipy.special.softmax([row["scores"] for row in items], axis=1)
    assert robustness.probabilities(items) == pytest.approx(expected)


def test_calibration_by_hand():
    sure, unsure = [0.0, -math.inf, -math.inf, -math.inf], [0.0] * 4
    items = [
        item(0, "A", "A", sure),
        item(1, "B", "A", sure),
        item(2, "A", "A", unsure),
        item(3, "B", "A", unsure),
    ]
    found = robustness.calibration(items)
    # Confidence 1 at accuracy 1/2, and 1/4 at accuracy 1/2: half of the items each.
    assert found["ece"]["value"] == pytest.approx(0.5 * 0.5 + 0.5 * 0.25)
    assert found["brier"]["value"] == pytest.approx((0 + 2 + 0.75 + 0.75) / 4)
    assert [(row["low_edge"], row["high_edge"], row["n"], row["accuracy"]) for row in found["bins"]] == [
        (0.2, 0.3, 2, 0.5),
        (0.9, 1.0, 2, 0.5),
    ]
    assert [row["confidence"] for row in found["bins"]] == [0.25, 1.0]
    assert sum(row["n"] for row in found["bins"]) == found["n"] == 4


@pytest.mark.integration
def test_a_calibrated_model_has_a_small_error_and_an_overconfident_one_a_large_one():
    good, bad = (robustness.calibration(drawn(3000, sharpness=s)) for s in (1.0, 4.0))
    assert good["ece"]["value"] < 0.03 < 0.2 < bad["ece"]["value"]
    assert good["brier"]["high"] < bad["brier"]["low"]
    for row in good["bins"]:
        assert row["low_edge"] < row["confidence"] <= row["high_edge"]


def test_the_brier_interval_is_the_normal_one_for_many_items():
    items = drawn(2000)
    gold = np.array([[row["gold"] == letter for letter in "ABCD"] for row in items])
    squares = ((robustness.probabilities(items) - gold) ** 2).sum(axis=1)
    found = robustness.calibration(items)["brier"]
    assert found["value"] == pytest.approx(squares.mean())
    assert (found["high"] - found["low"]) / 2 == pytest.approx(1.96 * scipy.stats.sem(squares), rel=0.05)


def test_without_scores_there_is_no_calibration():
    assert robustness.calibration([item(0, "A", "A")]) is None
    assert robustness.calibration([]) is None


def test_circular_evaluation_by_hand():
    right = {0: "1111", 1: "1110", 2: "0000", 3: "1111"}
    items = [
        item(i, "A", "A" if mark == "1" else "B") | {"rotation": k}
        for i, marks in right.items()
        for k, mark in enumerate(marks)
    ]
    found = robustness.circular(items)
    assert (found["n"], found["questions"], found["correct"], found["accuracy"]) == (16, 4, 11, 11 / 16)
    assert found["all_right"] == {"n": 4, "clusters": 4, "correct": 2, "value": 0.5} | dict(
        zip(("low", "high"), intervals.wilson(2, 4), strict=True)
    )
    shares = np.array([1.0, 0.75, 0.0, 1.0])
    assert found["standard_error"] == pytest.approx(shares.std() / 2)
    alone = intervals.wilson(11, 16)
    assert found["low"] < alone[0] and found["high"] > alone[1]


def mixed(number, gold, choice, options, scores=None):
    return item(number, gold, choice, scores) | {"order": "ABCDEFGHIJ"[:options]}


def test_letters_are_compared_within_questions_of_as_many_options():
    """Two options are guessed more often than four: that is no spread of the letters."""
    two = [mixed(i, "AB"[i % 2], "AB"[i // 2 % 2], 2) for i in range(40)]  # half right under each letter
    four = [mixed(100 + i, "ABCD"[i % 4], "ABCD"[i // 4 % 4], 4) for i in range(48)]  # a quarter
    found = robustness.letters(two + four)
    assert list(found["confusion"]) == list("ABCD")
    assert found["recall"]["A"]["value"] > found["recall"]["D"]["value"]
    assert found["rstd"]["value"] == pytest.approx(0) and found["equal_p"] == 1
    one_sided = [mixed(i, "AB"[i % 2], "A", 2) for i in range(40)]
    found = robustness.letters(one_sided + four)
    # Recalls 1 and 0 of 40 items, all equal of 48.
    assert found["rstd"]["value"] == pytest.approx(math.sqrt(40 / 88 * 0.25))
    chi2 = scipy.stats.chi2_contingency([[20, 0], [0, 20]]).statistic
    assert found["equal_p"] == pytest.approx(scipy.stats.chi2.sf(chi2, 1 + 3))


def test_calibration_of_mixed_numbers_of_options():
    items = [mixed(0, "A", "A", 2, [0.0, 0.0]), mixed(1, "J", "A", 10, [0.0] * 10)]
    assert robustness.probabilities(items)[0] == pytest.approx([0.5, 0.5] + [0] * 8)
    found = robustness.calibration(items)
    assert found["brier"]["value"] == pytest.approx((0.5 + 0.9) / 2)
    assert found["ece"]["value"] == pytest.approx((0.5 + 0.1) / 2)


def test_circular_evaluation_of_mixed_numbers_of_options():
    items = [mixed(0, "A", "A", 2), mixed(0, "B", "B", 2), *(mixed(1, "C", "C", 3) for _ in range(2))]
    found = robustness.circular([*items, mixed(1, "C", "A", 3)])
    assert (found["n"], found["questions"], found["correct"]) == (5, 2, 4)
    assert found["all_right"]["correct"] == 1
