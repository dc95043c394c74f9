"""A run's variants as models: other questions, LEAKED, rows of an epoch."""

from dataclasses import replace

import pytest

from mcqlora.compare import table, trained
from mcqlora.compare.models import Model
from mcqlora.data.questions import Question
from tests.helpers.evaluations import items


def question(number, text="What?"):
    return Question(f"demo/metal/test/{number}", "demo", "metal", "test", number, "en", text, ["x", "y"], "A")


def training(**known):
    usual = {"name": "v-seed-0", "variant": "v", "seed": 0, "rows": None, "checkpoint": "checkpoint_2"}
    usual |= {"valid": items(3, split="val"), "costs": {"checkpoint_2": {"steps": 4}}, "seen": None}
    return trained.Trained(**usual | known)


MCQ = {"protocols": {"answer": {"items": items(30)}}}


def test_a_question_that_is_read_otherwise_is_another_one():
    own = {one.id: one for one in (question(1), question(2))}
    theirs = [question(1), question(2, text="(A) What?"), question(3)]
    assert trained.other_questions(own, theirs) == {"demo/metal/test/2", "demo/metal/test/3"}


def test_the_best_checkpoint_is_what_a_variant_is_compared_by():
    one = training(seen={"test": {}})
    best, other, base = (one.model("m", name, MCQ) for name in ("checkpoint_2", "checkpoint_1", "base"))
    assert (best.variant, best.seed, len(best.valid), best.cost) == ("v", 0, 40, {"steps": 4})
    assert (other.variant, other.seed, other.valid, other.cost) == ("", None, (), {})
    assert best.trained_on and other.trained_on and not base.trained_on  # the base was not tuned on them


def test_other_questions_are_paired_with_none_of_the_runs():
    ids = [item["id"] for item in MCQ["protocols"]["answer"]["items"]]
    one = training(others=ids[:10])
    groups = trained.merged_groups({name: name for name in ids}, {name: "g" for name in ids}, ids[:10], "v")
    run = Model(name="base", source="run", answers={"answer": items(20)})
    summary = table.build([run, one.model("v", "checkpoint_2", MCQ)], "base", "answer", groups)
    (_, row) = summary["models"]
    assert row["paired"]["n"] == 30 and row["mcq"]["n"] == 40
    assert row["mcq"]["clusters"] == 31  # theirs are one group
    assert set(row["changed"]["categories"]) <= {"demo/metal", "demo/river"}


def test_leaked_is_what_the_split_says():
    part = {"questions": 9, "leaked_questions": 3, "leaked": True}
    found = trained.seen({"test": part, "valid": part | {"leaked_questions": 0}})
    assert found["test"] == {"questions": 9, "found": 3} and found["valid"]["found"] == 0
    assert trained.seen({"test": part | {"leaked": False}, "valid": part}) is None


@pytest.mark.parametrize(("wanted", "rows"), [(None, 20), (5, 5), (50, 20)])
def test_rows_of_an_epoch(wanted, rows):
    packing = {"train": {"layout": "packed", "padded": {"rows": 90}, "packed": {"rows": 20}}}
    assert trained.rows_of_epoch(packing, wanted) == rows


def test_a_training_keeps_its_own_valid_ids_apart():
    one = replace(training(), others=["demo/metal/val/0"])
    assert one.model("m", "checkpoint_2", MCQ).valid[0]["id"] == "demo/metal/val/0@v"
