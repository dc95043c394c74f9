"""Evaluation by several processes, and the checkpoint that validation questions choose."""

import shutil

import pytest

from mcqlora import files
from tests.helpers.runs import rules, setting, snakemake

pytestmark = pytest.mark.slow

MADE = [f"results/tiny/evaluation/checkpoint_5/{kind}.json" for kind in ("mcq", "squad")]
WORKERS = ("--config", setting("evaluate.workers=2"))


@pytest.fixture
def folder(finished, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(finished, copy)
    return copy


def test_two_workers_give_the_bytes_of_one_and_go_on_after_a_kill(finished, folder):
    expected = {name: (finished / name).read_bytes() for name in MADE}
    for path in (*folder.glob("runs/*/evaluation*.jsonl"), *map(folder.joinpath, MADE)):
        path.unlink()
    assert rules(snakemake(folder, "-n", *MADE, *WORKERS)) == {"evaluate"}
    done = snakemake(folder, "--cores", "2", *MADE, *WORKERS)
    assert done.returncode == 0, done.stderr[-3000:]
    assert {name: (folder / name).read_bytes() for name in MADE} == expected
    shares = sorted(folder.glob("runs/*/evaluation-*.jsonl"))
    assert [path.name for path in shares] == ["evaluation-0.jsonl", "evaluation-1.jsonl"]
    lines = [path.read_bytes().splitlines(keepends=True) for path in shares]
    assert all(len(part) > 1 for part in lines)  # both were asked
    assert not list(folder.glob("runs/*/evaluation.jsonl"))  # and nobody else

    # As a kill leaves it: one has a part of its answers, the last of them cut, the other none.
    shares[0].write_bytes(lines[0][0] + lines[0][1][:-5])
    shares[1].unlink()
    for name in MADE:
        (folder / name).unlink()
    done = snakemake(folder, "--cores", "2", *MADE, *WORKERS)
    assert done.returncode == 0, done.stderr[-3000:]
    assert {name: (folder / name).read_bytes() for name in MADE} == expected


def test_validation_accuracy_chooses_the_checkpoint(finished, folder):
    assert not list(finished.glob("results/tiny/evaluation/*/valid.json"))  # costs nothing when not asked for
    done = snakemake(folder, "--cores", "2", "--config", setting("train.best=valid_accuracy"))
    assert done.returncode == 0, done.stderr[-3000:]
    results = folder / "results" / "tiny"
    asked = {record["id"] for record in files.read_json_array(results / "splits/valid.json")}
    accuracy = {}
    for name in (f"checkpoint_{k}" for k in range(1, 6)):
        valid = files.read_json(results / f"evaluation/{name}/valid.json")
        assert valid["model"] == name and {item["id"] for item in valid["items"]} == asked
        accuracy[name] = sum(item["correct"] for item in valid["items"]) / len(asked)
    summary = files.read_json(results / "summary.json")
    before = files.read_json(finished / "results/tiny/summary.json")
    by = summary["best_by"]
    assert by["rule"] == "valid_accuracy" and before["best_by"] == {
        "rule": "valid_loss",
        "valid_loss": by["valid_loss"],
        "valid_accuracy": None,
    }
    assert accuracy[by["valid_accuracy"]] == max(accuracy.values())
    assert summary["tuned"] == summary["best"] == by["valid_accuracy"]
    assert files.read_json(results / "export/merged/merged_from.json")["checkpoint"] == summary["tuned"]
    report = (results / "report.md").read_text()
    assert f"best by validation accuracy {by['valid_accuracy']} (" in report
    assert f"best by validation loss {by['valid_loss']} (" in report.replace("Best", "best")
    # Nothing of the test was asked anew.
    for name in MADE:
        assert (folder / name).stat().st_mtime == (finished / name).stat().st_mtime
