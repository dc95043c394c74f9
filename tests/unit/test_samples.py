"""Item files of other tools: rows become items of the questions that they are about; none is passed over."""

import json

import pytest

from mcqlora.data.questions import Question
from mcqlora.errors import UserError
from mcqlora.interop import samples

FRUIT = ("apple", "pear", "plum", "fig")


def question(number, text, options=FRUIT, answer="B", subject="food"):
    return Question(
        f"b/{subject}/test/{number}", "b", subject, "test", number, "en", text, list(options), answer
    )


QUESTIONS = [
    question(0, "Which one is green?"),
    question(1, "Which of these fruits is said to have been served at the wedding of the first king?"),
    question(2, "Which one is green?", ("kelp", "moss", "rust", "sand")),
    question(3, "Which one is green?", subject="art"),
]


def harness(doc_id, doc, scores=(-3, -1, -2, -4), target=1, **more):
    best = max(range(len(scores)), key=scores.__getitem__)
    row = {"doc_id": doc_id, "doc": doc, "target": target, "filter": "none"}
    row |= {"resps": [[[str(score), "False"]] for score in scores]}
    row |= {"filtered_resps": [[str(score), "False"] for score in scores]}
    return row | {"acc": float(best == target), "acc_norm": 0.0} | more


def doc(one, order="ABCD", **more):
    return {"question": one.question, "choices": one.shown(order)[0], "subject": one.subject} | more


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def found(path, questions=QUESTIONS):
    return samples.items([path], questions)


def test_the_harness_rows_are_matched_by_id_and_by_text(tmp_path):
    rows = [
        harness(0, doc(QUESTIONS[0])),
        harness(1, {"id": QUESTIONS[1].id, "Q": "in other words"}, scores=(-1, -2, -3, -4)),
        harness(2, doc(QUESTIONS[2], "DCBA"), target=2, scores=(-9, -9, -1, -9)),
        harness(3, doc(QUESTIONS[3])),
        harness(4, {"question": "What is nobody asked here?", "choices": list(FRUIT)}),
        harness(5, doc(QUESTIONS[1])),
    ]
    made = found(lines(tmp_path / "samples_x.jsonl", rows))
    assert [item["id"] for item in made.items] == [one.id for one in QUESTIONS]
    assert [item["correct"] for item in made.items] == [True, False, True, True]
    assert [item["choice"] for item in made.items] == ["B", "A", "C", "B"]
    assert [(item["order"], item["gold"]) for item in made.items][2] == ("DCBA", "C")
    assert made.items[0]["scores"] == [-3, -1, -2, -4]
    counts = {"rows": 6, "by_id": 1, "by_text": 3, "unmatched": 1, "twice": 1, "other_gold": 0, "missing": 0}
    assert made.counts == counts
    line = samples.said("theirs", made.counts)
    assert "4 of 6 items matched" in line and "1 about none of the test questions" in line


def test_a_row_about_another_right_option_is_left_out(tmp_path):
    path = lines(
        tmp_path / "s.jsonl", [harness(0, doc(QUESTIONS[0]), target=3), harness(1, doc(QUESTIONS[1]))]
    )
    assert found(path).counts["other_gold"] == 1 and len(found(path).items) == 1


def test_of_several_filters_the_first_counts(tmp_path):
    """And a generated answer is read."""
    one = {"doc_id": 0, "doc": doc(QUESTIONS[0]), "target": "B", "resps": [["The answer is B."]]}
    strict = one | {"filter": "strict", "filtered_resps": ["B"], "exact_match": 1.0}
    loose = one | {"filter": "loose", "filtered_resps": ["A"], "exact_match": 0.0}
    (item,) = found(lines(tmp_path / "s.jsonl", [strict, loose])).items
    assert (item["choice"], item["correct"]) == ("B", True) and "scores" not in item


def asked(one):
    options = "\n".join(f"{letter}. {text}" for letter, text in zip("ABCD", one.options, strict=True))
    return f"Question: {one.question}\n{options}\nAnswer: "


def test_opencompass_generations_are_matched_by_the_last_turn(tmp_path):
    first = {"role": "HUMAN", "prompt": asked(QUESTIONS[0])}
    shots = [{"role": "HUMAN", "prompt": asked(QUESTIONS[1])}, {"role": "BOT", "prompt": "B\n"}]
    rows = {
        "0": {
            "origin_prompt": [*shots, {"role": "HUMAN", "prompt": asked(QUESTIONS[0])}],
            "prediction": "B",
            "gold": "B",
        },
        "1": {"origin_prompt": asked(QUESTIONS[2]), "prediction": "I think that it is (C).", "gold": "B"},
        "2": {"origin_prompt": asked(QUESTIONS[3]), "prediction": "no idea", "gold": "B"},
    }
    (tmp_path / "mmlu.json").write_text(json.dumps(rows))
    made = found(tmp_path / "mmlu.json")
    told = {item["id"]: (item["choice"], item["correct"]) for item in made.items}
    first, other = sorted(one for one in told if one != QUESTIONS[2].id)
    assert told[QUESTIONS[2].id] == ("C", False)
    assert {told[first], told[other]} == {("B", True), (None, False)}  # the same text in two subjects
    assert made.counts["missing"] == 1 and QUESTIONS[1].id not in told


def test_opencompass_likelihoods_and_details(tmp_path):
    part = {
        "testing input": asked(QUESTIONS[1]) + "A",
        "prompt": "examples" + asked(QUESTIONS[1]),
        "PPL": 1.5,
    }
    row = {
        "origin_prompt": "x",
        "label: A": part,
        "label: B": part | {"PPL": 1.0},
        "prediction": "B",
        "gold": "B",
    }
    (tmp_path / "ppl.json").write_text(json.dumps({"0": row}))
    (item,) = found(tmp_path / "ppl.json").items
    assert (item["id"], item["choice"], item["correct"]) == (QUESTIONS[1].id, "B", True)
    detail = {"prompt": asked(QUESTIONS[1]), "origin_prediction": "b", "predictions": "B", "references": "B"}
    (tmp_path / "d.json").write_text(
        json.dumps({"accuracy": 0, "details": {"type": "GEN", "0": detail | {"correct": False}}})
    )
    (item,) = found(tmp_path / "d.json").items
    assert (item["choice"], item["correct"]) == ("B", False)


@pytest.mark.parametrize(
    "text, letter",
    [
        ("B", "B"),
        ("The right option is C.plum", "C"),
        ("the answer is: (d)", "D"),
        ("答案是A。", "A"),
        ("Bad", None),
    ],
)
def test_the_letter_of_a_text(text, letter):
    assert samples.letter(text) == letter


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "no items in it"),
        ("{}", "no items in it"),
        ('{"doc_id": 1, "doc": {}}', "no item file"),
        ("[1, 2]", "no item file"),
        ('{"doc_id": 0}\n{', "no item file|line 2 is not valid JSON"),
        (json.dumps(harness(0, {"question": "Which?", "choices": ["a", "b"]})), "none of 1 items is about"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path, text, said):
    (tmp_path / "x.jsonl").write_text(text)
    with pytest.raises(UserError, match=said):
        found(tmp_path / "x.jsonl")
