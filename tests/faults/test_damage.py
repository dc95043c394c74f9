"""Artefacts damaged between two stages: the next stage refuses them in one line, and says how to mend it."""

from __future__ import annotations

import pytest

from mcqlora.tokens import mindrecord
from tests.helpers import artefacts
from tests.helpers.processes import run
from tests.helpers.runs import only_line

pytestmark = pytest.mark.faults

SHARD = "results/tiny/mindrecord/train/shard-1-of-2.mindrecord"


def flip(path, place):
    with open(path, "r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 1]))


def cut(path, part=0.5):
    with open(path, "r+b") as file:
        file.truncate(int(path.stat().st_size * part))


def index(path):
    return path.with_name(path.name + ".db")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda shard: flip(shard, 500), "shard-1-of-2.mindrecord was changed"),  # in the header
        (
            lambda shard: flip(shard, mindrecord.HEADER + 100),
            "shard-1-of-2.mindrecord was changed",
        ),  # in a page
        (lambda shard: flip(index(shard), 5000), "shard-1-of-2.mindrecord.db was changed"),
        (lambda shard: index(shard).unlink(), "its index .db is missing"),
        (lambda shard: cut(shard, 0.999), "cut off at"),
        (lambda shard: cut(shard, 0.0), "no MindRecord header"),
    ],
    ids=["header", "page", "index", "no index", "cut", "empty"],
)
def test_training_refuses_a_damaged_shard_and_trains_when_it_is_made_again(copy, finished, harm, said):
    (copy / "results/tiny/training/training.json").unlink()
    harm(copy / SHARD)
    target = "results/tiny/training/training.json"
    line = only_line(run(copy, target))
    assert f"{SHARD}: " in line and said in line and "delete it and its .db and run again" in line
    for path in (copy / SHARD, index(copy / SHARD)):
        path.unlink(missing_ok=True)
    done = run(copy, target)
    assert done.returncode == 0, done.stderr[-3000:]
    assert artefacts.hashes(copy) == artefacts.hashes(finished)


@pytest.mark.parametrize(
    ("artefact", "part", "target", "said"),
    [
        ("questions.jsonl", 0.5, "alpaca.json", "questions.jsonl:"),
        ("questions.jsonl", 0.5, "epochs/epoch_1.json", "questions.jsonl:"),
        ("epochs/epoch_2.json", 0.5, "leakage.json", "epoch_2.json:"),
        ("splits/train.json", 0.99, "packing.json", "train.json:"),
        ("tokenizer.model", 0.9, "packing.json", "not a SentencePiece model"),
        ("base/model.safetensors", 0.9, "training/training.json", "not a whole safetensors file"),
        (
            "adapters/checkpoint_3.safetensors",
            0.5,
            "evaluation/checkpoint_3/mcq.json",
            "checkpoint_3.safetens",
        ),
        ("evaluation/base/mcq.json", 0.5, "summary.json", "base/mcq.json: not valid JSON"),
    ],
)
def test_an_artefact_cut_between_two_stages(copy, finished, artefact, part, target, said):
    results, expected = copy / "results/tiny", artefacts.hashes(finished)
    cut(results / artefact, part)
    (results / target).unlink()
    # One job at a time: two side by side would each have their line.
    line = only_line(run(copy, f"results/tiny/{target}", "--cores", "1"))
    assert said in line and "; " in line
    found = artefacts.hashes(copy)
    assert all(value == expected[name] for name, value in found.items() if name != artefact)
