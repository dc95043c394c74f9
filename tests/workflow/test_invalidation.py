"""Which stages a change re-runs: the table that the README shows in short."""

from pathlib import Path

import pytest

from tests.workflow.conftest import ROOT, rules, setting, snakemake

AFTER_TRAIN = {"train", "evaluate", "report"}
ENCODED = {"encode", "pack", "shard"}
AFTER_SPLIT = {"split"} | ENCODED | AFTER_TRAIN
AFTER_SHUFFLE = {"shuffle"} | AFTER_SPLIT
AFTER_READ = {"read", "alpaca"} | AFTER_SHUFFLE

CHANGES = {
    "train.lora_rank=8": AFTER_TRAIN,
    "train.learning_rate=0.002": AFTER_TRAIN,
    "train.rows=176": AFTER_TRAIN,
    "shuffle.seed=7": AFTER_SHUFFLE,
    "shuffle.copies=4": AFTER_SHUFFLE,
    "holdout.test=5": AFTER_SPLIT,
    "split=official": AFTER_SPLIT,
    "read.on_bad_row=drop": AFTER_READ,
    "base.epochs=2": {"base"} | AFTER_TRAIN,
    "evaluate.generation_items=7": {"evaluate", "report"},
    "evaluate.protocol=letter": {"report"},
    "encode.on_long=truncate": ENCODED | AFTER_TRAIN,
    "encode.shards=3": ENCODED | AFTER_TRAIN,
    "encode.layout=packed": ENCODED | AFTER_TRAIN,
    "tokenizer.vocab_size=1150": {"tokenizer", "base"} | ENCODED | AFTER_TRAIN,
    "model.init_std=0.05": {"base"} | AFTER_TRAIN,
    "demo.seed=8": {"demo", "tokenizer", "base"} | AFTER_READ,
    "train.patience=2": AFTER_TRAIN,
    "train.retries=2": set(),
    "train.rendezvous_timeout=60": set(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_key_reruns_its_stages_only(finished, change):
    result = snakemake(finished, "-n", "--config", setting(change))
    assert result.returncode == 0, result.stderr
    assert rules(result) == CHANGES[change]


def test_a_touched_script_or_module_reruns_nothing(finished):
    for path in (*ROOT.glob("workflow/scripts/*.py"), *ROOT.glob("src/mcqlora/*.py")):
        Path(path).touch()
    result = snakemake(finished, "-n")
    assert result.returncode == 0 and rules(result) == set()
