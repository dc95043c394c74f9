"""Questions about a passage, from the record to the groups, the gate, the ledger and packing.json."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcqlora import files
from mcqlora.data import alpaca, duplicates, leakage, ledger, mix, shuffle, splits
from mcqlora.data.questions import LETTERS
from mcqlora.errors import UserError
from mcqlora.tokens import packing
from mcqlora.tokens.encoding import write_documents
from tests.helpers import templates
from tests.helpers.questions import make_question

TEMPLATE = templates.internlm(bos=1, eos=2, eoh=7, eoa=8, newline=9, pad=0)
LARKS, OWLS = "Larks sing at dawn over the field.", "Owls hunt at night in the wood."


def about(number, passage, text=None, **changes):
    asked = text or f"What does bird {number} of the story do first, and why does it do that so early?"
    return make_question(number, passage=passage, question=asked, **changes)


def test_the_record_has_the_passage_before_the_question_and_says_how_long_it_is():
    plain, told = make_question(0), about(0, LARKS, "Why?", options=["x", "y"])
    assert "passage" not in alpaca.shuffled_record(plain, "BACD")
    record = alpaca.shuffled_record(told, "BA")
    assert record["input"] == f"Passage: {LARKS}\nQuestion: Why? \nA.y\nB.x"
    assert record["input"][: record["passage"]] == f"Passage: {LARKS}\n"
    assert "one of the options A/B. Please" in record["instruction"]
    assert alpaca.record(told)["input"] == f"Passage: {LARKS}\nQuestion: Why? \nA.x\nB.y"


@given(st.integers(2, 26), st.data())
def test_the_wording_names_as_many_letters_as_there_are(options, data):
    letters = LETTERS[:options]
    asked = make_question(
        options=[f"bird {k}" for k in range(options)], answer=data.draw(st.sampled_from(letters))
    )
    record = alpaca.shuffled_record(asked, "".join(data.draw(st.permutations(letters))))
    assert f"one of the options {'/'.join(letters)}. Please" in record["instruction"]
    assert [line[:2] for line in record["input"].split("\n")[1:]] == [f"{letter}." for letter in letters]
    assert f"{alpaca.shown_letter(record)}.bird {LETTERS.index(asked.answer)}" in record["input"]


def test_questions_of_one_passage_are_one_group_and_a_passage_is_part_of_the_text():
    questions = [about(0, LARKS), about(1, f" {LARKS.upper()}"), about(2, OWLS), make_question(3)]
    found = duplicates.find(questions)
    assert found.groups["toy/old_birds/test/1"] == found.groups["toy/old_birds/test/0"]
    assert len(set(found.groups.values())) == 3
    assert found.counts["definitions"]["passage"] == {"groups": 1, "questions": 2}
    same = [about(0, LARKS, "Who sings?"), about(1, OWLS, "Who sings?")]
    assert len(set(duplicates.groups(same).values())) == 2
    assert "passage" not in duplicates.find([make_question(0)]).counts["definitions"]


@given(st.lists(st.integers(0, 7), min_size=24, max_size=24), st.integers(0, 99))
def test_a_passage_is_never_on_both_sides(passages, seed):
    questions = [about(n, f"Story {p} of the birds." if p else "") for n, p in enumerate(passages)]
    groups = duplicates.groups(questions)
    try:
        split = splits.split_question(questions, groups, seed, 4, 4)
    except UserError:  # all of it fitted into what was held out
        return
    part = {identity: name for name in splits.PARTS for identity in getattr(split, name)}
    sides = {}
    for question in questions:
        if question.passage:
            sides.setdefault(question.passage, set()).add(part[question.id])
    assert all(len(names) == 1 for names in sides.values())


def test_the_gate_looks_for_passages_anew():
    trained, tested = about(0, LARKS), about(1, LARKS)
    records = [alpaca.shuffled_record(trained, "ABCD")], [alpaca.shuffled_record(tested, "ABCD")]
    wrong = {question.id: question.id for question in (trained, tested)}  # groups that missed it
    found = leakage.leakage(records[0], {"test": records[1]}, [trained, tested], wrong)["test"]
    assert found["found_by"]["passage"] == 1 and found["leaked"]
    with pytest.raises(UserError, match="equal passage 1"):
        leakage.gate(found)


def test_equal_questions_on_other_passages_do_not_contradict_each_other(tmp_path):
    def contradictory(questions):
        rows = [ledger.Row(ledger.LedgerEntry(one.id, "x.csv", one.row), one) for one in questions]
        return ledger.settle(rows, tmp_path / "questions.jsonl")["notes"]["contradictory"]["groups"]

    pair = [about(0, LARKS, "Who?", answer="A"), about(1, OWLS, "Who?", answer="B")]
    assert contradictory(pair) == 0
    alike = [replace(pair[0], passage=OWLS), pair[1]]
    assert contradictory(alike) == 1


def test_a_held_out_passage_is_not_mixed_in():
    held = mix.Held(questions=[about(0, LARKS + " They rest at noon.")], reading=[])
    texts = [f"Once more: {LARKS} They rest at noon. So it ends.", "Something else."]
    records = [
        {"id": f"f/{n}", "order": "", "prompt": "", "completion": text} for n, text in enumerate(texts)
    ]
    assert mix.screen(records, held) == {"f/0": ("held_out_passage", "toy/old_birds/test/0")}


class Spelling:
    """An encoder with an id a character."""

    def int32(self, text):
        return b"".join(ord(character).to_bytes(4, "little") for character in text)


@pytest.mark.parametrize("workers", [1, 3])
def test_a_passage_counts_once_in_the_ledger_of_packing(tmp_path, workers):
    asked = [about(n, (LARKS, OWLS)[n % 2]) for n in range(5)] + [make_question(9)]
    records = [alpaca.shuffled_record(one, order) for order in ("ABCD", "DCBA") for one in asked]
    files.write_json_array(tmp_path / "records", records)
    names = tmp_path / "ids", tmp_path / "shapes"
    *_, passages = write_documents([tmp_path / "records"], Spelling(), TEMPLATE, 900, *names, workers)
    larks, owls = (len(f"Passage: {text}\n") for text in (LARKS, OWLS))
    assert packing.passages(passages) == {
        "documents": 10,
        "ids": 6 * larks + 4 * owls,
        "distinct": 2,
        "distinct_ids": larks + owls,
    }


def test_the_reference_recipe_is_for_four_options():
    five = make_question(options=list("vwxyz"), answer="A")
    settings = shuffle.Shuffle(seed=1, reparse_options=True)
    with pytest.raises(UserError) as raised:
        shuffle.copies(five, settings)
    assert str(raised.value) == (
        "toy/old_birds/test/0: it has 5 options, and the reference recipe is for four; "
        "set shuffle.reparse_options: false"
    )
    assert len(shuffle.copies(five, replace(settings, reparse_options=False, balance_letters=False))) == 6
