"""All presets' sets side by side in one run: from their files to token ids, and slowly to the report."""

import functools

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
    made["evaluate"] |= {"protocols": ["answer", "letter", "option"], "rotations": 1}
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
