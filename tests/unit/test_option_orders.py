import json
import subprocess
import sys
from collections import Counter
from itertools import permutations
from math import factorial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcqlora.data import option_orders
from mcqlora.data.questions import LETTERS, Question
from tests.helpers.questions import permitted_orders

SOURCE = Path(__file__).parents[2] / "src"
KNOWN = ["ABCD", "DACB", "CDBA", "BADC", "BCDA", "CADB"]
KNOWN_REFERENCE = ["ABCD", "ACBD", "CBAD", "DACB", "CBDA", "ABDC"]
KNOWN_PINNED = ["ABCD", "CABD", "BCAD", "CBAD", "BACD", "ACBD", "CBAD"]  # by D
ALL = {"".join(p) for p in permutations("ABCD")}


def question(identity="b/s/test/0", answer="B", options=4):
    texts = [f"option {k}" for k in range(options)]
    return Question(identity, "b", "s", "test", 0, "en", "How many?", texts, answer)


@st.composite
def asked(draw, most=26):
    """A question and its pinned options."""
    letters = LETTERS[: draw(st.integers(2, most))]
    made = question(draw(st.text(max_size=12)), draw(st.sampled_from(letters)), len(letters))
    return made, "".join(sorted(draw(st.sets(st.sampled_from(letters)))))


seeds = st.integers(0, 2**31)


def test_shown_by_hand():
    assert question().shown("CABD") == (["option 2", "option 0", "option 1", "option 3"], "C")
    assert question(answer="C").shown("CABD") == (["option 2", "option 0", "option 1", "option 3"], "A")


@given(asked=asked(most=10), seed=seeds)
def test_shown_keeps_the_right_text(asked, seed):
    item, _ = asked
    for order in option_orders.orders(item, seed, 3):
        options, letter = item.shown(order)
        assert sorted(options) == sorted(item.options)
        assert options[LETTERS.index(letter)] == item.options[LETTERS.index(item.answer)]


@pytest.mark.parametrize(("pinned", "count"), [("", 24), ("D", 6), ("CD", 2), ("BCD", 1), ("ABCD", 1)])
def test_permitted(pinned, count):
    assert option_orders.permitted(question(), pinned) == count == len(permitted_orders(question(), pinned))
    assert option_orders.permitted(question(options=10), pinned) == factorial(10 - len(pinned))


@given(asked=asked(most=5), seed=seeds, copies=st.integers(1, 130))
def test_every_permitted_order_is_used_before_one_is_used_again(asked, seed, copies):
    item, pinned = asked
    orders, allowed = option_orders.orders(item, seed, copies, pinned), permitted_orders(item, pinned)
    assert len(orders) == copies
    assert orders[0] == item.letters
    assert set(orders) <= set(allowed)
    counts = Counter(orders)
    assert max(counts.values()) - min(counts.get(order, 0) for order in allowed) <= 1
    assert len(set(orders)) == min(copies, len(allowed))


@given(asked=asked(), seed=seeds, copies=st.integers(1, 24))
def test_any_number_of_options(asked, seed, copies):
    item, pinned = asked
    for draw in (option_orders.orders, option_orders.reference_orders):
        orders = draw(item, seed, copies, pinned)
        assert orders[0] == item.letters and len(orders) == copies
        assert all(sorted(order) == list(item.letters) for order in orders)
        assert all(order[LETTERS.index(p)] == p for order in orders for p in pinned)
        assert len(set(orders)) == min(copies, option_orders.permitted(item, pinned))


@given(options=st.integers(2, 26), seed=seeds)
def test_six_copies_show_the_answer_under_as_many_letters_as_they_can(options, seed):
    item = question(options=options)
    letters = Counter(item.shown(order)[1] for order in option_orders.orders(item, seed))
    assert len(letters) == min(6, options)
    assert max(letters.values()) <= -(-6 // options) + (options < 6)


@given(asked=asked(), seed=seeds, copies=st.integers(1, 12), more=st.integers(1, 12))
def test_a_copy_does_not_depend_on_how_many_there_are(asked, seed, copies, more):
    item, pinned = asked
    for draw in (option_orders.orders, option_orders.reference_orders):
        assert draw(item, seed, copies, pinned) == draw(item, seed, copies + more, pinned)[:copies]


@pytest.mark.parametrize("options", [4, 5])
def test_a_copy_after_the_last_letter_is_balanced_whatever_the_answer(options):
    shown = Counter()
    for n in range(1000 * options):
        item = question(f"q{n}", "A", options)
        shown[item.shown(option_orders.orders(item, 1)[5])[1]] += 1
    assert all(abs(count - 1000) < 150 for count in shown.values()), shown  # five standard deviations


@pytest.mark.parametrize("options", [10, 26])
def test_the_places_of_the_other_options_are_uniform(options):
    """Where the last letter stands, and whether the last two options shown are in the alphabet's order."""
    places, ascending = Counter(), 0
    for n in range(100 * options):
        second = option_orders.orders(question(f"q{n}", options=options), 1)[1]
        places[second.index(LETTERS[options - 1])] += 1
        ascending += second[-2] < second[-1]
    assert all(abs(places[place] - 100) < 60 for place in range(options))
    assert abs(ascending / (100 * options) - 0.5) < 0.09


def test_seed_and_id_decide():
    assert option_orders.orders(question(), 1) == option_orders.orders(question(), 1)
    by_seed = {tuple(option_orders.orders(question(), seed)) for seed in range(20)}
    by_id = {tuple(option_orders.orders(question(str(n)), 1)) for n in range(20)}
    assert len(by_seed) > 15 and len(by_id) > 15


def test_known_orders_do_not_drift():
    assert option_orders.orders(question(), 42) == KNOWN
    assert option_orders.reference_orders(question()) == KNOWN_REFERENCE
    assert option_orders.orders(question(), 42, 7, "D") == KNOWN_PINNED


@settings(max_examples=50)
@given(asked=asked(most=7), seed=seeds, copies=st.integers(1, 30))
def test_reference_orders_are_distinct_until_used_up(asked, seed, copies):
    item, pinned = asked
    orders, count = (
        option_orders.reference_orders(item, seed, copies, pinned),
        option_orders.permitted(item, pinned),
    )
    assert orders[0] == item.letters and len(orders) == copies
    assert len(set(orders[:count])) == min(copies, count)


def test_reference_orders_are_uniform():
    second = Counter(option_orders.reference_orders(question(str(n)))[1] for n in range(4600))
    assert set(second) == ALL - {"ABCD"}
    assert all(abs(count - 200) < 75 for count in second.values()), second


@pytest.mark.slow
def test_a_hundred_thousand_questions_with_ten_options_in_constant_memory():
    program = """
import json, resource, sys
from mcqlora.data.option_orders import orders
from mcqlora.data.questions import Question
peaks = []
for n in range(100_000):
    right = "ABCDEFGHIJ"[n % 10]
    made = orders(Question(f"q{n}", "b", "s", "test", n, "en", "?", list("0123456789"), right), 42)
    assert len(set(made)) == 6 and len({order.index(right) for order in made}) == 6
    if n in (10_000, 99_999):
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(json.dumps(peaks))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(SOURCE)}, capture_output=True, check=True
    )
    early, late = json.loads(done.stdout)
    assert late - early < 4096  # KiB
