"""The whole workflow, once, for real."""

import csv
import json

import pytest

from mcqlora import files, hashing
from mcqlora.model import weights
from mcqlora.tokens.mindrecord import count_rows
from tests.helpers.runs import snakemake


@pytest.fixture(scope="module")
def results(finished):
    return finished / "results" / "tiny"


def test_summary_has_the_contract_s_keys(results):
    summary = json.loads((results / "summary.json").read_text())
    assert (summary["run"], summary["recipe"], summary["leaked"]) == ("tiny", "corrected", False)
    assert summary["questions"] == {"read": 1620, "kept": 1620, "dropped": {}}
    assert summary["splits"] == {"train": 5 * (1620 - 15 * 12), "valid": 90, "test": 90}
    assert summary["training"]["steps"] == 160 // 16 and summary["training"]["workers"] == 2
    assert summary["training"]["tokens"] == 160 * 128
    assert 0 < summary["training"]["useful_token_fraction"] < 1
    assert [step for step, _ in summary["training"]["valid_loss"]] == [2, 4, 6, 8, 10]
    for side in ("base", "tuned"):
        score = summary["mcq"][side]
        assert score["n"] == 90 and score["correct"] == round(score["accuracy"] * 90)
        assert score["low"] <= score["accuracy"] <= score["high"]
        assert {"em", "f1", "n"} <= set(summary["squad"][side]["official"])
        assert {"em", "f1", "n"} <= set(summary["squad"][side]["mindformers"])
    assert summary["mcq"]["protocol"] == "answer" and 0 <= summary["mcq"]["mcnemar_p"] <= 1
    assert {"answer", "letter", "harness", "generation"} <= set(summary["mcq"]["protocols"])
    assert {"demo", "read", "encode", "base", "train", "evaluate"} <= set(summary["seconds"])


def test_the_leak_is_told_for_every_model_and_the_report_names_its_inputs(results):
    summary = json.loads((results / "summary.json").read_text())
    leak, models = summary["leak"], ["base", *(f"checkpoint_{k}" for k in range(1, 6))]
    assert list(leak["models"]) == models
    for part in (leak, *leak["models"].values()):
        assert part["honest"]["n"] == 90 and part["gap"]["n"] == 90 + part["recipe"]["n"]
        for key in ("honest", "recipe", "gap"):
            assert part[key]["low"] <= part[key]["value"] <= part[key]["high"]
        assert (part["did"] is None) == (part is leak["models"]["base"])
    gap = leak["models"]["base"]["gap"]["value"]
    assert leak["did"]["value"] == pytest.approx(leak["gap"]["value"] - gap)
    report = (results / "report.md").read_text()
    for model in models:
        name = f"evaluation/{model}/mcq.json"
        assert summary["inputs"][name] == hashing.sha256(results / name)
        assert f"{name} `{summary['inputs'][name][:12]}`" in report


def test_the_clusters_are_the_duplicate_groups(results):
    summary = json.loads((results / "summary.json").read_text())
    groups = files.read_json(results / "groups.json")["groups"]
    tested = {record["id"] for record in files.read_json_array(results / "splits" / "test.json")}
    assert summary["mcq"]["tuned"]["clusters"] == len({groups[name] for name in tested})
    items = files.read_json(results / "evaluation" / "base" / "squad.json")["items"]
    assert summary["squad"]["base"]["official"]["clusters"] == len({item["paragraph"] for item in items})
    assert summary["inputs"]["groups.json"] == hashing.sha256(results / "groups.json")


def test_nothing_stays_that_only_a_training_needs(finished):
    """At 7 B the copy of the base that a training starts from takes 14.6 GB."""
    left = {path.name for path in (finished / "runs").rglob("*")}
    assert "history.jsonl" in left and not {name for name in left if name.startswith(("start.", "corpus."))}


def test_parameters_are_those_of_the_files(results):
    told = json.loads((results / "summary.json").read_text())["parameters"]
    base = weights.read(results / "base" / "model.safetensors")
    lora = weights.read(results / "adapters" / "checkpoint_5.safetensors")
    assert told["total"] == sum(tensor.size for tensor in base.values())
    assert told["trainable"] == sum(tensor.size for tensor in lora.values())
    assert told["ratio"] == told["trainable"] / told["total"]


def test_training_changed_the_adapter_between_checkpoints(results):
    first, last = (weights.read(results / "adapters" / f"checkpoint_{k}.safetensors") for k in (1, 5))
    assert set(first) == set(last)
    assert any((first[name] != last[name]).any() for name in first)


def test_history_has_every_step_and_the_last_is_evaluated(results):
    with open(results / "training" / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(1, 11))
    assert rows[-1]["valid_loss"] and float(rows[-1]["train_loss"]) > 0


def test_shards_hold_all_training_rows_in_order(results):
    shards = [results / "mindrecord" / "train" / f"shard-{i}-of-2.mindrecord" for i in (0, 1)]
    train = list(files.read_json_array(results / "splits" / "train.json"))
    assert count_rows(shards) == len(train)


def test_items_are_kept_and_add_up(results):
    for model in ("base", *(f"checkpoint_{k}" for k in range(1, 6))):
        mcq = files.read_json(results / "evaluation" / model / "mcq.json")
        assert len(mcq["protocols"]["answer"]["items"]) == 90
        assert len(mcq["protocols"]["generation"]["items"]) == 6
        assert len(mcq["circular"]["answer"]["items"]) == 4 * 90
        assert len(mcq["leak"]["recipe"]["answer"]["items"]) == 8
        assert len(files.read_json(results / "evaluation" / model / "squad.json")["items"]) == 6


def test_every_checkpoint_and_the_one_reported_are_exported(results):
    peft = results / "export" / "peft"
    assert {path.name for path in peft.iterdir()} == {f"checkpoint_{k}" for k in range(1, 6)}
    for folder in peft.iterdir():
        ours = weights.read(results / "adapters" / f"{folder.name}.safetensors")
        assert len(weights.read(folder / "adapter_model.safetensors")) == len(ours)
    merged = files.read_json(results / "export" / "merged" / "merged_from.json")
    assert merged["checkpoint"] == json.loads((results / "summary.json").read_text())["tuned"]


def test_an_export_comes_in_again_as_a_base(finished, results):
    given = ["run=again", "base={path: results/tiny/export/merged}"]
    result = snakemake(finished, "--cores", "1", "results/again/base", "--config", *given)
    assert result.returncode == 0, result.stderr[-3000:]
    merged = files.read_json(results / "export" / "merged" / "merged_from.json")
    lora = weights.read(results / "adapters" / f"{merged['checkpoint']}.safetensors")
    expected = weights.merge(weights.read(results / "base" / "model.safetensors"), lora, 32 / 4)
    found = weights.read(finished / "results" / "again" / "base" / "model.safetensors")
    assert found.keys() == expected.keys()
    assert all((found[name] == expected[name]).all() for name in found)


def test_leak_items_were_trained_on_in_another_order(results):
    trained = {}
    for record in files.read_json_array(results / "splits" / "train.json"):
        trained.setdefault(record["id"], set()).add(record["order"])
    leak = files.read_json(results / "evaluation" / "base" / "mcq.json")["leak"]
    for item in leak["recipe"]["answer"]["items"]:
        assert item["order"] not in trained[item["id"]]
    assert not {item["id"] for item in leak["honest"]["answer"]["items"]} & trained.keys()


def test_a_second_run_does_nothing_and_says_so(finished):
    result = snakemake(finished, "--cores", "2")
    assert result.returncode == 0 and "Nothing to be done" in result.stdout + result.stderr
