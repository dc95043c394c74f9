"""All presets' sets side by side in one run: from their files to token ids, and slowly to the report.

They have 2 to 10 options, and some have passages that questions share: what that asks of every stage is here.
"""

import functools
from collections import Counter, defaultdict

import pytest
import yaml

from mcqlora import files
from mcqlora.config import presets
from mcqlora.data.questions import LETTERS, read_questions
from tests.helpers.benchmarks import write
from tests.helpers.data_folder import write_data
from tests.helpers.runs import TINY, snakemake


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Makes targets of the run, and returns its results."""
    folder = tmp_path_factory.mktemp("presets")
    data = write_data(folder / "data")
    made = yaml.safe_load(TINY.read_text())
    made |= {"data": "data", "benchmarks": [write(preset, data) for preset in presets.PRESETS]}
    made |= {
        "tokenizer": {"path": "tokenizer.model"},
        "base": {"rows": 300, "batch_size": 8, "text": "train"},
    }
    made |= {"holdout": {"valid": 3, "test": 6, "near_duplicate_threshold": None}}
    made |= {"encode": {"shards": 1, "seq_length": 512}}
    protocols = ["answer", "letter", "option", "harness", "generation"]
    made["evaluate"] |= {"protocols": protocols}  # named, for the tokenizer may lack pieces of letters
    overlay = folder / "overlay.yaml"
    overlay.write_text(yaml.safe_dump(made))

    @functools.cache
    def make(*targets):
        done = snakemake(folder, *targets, "--cores", "2", configfile=overlay)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
        return folder / "results" / "tiny"

    return make


@pytest.mark.parametrize("preset", presets.PRESETS)
def test_a_set_from_its_files_to_token_ids(run, preset):
    results = run("results/tiny/packing.json")
    known = {one.id: one for one in read_questions(results / "questions.jsonl") if one.benchmark == preset}
    parts = {
        part: [
            record
            for record in files.read_json_array(results / f"splits/{part}.json")
            if record["id"] in known
        ]
        for part in ("train", "valid", "test")
    }
    assert {record["id"] for part in parts.values() for record in part} == set(known)
    assert all(parts.values())
    for record in parts["test"]:
        options, answer = known[record["id"]].shown(record["order"])
        assert record["output"].endswith(f"{answer}.{options[LETTERS.index(answer)]}")
    encoded = files.read_json(results / "packing.json")
    assert encoded["train"]["dropped"] == encoded["valid"]["dropped"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("preset", presets.PRESETS)
def test_a_set_to_the_report(run, preset):
    results = run()
    tested = [
        record
        for record in files.read_json_array(results / "splits/test.json")
        if record["id"].startswith(f"{preset}/")
    ]
    row = files.read_json(results / "summary.json")["mcq"]["benchmarks"][preset]
    assert row["base"]["n"] == row["tuned"]["n"] == len(tested) > 0
    assert row["chance"] == pytest.approx(sum(1 / len(one["order"]) for one in tested) / len(tested))
    asked = files.read_json(results / "evaluation/checkpoint_5/mcq.json")["protocols"]["answer"]["items"]
    assert {one["id"] for one in tested} <= {item["id"] for item in asked}
    assert preset in (results / "report.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_every_question_is_asked_with_its_own_options(run):
    results = run()
    questions = {question.id: question for question in read_questions(results / "questions.jsonl")}
    mcq = files.read_json(results / "evaluation/checkpoint_5/mcq.json")
    for name, part in mcq["protocols"].items():
        kinds = {len(item["order"]) for item in part["items"]}
        assert kinds >= {2, 3, 4, 5, 10} or name == "generation"
        for item in part["items"]:
            question = questions[item["id"]]
            assert sorted(item["order"]) == list(question.letters)
            assert len(item.get("scores", item["order"])) == len(question.options)
            assert item["gold"] == question.shown(item["order"])[1]
    turned = Counter(item["id"] for item in mcq["circular"]["letter"]["items"])
    assert all(count == len(questions[identity].options) for identity, count in turned.items())
    assert mcq["circular"]["questions"] == len(turned)


@pytest.mark.slow
def test_chance_is_the_mean_over_the_questions(run):
    results = run()
    summary = files.read_json(results / "summary.json")
    items = files.read_json(results / "evaluation/base/mcq.json")["protocols"]["answer"]["items"]
    chance = sum(1 / len(item["order"]) for item in items) / len(items)
    assert summary["mcq"]["chance"] == pytest.approx(chance)
    assert 0.2 < chance < 0.4 and chance != 0.25
    assert all(0 <= summary["mcq"][side]["chance_p"] <= 1 for side in ("base", "tuned"))
    assert f"Chance is {100 * chance:.3g} %; " in (results / "report.md").read_text()
    confusion = summary["robustness"]["tuned"]["letter"]["confusion"]
    assert list(confusion) == list(LETTERS[:10])


def test_a_passage_is_in_one_part_and_is_counted_once(run):
    results = run("results/tiny/packing.json", "results/tiny/leakage.json", "results/tiny/data_card.md")
    questions = {question.id: question for question in read_questions(results / "questions.jsonl")}
    about = defaultdict(set)
    documents = Counter()
    for part in ("train", "valid", "test"):
        for record in files.read_json_array(results / f"splits/{part}.json"):
            if passage := questions[record["id"]].passage:
                about[passage].add(part)
                documents[part] += 1
                assert record["input"].startswith(f"Passage: {passage}\nQuestion: ")
    assert about and all(len(parts) == 1 for parts in about.values())
    found = files.read_json(results / "packing.json")["train"]["passages"]
    assert found["documents"] == documents["train"]
    assert found["distinct"] == sum(parts == {"train"} for parts in about.values()) < found["documents"]
    assert 0 < found["distinct_ids"] < found["ids"]
    assert files.read_json(results / "leakage.json")["test"]["found_by"]["passage"] == 0
    card = (results / "data_card.md").read_text()
    assert "questions are about one of" in card and "with 10; guessing scores" in card
