import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcqlora.data import squad
from mcqlora.errors import UserError
from mcqlora.evaluate import squad_metrics

ROOT = Path(__file__).resolve().parents[2]
REAL = ROOT.parent / "shared/data/squad/dev-v1.1.json"
real = pytest.mark.skipif(not REAL.exists(), reason=f"needs the SQuAD v1.1 dev set at {REAL}")

# Letters, digits, both kinds of punctuation, Chinese and the spaces that the scorers treat differently.
PIECES = ["the ", *"abthe AN 019.,-_'!?，。：…“”‘’小渗能力的龦\n\t{}é"]
TEXT = st.lists(st.sampled_from(PIECES), max_size=30).map("".join)


def document(questions=((("q0", ["red"]), ("q1", ["blue", "sky blue"])), (("q2", ["green"]),))):
    """Two paragraphs of one article: two questions, then one."""
    paragraphs = [
        {
            "context": f"passage {i}",
            "qas": [
                {
                    "id": name,
                    "question": f"{name}?",
                    "answers": [{"text": text, "answer_start": 0} for text in answers],
                }
                for name, answers in block
            ],
        }
        for i, block in enumerate(questions)
    ]
    return {"version": "1.1", "data": [{"title": "colours", "paragraphs": paragraphs}]}


def write(path, value):
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def test_read_yields_every_question_and_marks_the_first_of_each_paragraph(tmp_path):
    rows = list(squad.read(write(tmp_path / "dev.json", document())))
    assert rows[1] == squad.ReadingQuestion(
        id="q1",
        context="passage 0",
        question="q1?",
        answers=["blue", "sky blue"],
        first=False,
        paragraph=0,
        article=0,
    )
    assert [(row.id, row.first, row.paragraph) for row in rows] == [
        ("q0", True, 0),
        ("q1", False, 0),
        ("q2", True, 1),
    ]


def damaged(change):
    value = document()
    change(value["data"][0]["paragraphs"][1])
    return value


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{cut", "not valid JSON"),
        ([], "no 'data'"),
        ({"data": {}}, "'data' is not a list"),
        ({"data": []}, "no paragraph"),
        ({"data": [{"title": "x"}]}, r"data\[0\]: no 'paragraphs'"),
        (damaged(lambda block: block.pop("context")), "paragraph 1: no 'context'"),
        (damaged(lambda block: block.update(context=3)), "paragraph 1: 'context' is not text"),
        (damaged(lambda block: block["qas"][0].update(answers=[])), "paragraph 1, question 0: no answer"),
        (
            damaged(lambda block: block["qas"].append(block["qas"][0])),
            "paragraph 1, question 1: a second question with the id 'q2'",
        ),
        (
            damaged(lambda block: block["qas"][0].update(answers=["green"])),
            "paragraph 1, question 0: no 'text'",
        ),
    ],
)
def test_a_malformed_file_is_named_with_the_place(tmp_path, content, message):
    path = write(tmp_path / "dev.json", content)
    with pytest.raises(UserError, match=message) as caught:
        list(squad.read(path))
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        list(squad.read(tmp_path / "absent.json"))


def test_prompt_is_the_one_of_mindformers_and_keeps_braces():
    assert squad.prompt("A {set} of\nlines.", "Which {one}?") == (
        "Read the passage and answer the question below.\n\n### Instruction:\nA {set} of\nlines.\n\n"
        "### Input:\nWhich {one}?\n\n### Response:"
    )


@pytest.mark.parametrize(
    ("prediction", "gold", "official", "mindformers"),
    [
        ("the Denver Broncos", "Denver Broncos", (1, 1.00), (0, 0.75)),
        ("Broncos of Denver", "Denver Broncos", (0, 0.80), (0, 0.25)),
        ("1,000", "1000", (1, 1.00), (0, 0.00)),
        ("the cat and dog", "a bird or fish", (0, 0.00), (0, 0.14)),
    ],
)
def test_the_two_scorers_disagree_as_tabled(prediction, gold, official, mindformers):
    assert tuple(round(value, 2) for value in squad_metrics.official(prediction, [gold])) == official
    assert tuple(round(value, 2) for value in squad_metrics.mindformers(prediction, gold)) == mindformers


