"""Every preset's set, from its files to token ids: questions, epochs, parts, documents."""

import pytest
import yaml

from mcqlora import files
from mcqlora.config import presets
from mcqlora.data.questions import read_questions
from tests.helpers.benchmarks import write
from tests.helpers.data_folder import write_data
from tests.helpers.runs import TINY, snakemake

FAST = ("mmlu_pro", "arc", "boolq")  # 10, 3 and 4, 2 options


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize(
    "preset",
    [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in presets.PRESETS],
)
def test_a_set_from_its_files_to_token_ids(tmp_path, data, preset):
    entry = write(preset, data)
    made = yaml.safe_load(TINY.read_text()) | {"data": str(data), "benchmarks": [entry]}
    made |= {"tokenizer": {"path": "tokenizer.model"}, "base": {"text": "train"}}
    made |= {"holdout": {"valid": 2, "test": 4, "near_duplicate_threshold": None}}
    made["encode"] = {"shards": 1, "seq_length": 1024}
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(yaml.safe_dump(made))
    done = snakemake(tmp_path, "results/tiny/packing.json", "--cores", "1", configfile=overlay)
    assert done.returncode == 0, done.stderr[-3000:]
    results = tmp_path / "results/tiny"
    known = {question.id: question for question in read_questions(results / "questions.jsonl")}
    parts = {
        part: list(files.read_json_array(results / f"splits/{part}.json"))
        for part in ("train", "valid", "test")
    }
    assert {record["id"] for part in parts.values() for record in part} == set(known)
    for record in parts["test"]:
        options, answer = known[record["id"]].shown(record["order"])
        assert record["output"].endswith(f"{answer}.{options['ABCDEFGHIJ'.index(answer)]}")
