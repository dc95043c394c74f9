"""Which stages a change re-runs: the table that the README shows in short."""

from pathlib import Path

import pytest

from tests.workflow.conftest import ROOT, rules, setting, snakemake

AFTER_TRAIN = {"train", "evaluate", "report", "peft", "merged"}
AFTER_BASE = {"base", "exported_base"} | AFTER_TRAIN
ENCODED = {"encode", "pack", "shard"}
AFTER_SPLIT = {"split", "data_card"} | ENCODED | AFTER_TRAIN
AFTER_SHUFFLE = {"shuffle"} | AFTER_SPLIT
AFTER_READ = {"read", "alpaca", "groups"} | AFTER_SHUFFLE
FETCHED_TOKENIZER = {"fetch", "tokenizer", "configs"} | ENCODED

HASH = "0" * 64
ISLANDS = (
    "{{name: island_en, layout: mmlu, path: island_en, language: en, licence: {licence}}}, "
    "{{name: island_zh, layout: cmmlu, path: island_zh, language: zh}}"
)

CHANGES = {
    "train.lora_rank=8": {"configs"} | AFTER_TRAIN,
    "train.learning_rate=0.002": AFTER_TRAIN,
    "train.rows=176": AFTER_TRAIN,
    "shuffle.seed=7": AFTER_SHUFFLE,
    "shuffle.copies=4": AFTER_SHUFFLE,
    "shuffle.pin_references=false": AFTER_SHUFFLE,
    "shuffle.balance_letters=false": AFTER_SHUFFLE,
    "shuffle.reparse_options=true": AFTER_SHUFFLE,
    "shuffle.option_references={en: {place: [x]}}": AFTER_SHUFFLE,
    "holdout.test=5": AFTER_SPLIT,
    "holdout.near_duplicate_threshold=0.9": {"groups"} | AFTER_SPLIT,
    "split=official": AFTER_SPLIT,
    "read.on_bad_row=drop": AFTER_READ,
    "base.epochs=2": AFTER_BASE,
    "evaluate.generation_items=7": {"evaluate", "report"},
    "evaluate.generation_max_new_tokens=5": {"configs", "evaluate", "report"},
    "evaluate.protocol=letter": {"report"},
    "evaluate.protocols=[answer, letter]": {"evaluate", "report"},
    "evaluate.shots=[0, 1]": {"evaluate", "report"},
    "evaluate.rotations=1": {"evaluate", "report"},
    "evaluate.leak_items=7": {"evaluate", "report"},
    "encode.on_long=truncate": ENCODED | AFTER_TRAIN,
    "encode.mask_full_rows=true": ENCODED | AFTER_TRAIN,
    "encode.layout=packed": ENCODED | AFTER_TRAIN,
    "encode.shards=3": ENCODED | AFTER_TRAIN,
    "tokenizer.unused_marks=true": {"configs", "exported_base"} | ENCODED | AFTER_TRAIN,
    "tokenizer.vocab_size=1150": {"tokenizer", "configs"} | ENCODED | AFTER_BASE,
    "model.init_std=0.05": {"configs"} | AFTER_BASE,
    "demo.seed=8": {"demo", "tokenizer", "configs"} | AFTER_READ | AFTER_BASE,
    "base.path=results/tiny/export/merged": {"tokenizer", "base", "configs"} | ENCODED | AFTER_TRAIN,
    "export.checkpoint=checkpoint_2": {"merged"},
    f"benchmarks=[{ISLANDS.format(licence='none')}]": {"data_card"},
    "train.best=valid_accuracy": {"validate", "merged", "report"},
    "evaluate.workers=2": set(),
    "train.patience=2": AFTER_TRAIN,
    "train.retries=2": set(),
    "train.rendezvous_timeout=60": set(),
    "train.nodes=2": set(),
    "gres=npu": set(),
    "train.recompute=true": AFTER_TRAIN,
    "train.evaluation_interval=2": AFTER_TRAIN,
    "train.checkpoint_interval=2": AFTER_TRAIN,
    "train.evaluation_batch_size=1": AFTER_TRAIN,
    "model.vocab_size=1200": {"configs"} | AFTER_BASE,
    f"tokenizer={{path: 's3://bucket/t.model', sha256: {HASH}}}": FETCHED_TOKENIZER | AFTER_BASE,
    f"base={{path: 's3://bucket/net', sha256: {{config.json: {HASH}}}}}": FETCHED_TOKENIZER
    | {"fetch_base", "base"}
    | AFTER_TRAIN,
    f"evaluate={{squad: 's3://bucket/dev.json', squad_sha256: {HASH}}}": {"fetch", "evaluate", "report"},
    "s3.endpoint=http://127.0.0.1:1": set(),
    "s3.region=x": set(),
    "s3.addressing=path": set(),
    "publish.to=s3://bucket": set(),
    "publish.parts=[data]": set(),
    "fetch_run.manifest=s3://bucket/manifest.json": set(),
    f"fetch_run.sha256={HASH}": set(),
    "fetch_run.files=[x]": set(),
    "plan.devices=3": set(),
    "plan.tokens_per_second=5": set(),
    "plan.source=guess": set(),
    "plan.memory_gb=5": set(),
    "plan.disk_gb=5": set(),
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