@pytest.mark.parametrize(
    ("prediction", "golds", "expected"),
    [
        ("sky blue", ["red", "The sky-blue", "sky blue!"], (1.0, 1.0)),
        ("sky", ["red", "sky blue"], (0.0, 2 / 3)),
        ("an anthem", ["anthem"], (1.0, 1.0)),  # an article is a whole word, not a beginning
        ("the", [""], (1.0, 0.0)),  # as the official script: nothing equals nothing, and shares no word
        ("“the”", ["“ ”"], (1.0, 1.0)),  # an article leaves a space behind
        ("a a b", ["b b a c"], (0.0, 0.5)),  # one b of one word (articles go) against three
    ],
)
def test_official_takes_the_best_gold(prediction, golds, expected):
    assert squad_metrics.official(prediction, golds) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("prediction", "gold", "expected"),
    [
        ("郑州市。", "郑州市", (1.0, 1.0)),
        ("郑州", "郑州市", (0.0, 0.8)),
        ("\n Paris\nand more", "paris", (1.0, 1.0)),  # the first line of the stripped prediction
        ("Paris.", "Paris", (0.0, 2 / 3)),  # an ASCII period stays
        ("x-ray", "xray", (1.0, 1.0)),
        ("ray -", "ray", (0.0, 2 / 3)),  # stripped before the symbol goes, so a space stays behind
        ("…", "", (0.0, 0.0)),  # listed by MindFormers as two characters, so never removed
        ("", "", (1.0, 0.0)),
    ],
)
def test_mindformers_edges(prediction, gold, expected):
    assert squad_metrics.mindformers(prediction, gold) == pytest.approx(expected)


@given(TEXT, st.lists(TEXT, min_size=1, max_size=3))
def test_official_is_bounded_and_full_on_a_gold(prediction, golds):
    em, f1 = squad_metrics.official(prediction, golds)
    assert em in (0.0, 1.0) and 0.0 <= f1 <= 1.0
    assert squad_metrics.official(golds[0], golds)[0] == 1.0


def test_aggregate_is_in_percent_and_reproduces_the_published_em():
    scores = squad_metrics.aggregate([(1.0, 1.0)] * 649 + [(0.0, 0.5)] * 1418)
    assert scores == {"em": 31.398161586840832, "f1": 100 * (649 + 709) / 2067, "n": 2067}
    assert squad_metrics.aggregate([]) == {"em": None, "f1": None, "n": 0}


def test_scoring_prints_nothing_and_leaves_no_cache(tmp_path):
    code = "from mcqlora.evaluate import squad_metrics; print(squad_metrics.mindformers('the sea', 'sea'))"
    env = os.environ | {"PYTHONPATH": str(ROOT / "src"), "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("Score(em=0.0, f1=0.5)\n", "")
    assert list(tmp_path.iterdir()) == []


@real
def test_real_dev_set_has_the_official_counts():
    rows = list(squad.read(REAL))
    assert len(rows) == len({row.id for row in rows}) == 10_570
    assert sum(row.first for row in rows) == rows[-1].paragraph + 1 == 2_067


@pytest.mark.slow
def test_equals_the_class_of_mindformers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # importing it writes ./output
    metric = pytest.importorskip("mindformers.core.metric.metric").EmF1Metric()

    @settings(max_examples=1000, deadline=None)
    @given(TEXT, TEXT)
    def compare(prediction, gold):
        metric.clear()
        metric.update([prediction], [gold])
        theirs = metric.eval()
        em, f1 = squad_metrics.mindformers(prediction, gold)
        assert (100.0 * em, 100.0 * f1) == (theirs["Em"], theirs["F1"])

    compare()
