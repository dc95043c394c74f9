from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcqlora.data import alpaca, option_references, shuffle
from mcqlora.data.questions import Question
from mcqlora.data.shuffle import Shuffle
from mcqlora.errors import UserError
from tests.helpers.questions import permitted_orders

QUESTION = Question(
    id="mmlu/animal_care/test/3",
    benchmark="mmlu",
    subject="animal_care_at_home",
    split="test",
    row=3,
    language="en",
    question="How many stomachs?",
    options=[" one", "two ", "three.", "fo ur"],
    answer="C",
)


REFERENCE = {"pin_references": False, "balance_letters": False, "reparse_options": True}


def test_record_wording():
    assert alpaca.record(QUESTION) == {
        "instruction": "Here is a question about animal care at home, the correct answer is one of the "
        "options A/B/C/D. Please select the correct option and answer the question with "
        "'The right option is'.",
        "input": "Question: How many stomachs? \nA. one\nB.two \nC.three.\nD.fo ur",
        "output": "The right option is C.",
    }


def test_shuffled_record_by_hand():
    assert alpaca.shuffled_record(QUESTION, "DCBA") == {
        "id": "mmlu/animal_care/test/3",
        "order": "DCBA",
        "instruction": alpaca.record(QUESTION)["instruction"],
        "input": "Question: How many stomachs? \nA.fo ur\nB.three.\nC.two \nD. one",
        "output": "The right option is B.three.",
    }
    plain = alpaca.shuffled_record(replace(QUESTION, answer="A"), "ABCD")
    assert plain["output"] == "The right option is A.one"
    assert list(plain) == ["id", "order", "instruction", "input", "output"]


def copies(question, seed, count=6, patterns=option_references.DEFAULT, **switches):
    return shuffle.copies(question, Shuffle(seed=seed, **switches), count, patterns)


def test_fewer_copies_are_the_first_of_more():
    for switches in ({}, REFERENCE):
        for number in range(5):
            question = replace(QUESTION, id=str(number))
            made = copies(question, 7, **switches)
            assert [copies(question, 7, k, **switches)[-1] for k in range(1, 7)] == made
            assert made[0]["order"] == "ABCD"
            assert len({copy["order"] for copy in made}) == 6


def test_copies_respect_pins_and_own_patterns():
    pinned = replace(QUESTION, options=["one", "two", "three", "none of the above"])
    assert all(copy["order"][3] == "D" for copy in copies(pinned, seed=1))
    letters = replace(QUESTION, options=["one", "two", "three", "both A and B"])
    assert {copy["order"] for copy in copies(letters, seed=1)} == {"ABCD"}
    assert len({copy["order"] for copy in copies(letters, seed=1, **REFERENCE)}) == 6
    table = option_references.table({"en": {"place": ["^four$"]}})
    own = replace(QUESTION, options=["four", "two", "three", "one"])
    assert all(copy["order"][0] == "A" for copy in copies(own, seed=1, patterns=table))


def test_each_deviation_of_the_reference_is_a_switch_of_its_own():
    pinned = replace(QUESTION, options=[" one", "two", "three", "none of the above"])
    orders = {
        name: [copy["order"] for copy in copies(pinned, seed=3, **{name: REFERENCE[name]})]
        for name in REFERENCE
    }
    honest = [copy["order"] for copy in copies(pinned, seed=3)]
    assert orders["reparse_options"] == honest
    assert any(order[3] != "D" for order in orders["pin_references"])
    assert all(order[3] == "D" for order in orders["balance_letters"])
    assert orders["balance_letters"] != honest
    text = copies(pinned, 3, 2, reparse_options=True)[1]["input"]
    assert "one" in text and " one" not in text.split("?")[1]


def reparsed(question, order):
    (record,) = shuffle.reparsed_records(question, [order])
    return record


words = st.text(st.characters(codec="utf-8", exclude_characters="\n.\r"), min_size=1, max_size=8)
plain_options = st.lists(words.map(str.strip).filter(bool), min_size=4, max_size=4)


@given(text=words, options=plain_options, order=st.sampled_from(permitted_orders(QUESTION)))
def test_a_reparsed_record_equals_ours_where_the_text_is_plain(text, options, order):
    question = replace(QUESTION, question=text, options=options)
    assert reparsed(question, order) == alpaca.shuffled_record(question, order)


def test_parse_options_loses_leading_space():
    assert shuffle.parse_options(alpaca.record(QUESTION)["input"]) == ("one", "two ", "three.", "fo ur")


def test_parse_options_throws_the_first_of_five_away():
    text = "Question: Who spoke?\nA. Llama herself said so. \nA.one\nB.two\nC.three\nD.four"
    assert shuffle.parse_options(text) == ("one", "two", "three", "four")


def test_a_reparsed_record_cuts_a_passage_that_ours_keeps():
    question = replace(QUESTION, question="Read.\nA. Llama wrote this.\nWho wrote?")
    assert "A. Llama wrote this." in reparsed(question, "ABCD")["input"]
    cut = reparsed(question, "BACD")
    assert cut["input"] == "Question: Read.\nA.two \nB.one\nC.three.\nD.fo ur"
    assert "A. Llama wrote this.\nWho wrote?" in alpaca.shuffled_record(question, "BACD")["input"]


def test_a_reparsed_record_without_four_options():
    question = replace(QUESTION, options=["", "", "", ""])
    with pytest.raises(UserError, match=r"mmlu/animal_care/test/3: \d options .*reparse_options: false"):
        reparsed(question, "ABCD")
