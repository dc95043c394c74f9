"""What the rules hand to their scripts, read from the parsed workflow; no job runs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import fields

import pytest

from mcqlora.config import inputs, loading, recipe
from mcqlora.train import settings
from tests.helpers.runs import ROOT, environment

SCRIPT = """
import json, sys
from mcqlora.provenance.graph import jobs
made = [jobs(sys.argv[1], config, 4, ["all", "reckon"]) for config in json.load(sys.stdin)]
named = [
    {" ".join((job.rule, job.outputs[0])): [job.params["code"], job.params.get("chosen")] for job in found}
    for found in made
]
print(json.dumps(named, default=str))
"""
CONFIGS = {
    "default": {},
    "reference": {"recipe": "reference"},
    "letter": {"evaluate": {"protocol": "letter"}},
    "rank": {"train": {"lora_rank": 3}},
    "leaking": {"split": "recipe"},
    "npu": {
        key: value
        for key, value in loading.read_yaml(ROOT / "config" / "reference-4npu.yaml").items()
        if key not in ("data", "benchmarks", "tokenizer", "base")
    },
}


@pytest.fixture(scope="module")
def handed(tmp_path_factory):
    """{name of a configuration: {rule: [code, params]}}; one job of a rule."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(ROOT / "Snakefile")],
        input=json.dumps(list(CONFIGS.values())),
        capture_output=True,
        text=True,
        cwd=tmp_path_factory.mktemp("params"),
        env=environment() | {"PYTHONPATH": str(ROOT / "src")},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = [
        {key.split()[0]: made[key] for key in sorted(made, reverse=True)}
        for made in json.loads(done.stdout.splitlines()[-1])
    ]
    return dict(zip(CONFIGS, found, strict=True))


@pytest.fixture(scope="module")
def params(handed):
    """{name of a configuration: {rule: its params}}."""
    return {name: {rule: chosen for rule, (_, chosen) in made.items()} for name, made in handed.items()}


def test_the_recipe_reaches_the_stages(params):
    made = params["reference"]
    assert {key: made["read"][key] for key in recipe.REFERENCE["read"]} == recipe.REFERENCE["read"]
    assert {key: made["shuffle"][key] for key in recipe.REFERENCE["shuffle"]} == recipe.REFERENCE["shuffle"]
    for rule in ("encode", "train", "evaluate", "merged", "configs"):
        assert (made[rule]["template"], params["default"][rule]["template"]) == ("reference", None), rule


def test_a_split_that_leaks_needs_no_leak_items(params):
    assert params["default"]["evaluate"]["leak_items"] > 0
    assert params["leaking"]["evaluate"]["leak_items"] == 0


def test_the_headline_is_no_business_of_the_evaluation(params):
    assert params["letter"]["evaluate"] == params["default"]["evaluate"]
    assert params["letter"]["report"] != params["default"]["report"]


def test_an_unrelated_key_changes_no_params(params):
    changed = {rule for rule in params["rank"] if params["rank"][rule] != params["default"][rule]}
    assert changed == {"train", "peft", "merged", "reckon", "configs"}  # and not the base's evaluation


def test_the_recipes_numbers_reach_the_training(params):
    train = params["npu"]["train"]
    assert (train["lora_rank"], train["lora_alpha"], train["lora_dropout"]) == (16, 32, 0.05)
    assert train["target_modules"] == ".*wq|.*wk|.*wv|.*wo"
    expected = {
        "learning_rate": 5e-5,
        "warmup_ratio": 0.03,
        "weight_decay": 0.01,
        "loss_scale": 16384,
        "max_grad_norm": 1.0,
        "seed": 0,
        "workers": 4,
        "batch_size": 4,
        "epochs": 4,
        "evaluation_interval": 1726,
        "checkpoint_interval": 3452,
        "seq_length": 1024,
        "device": "Ascend",
    }
    assert {key: train[key] for key in expected} == expected


def test_the_published_configuration_has_no_secrets_of_addresses_and_not_where_it_goes():
    path = "https://me:secret@host/f.zip?token=secret"
    entry = {"name": "ferns", "layout": "mmlu", "language": "en", "path": path}
    config = loading.namespace(loading.load({"benchmarks": [entry], "publish": {"to": "s3://bucket"}}))
    made = inputs.recorded(config)
    assert made["benchmarks"][0]["path"] == "https://host/f.zip" and "secret" not in str(made)
    left = {"s3", "publish", "fetch_run", "plan", "judge", "compare", "variants", "seeds"}
    assert set(config) - set(made) == left
    assert made["train"] == config["train"]


# Told by the number of outputs; by an input, the file itself.
ASKED = (
    "generation_items generation_max_new_tokens protocols rotations shots squad_items squad_max_new_tokens"
)
ELSEWHERE = {"shuffle": ["copies"], "tokenizer": ["path"], "reckon": ASKED.split()}  # by plan.Asked.of


def read(script, chosen):
    """The names of `params.chosen` that a script reads, some of them as fields of `settings.of`."""
    text = (ROOT / "workflow" / "scripts" / script).read_text()
    found = set(re.findall(r"""\bparams\.(?:chosen\[["'])?(\w+)""", text))
    for kind in (settings.Size, settings.Optimization):
        if f"settings.of(settings.{kind.__name__}, " in text:
            found |= {field.name for field in fields(kind)}
    return set(chosen) if "**snakemake.params.chosen)" in text.replace("SimpleNamespace(**", "") else found


def test_a_script_reads_all_that_its_rule_chooses(handed):
    """One that did not would be run again for a key that it then ignores."""
    rules = {}
    for made in handed.values():
        for rule, (code, chosen) in made.items():
            rules.setdefault(rule, set()).update(set(chosen or ()) - read(code.split()[0], chosen or ()))
    assert {rule: sorted(left) for rule, left in rules.items() if left} == ELSEWHERE
    assert len(rules) > 15
