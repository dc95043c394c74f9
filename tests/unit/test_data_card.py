from dataclasses import replace

import pytest

from mcqlora.data import alpaca, duplicates, leakage, ledger, option_references, splits
from mcqlora.data.questions import Question
from mcqlora.report import data_card


def question(
    n, options=("one", "two", "three", "four"), benchmark="ferns", split="test", text=None, answer="A"
):
    return Question(
        id=f"{benchmark}/lore/{split}/{n}",
        benchmark=benchmark,
        subject="lore",
        split=split,
        row=n,
        language="en",
        question=text or f"Which frond is number {n}?",
        options=list(options),
        answer=answer,
    )


QUESTIONS = [
    *(question(n, answer="ABCD"[n % 4]) for n in range(8)),
    question(8, ("one", "two", "three", "all of the above")),
    question(9, ("one", "two", "both A and B", "none of the above")),
    question(0, benchmark="mosses", split="dev", text="x" * 3000),
    question(1, benchmark="mosses", split="val", text="y" * 49),
]


def test_describe():
    found = data_card.describe(QUESTIONS, option_references.DEFAULT)
    assert found.files == {"ferns/lore": {"test": 10}, "mosses/lore": {"dev": 1, "val": 1}}
    assert found.instructions == 1  # the wording names the subject alone
    assert found.references == {"ferns": {"place": 2, "letters": 1}, "mosses": {}}
    assert found.orders == {"ferns": {24: 8, 6: 1, 1: 1}, "mosses": {24: 2}}
    assert found.lengths["mosses"] == {None: 1, 64: 1}  # 49 and the options' 15


def test_letters_are_where_the_records_show_them():
    first = [alpaca.shuffled_record(q, "ABCD") for q in QUESTIONS[:8]]
    assert data_card.letters(first) == {"A": 2, "B": 2, "C": 2, "D": 2}
    assert data_card.letters([alpaca.shuffled_record(q, "BCDA") for q in QUESTIONS[:1]])["D"] == 1
    assert data_card.letters([]) == {}


def test_other_numbers_of_options_and_passages_are_said():
    mixed = [
        question(n, options, text=f"Q{n}", answer="A") for n, options in enumerate(["xy", "xyz", "xyzuvw"])
    ]
    mixed = [replace(one, passage=f"Moss {one.row // 2}.") for one in mixed]
    found = data_card.describe(mixed, option_references.DEFAULT)
    assert found.orders == {"ferns": {2: 1, 6: 1, 720: 1}}
    assert data_card._kinds(found) == [
        "",
        "ferns: questions by their options 1 with 2, 1 with 3, 1 with 6; guessing scores 33.3 %.",
        "",
        "ferns: 3 questions are about one of 2 passages, whose questions stay in one part.",
    ]
    assert data_card._kinds(data_card.describe(QUESTIONS, option_references.DEFAULT)) == []
    assert data_card.letters([alpaca.shuffled_record(mixed[2], "FEDCBA")]) == dict.fromkeys("ABCDE", 0) | {
        "F": 1
    }


@pytest.fixture
def card(tmp_path):
    rows = [ledger.Row(ledger.LedgerEntry(q.id, f"{q.benchmark}/x.csv", q.row), q) for q in QUESTIONS]
    lost = ledger.LedgerEntry("ferns/lore/test/10", "ferns/x.csv", 10, "answer", "the answer is 'E'")
    account = ledger.settle([*rows, ledger.Row(lost)], tmp_path / "questions.jsonl")
    kept = QUESTIONS
    groups = duplicates.groups(kept)
    near = [("near_duplicate", {"groups": 6, "questions": 13})]
    exact = [(name, {"groups": n, "questions": 2 * n}) for n, name in enumerate(duplicates.EXACT, 3)]

    def make(leaked=False, threshold=0.8, licences=("MIT", None), asked=1, family=False, **mixed):
        drawn = ["family"] if family else []
        split = splits.Split([q.id for q in kept[3:]], [kept[1].id], [kept[0].id], [])
        dropped = [{"id": kept[2].id, "reason": "its group stands in test", "test": kept[0].id}]
        found = {
            part: {
                "questions": 1,
                "leaked_questions": int(leaked),
                "found_by": dict.fromkeys([*leakage.LOOKED_FOR, *drawn], int(leaked)),
                "prompts": 1,
                "verbatim_prompts": 0,
                "leaked": leaked,
            }
            for part in ("valid", "test")
        }
        short = splits.fell_short("question", kept, groups, split, 1, asked)
        seen = found | {
            "split": splits.summary(kept, replace(split, dropped=dropped)) | {"fell_short": short},
            "dropped": dropped,
            "duplicates": {
                "threshold": threshold,
                "definitions": dict(exact + (near if threshold else []))
                | {name: {"groups": 2, "questions": 9} for name in drawn},
                "together": {"groups": 8, "questions": 17, "largest": 4},
                "general_stems": {"rule": duplicates.STEM, "texts": 2, "questions": 7},
            },
        }
        return data_card.markdown(
            data_card.Run(run="r", recipe="corrected", split="question", seed=42, copies=2),
            account,
            data_card.describe(kept, option_references.DEFAULT),
            seen,
            [dict.fromkeys("ABCD", 3), {"A": 0, "B": 0, "C": 0, "D": 12}],
            dict(zip(("ferns", "mosses"), licences, strict=True)),
            **mixed,
        )

    return make


