"""A benchmark with 2, 3, 4, 5 and 10 options in one run, some questions about a passage, to the report."""

from collections import Counter, defaultdict

import pytest

from mcqlora import files
from mcqlora.data.questions import LETTERS, Question, read_questions, write_questions
from tests.helpers.runs import setting, snakemake

pytestmark = pytest.mark.slow

KINDS = (2, 3, 4, 5, 10)
PROTOCOLS = (
    "[answer, letter, option, harness, generation]"  # the small tokenizer has no piece for each letter
)
SETTINGS = ["encode.seq_length=256", "holdout={valid: 6, test: 15}", "read.drop_identical_options=false"]


def with_options(question: Question, number: int, values: list[str]) -> Question:
    """The question with `number` options, among them the right one; every other one with a passage."""
    right = question.options[LETTERS.index(question.answer)]
    others = [value for value in dict.fromkeys(values) if value != right][: number - 1]
    place = question.row % number
    options = [*others[:place], right, *others[place:]]
    passage = f"Notes {question.row // 20} on {question.subject}." if question.row % 2 else ""
    return Question(
        question.id,
        question.benchmark,
        question.subject,
        question.split,
        question.row,
        question.language,
        question.question,
        options,
        LETTERS[place],
        passage,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The results of the run, whose questions were changed after they were read."""
    folder = tmp_path_factory.mktemp("options")
    options = [
        "--cores",
        "2",
        "--config",
        *map(setting, SETTINGS),
        setting(f"evaluate.protocols={PROTOCOLS}"),
    ]
    read = snakemake(folder, "results/tiny/questions.jsonl", *options)
    assert read.returncode == 0, read.stderr
    results = folder / "results/tiny"
    questions = list(read_questions(results / "questions.jsonl"))
    values = defaultdict(list)
    for question in questions:
        values[question.language] += question.options
    changed = [with_options(q, KINDS[i % 5], values[q.language]) for i, q in enumerate(questions)]
    assert {len(question.options) for question in changed} == set(KINDS)
    write_questions(results / "questions.jsonl", changed)
    done = snakemake(folder, *options)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert list(read_questions(results / "questions.jsonl")) == changed
    return results


def test_every_question_is_asked_with_its_own_options(made):
    questions = {question.id: question for question in read_questions(made / "questions.jsonl")}
    mcq = files.read_json(made / "evaluation/checkpoint_5/mcq.json")
    for name, part in mcq["protocols"].items():
        kinds = Counter(len(item["order"]) for item in part["items"])
        assert set(kinds) == set(KINDS) or name == "generation"
        for item in part["items"]:
            question = questions[item["id"]]
            assert sorted(item["order"]) == list(question.letters)
            assert len(item.get("scores", item["order"])) == len(question.options)
            assert item["gold"] == question.shown(item["order"])[1]
    turned = Counter(item["id"] for item in mcq["circular"]["letter"]["items"])
    assert all(count == len(questions[identity].options) for identity, count in turned.items())
    assert mcq["circular"]["questions"] == len(turned)


def test_chance_is_the_mean_over_the_questions(made):
    summary = files.read_json(made / "summary.json")
    items = files.read_json(made / "evaluation/base/mcq.json")["protocols"]["answer"]["items"]
    chance = sum(1 / len(item["order"]) for item in items) / len(items)
    assert summary["mcq"]["chance"] == pytest.approx(chance)
    assert 0.2 < chance < 0.4 and chance != 0.25
    assert all(0 <= summary["mcq"][side]["chance_p"] <= 1 for side in ("base", "tuned"))
    assert f"Chance is {100 * chance:.3g} %; " in (made / "report.md").read_text()
    confusion = summary["robustness"]["tuned"]["letter"]["confusion"]
    assert list(confusion) == list(LETTERS[:10])


def test_a_passage_is_in_one_part_and_is_counted_once(made):
    questions = {question.id: question for question in read_questions(made / "questions.jsonl")}
    about = defaultdict(set)
    documents = Counter()
    for part in ("train", "valid", "test"):
        for record in files.read_json_array(made / f"splits/{part}.json"):
            if passage := questions[record["id"]].passage:
                about[passage].add(part)
                documents[part] += 1
                assert record["input"].startswith(f"Passage: {passage}\nQuestion: ")
    assert about and all(len(parts) == 1 for parts in about.values())
    found = files.read_json(made / "packing.json")["train"]["passages"]
    assert found["documents"] == documents["train"]
    assert found["distinct"] == sum(parts == {"train"} for parts in about.values())
    assert 0 < found["distinct_ids"] < found["ids"]
    assert files.read_json(made / "leakage.json")["test"]["found_by"]["passage"] == 0
    card = (made / "data_card.md").read_text()
    assert "questions are about one of" in card and "with 10; guessing scores" in card
