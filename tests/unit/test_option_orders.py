from collections import Counter
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcqlora.data import option_orders
from mcqlora.data.questions import Question

KNOWN = ["ABCD", "DACB", "CDBA", "BADC", "BCDA", "CADB"]
KNOWN_REFERENCE = ["ABCD", "ACBD", "CBAD", "DACB", "CBDA", "ABDC"]
ALL = {"".join(p) for p in permutations("ABCD")}


def question(identity="b/s/test/0", answer="B"):
    options = ["one", "two", "three", "four"]
    return Question(identity, "b", "s", "test", 0, "en", "How many?", options, answer)


questions = st.builds(question, st.text(max_size=12), st.sampled_from("ABCD"))
pins = st.sets(st.sampled_from("ABCD")).map(lambda letters: "".join(sorted(letters)))


def test_shown_by_hand():
    assert question().shown("CABD") == (["three", "one", "two", "four"], "C")
    assert question(answer="C").shown("CABD") == (["three", "one", "two", "four"], "A")


@given(question=questions, order=st.sampled_from(sorted(ALL)))
def test_shown_keeps_the_right_text(question, order):
    options, letter = question.shown(order)
    assert sorted(options) == sorted(question.options)
    assert options["ABCD".index(letter)] == question.options["ABCD".index(question.answer)]


@pytest.mark.parametrize(("pinned", "count"), [("", 24), ("D", 6), ("CD", 2), ("BCD", 1), ("ABCD", 1)])
def test_permitted(pinned, count):
    allowed = option_orders.permitted(pinned)
    assert allowed[0] == "ABCD"
    assert len(set(allowed)) == len(allowed) == count
    assert all(order["ABCD".index(p)] == p for order in allowed for p in pinned)


@given(question=questions, seed=st.integers(0, 2**31), pinned=pins, copies=st.integers(1, 30))
def test_orders(question, seed, pinned, copies):
    orders = option_orders.orders(question, seed, copies, pinned)
    allowed = option_orders.permitted(pinned)
    assert len(orders) == copies
    assert orders[0] == "ABCD"
    assert set(orders) <= set(allowed)
    # Every permitted order is used before one is used again.
    counts = Counter(orders)
    assert max(counts.values()) - min(counts.get(order, 0) for order in allowed) <= 1
    assert len(set(orders)) == min(copies, len(allowed))


@given(question=questions, seed=st.integers(0, 2**31))
def test_six_copies_show_the_answer_under_every_letter(question, seed):
    orders = option_orders.orders(question, seed)
    letters = Counter(question.shown(order)[1] for order in orders)
    assert set(letters) == set("ABCD")
    assert max(letters.values()) <= 2
    assert len(set(orders)) == 6


@given(
    question=questions,
    seed=st.integers(0, 9),
    copies=st.integers(1, 12),
    more=st.integers(1, 12),
    pinned=pins,
)
def test_a_copy_does_not_depend_on_how_many_there_are(question, seed, copies, more, pinned):
    many = option_orders.orders(question, seed, copies + more, pinned)
    assert option_orders.orders(question, seed, copies, pinned) == many[:copies]


def test_the_sixth_copy_is_balanced_whatever_the_answer():
    shown = Counter()
    for n in range(4000):
        item = question(f"q{n}", "A")
        shown[item.shown(option_orders.orders(item, 1)[5])[1]] += 1
    assert all(abs(count - 1000) < 150 for count in shown.values()), shown  # five standard deviations


def test_seed_and_id_decide():
    assert option_orders.orders(question(), 1) == option_orders.orders(question(), 1)
    by_seed = {tuple(option_orders.orders(question(), seed)) for seed in range(20)}
    by_id = {tuple(option_orders.orders(question(str(n)), 1)) for n in range(20)}
    assert len(by_seed) > 15 and len(by_id) > 15


def test_known_orders_do_not_drift():
    assert option_orders.orders(question(), 42) == KNOWN
    assert option_orders.reference_orders(question()) == KNOWN_REFERENCE


@settings(max_examples=50)
@given(question=questions, seed=st.integers(0, 2**31), copies=st.integers(1, 30), pinned=pins)
def test_reference_orders_are_distinct_until_used_up(question, seed, copies, pinned):
    orders = option_orders.reference_orders(question, seed, copies, pinned)
    allowed = option_orders.permitted(pinned)
    assert orders[0] == "ABCD" and len(orders) == copies
    assert len(set(orders[: len(allowed)])) == min(copies, len(allowed))
    assert set(orders) <= set(allowed)
    assert option_orders.reference_orders(question, seed, copies + 7, pinned)[:copies] == orders


def test_reference_orders_are_uniform():
    second = Counter(option_orders.reference_orders(question(str(n)))[1] for n in range(4600))
    assert set(second) == ALL - {"ABCD"}
    assert all(abs(count - 200) < 75 for count in second.values()), second