def test_the_card_has_every_count(card):
    made = card()
    for line in (
        "| ferns | 11 | 10 | 1 | 7 | 1 | 1 | MIT |",
        "| mosses | 2 | 2 | 1 | 2 | 0 | 0 | not given |",
        "| all | 13 | 12 | 2 | 9 | 1 | 1 |  |",
        "2 categories (benchmark and subject) share 1 distinct instructions.",
        "| answer | 1 | read |",
        "| its group stands in test | 1 | split |",
        "| equal question and options | 3 | 6 |",
        "| equal question and right option | 4 | 8 |",
        "| equal question that is no general stem | 5 | 10 |",
        "| similar by at least 0.8 (Jaccard, runs of 5 characters) | 6 | 13 |",
        "| any of the last four, and so in one part | 8 | 17 |",
        "A general stem is a text with at least 5 different right options: 2 texts of 7 questions.",
        "| ferns | 1 | 2 | 0 | 8 | 1 | 1 |",
        "| 2 | 0 (0.00 %) | 0 (0.00 %) | 0 (0.00 %) | 12 (100.00 %) |",
        "| all | 3 (12.50 %) | 3 (12.50 %) | 3 (12.50 %) | 15 (62.50 %) |",
        "| over 2048 | 0 | 1 |",
        "| ferns/lore | 0 | 0 | 10 | 7 | 1 | 1 |",
    ):
        assert line in made.splitlines(), line
    assert "LEAKED" not in made and "The largest group has 4 questions." in made
    for words in (*leakage.LOOKED_FOR.values(), "any of these", "prompt to the letter"):
        assert f"| {words} | 0 of 1 | 0 of 1 |" in made.splitlines()


def test_the_card_names_the_categories_that_fell_short(card):
    assert "Fewer than asked, valid 1 and test 2; a duplicate group is held out whole" in card(asked=2)
    assert "| ferns/lore | 1 | 1 | 10 | 1 | 0 |" in card(asked=2).splitlines()
    assert "| mosses/lore | 0 | 0 | 2 | 1 | 0 |" in card().splitlines()


def test_what_is_mixed_in_has_its_shares_and_what_was_looked_for(card):
    part = {"file": "talk.json", "read": 5_000, "dropped": {"duplicate": 3, "held_out_question": 1_200}}
    other = {"file": "b*.txt", "read": 9, "dropped": {}}
    numbers = {"drawn": 1_000, "asked": 0.1, "share": 0.0999}
    mix = {
        "looked_for": {"questions": 60, "reading_passages": 2_067, "reading_questions": 10_570},
        "sources": [part | numbers, other | numbers],
    }
    lines = card(mix=mix, mix_licences=["CC BY 4.0", None]).splitlines()
    dropped = "duplicate 3, held_out_question 1,200"
    assert f"| talk.json | 5,000 | {dropped} | 1,000 | 10.00 % | 9.99 % | CC BY 4.0 |" in lines
    assert "| b&#42;.txt | 9 | nothing | 1,000 | 10.00 % | 9.99 % | not given |" in lines
    assert lines[-1].startswith(
        "In every row were looked for 60 validation and test questions, and 2,067 pass"
    )
    assert "Mixed in" not in card()


def test_the_card_of_a_leaking_run_says_so_first(card):
    assert card(leaked=True).splitlines()[2].startswith("> **LEAKED**")
    assert "| duplicate group | 1 of 1 | 1 of 1 |" in card(leaked=True).splitlines()


def test_near_duplicates_that_were_not_looked_for_are_not_counted(card):
    assert "Jaccard" not in card(threshold=None)


def test_families_are_told_where_they_were_looked_for(card):
    assert "one family" not in card()
    lines = card(family=True).splitlines()
    assert "| one family, by the benchmark's own expression | 2 | 9 |" in lines
    assert "| any of the last five, and so in one part | 8 | 17 |" in lines
    assert "| one family, by the benchmark's own expression | 0 of 1 | 0 of 1 |" in lines
    assert (
        "| any of the last four, and so in one part | 8 | 17 |"
        in card(family=True, threshold=None).splitlines()
    )


def test_what_a_language_has_no_expressions_for_is_not_counted_as_none():
    asked = [replace(question(n), language="it", benchmark="felci") for n in range(2)]
    english = question(2, ("one", "two", "three", "None of these"))
    asked.append(replace(english, language="it", benchmark="felci"))
    table = option_references.table({"it": {"place": ["two"]}})
    never, others = "not looked for", "not looked for; 1 in other languages"
    for patterns, row in (
        (option_references.DEFAULT, f"| felci | {never} | {never} | {others} | 2 | 1 |"),
        (table, f"| felci | {never} | 3 | {others} | 0 | 0 | 2 | 1 |"),
    ):
        other = question(0, ("all of the above", "two", "three", "four"))
        described = data_card.describe([question(1), *asked, other], patterns)
        assert row in data_card._references(described)
        ferns = next(line for line in data_card._references(described) if line.startswith("| ferns"))
        assert ferns.startswith("| ferns | 0 | 1 | 0 | 1 | ")
