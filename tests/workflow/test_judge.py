"""judge and compare: which jobs there are, what a change re-runs, and what is refused."""

import json

import pytest

from tests.helpers.runs import TINY

NETWORK = "network"


@pytest.fixture
def folder(tmp_path):
    """What judge.yaml names, with nothing in it that a dry run would look at."""
    for name in ("config.json", "model.safetensors", "tokenizer.model"):
        write(tmp_path / NETWORK / name)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        write(tmp_path / "lora" / name)
    write(tmp_path / "samples" / "samples_a.jsonl")
    write(tmp_path / "samples" / "results_a.json")
    write(tmp_path / "alpaca.json")
    return tmp_path


def write(path):
    path.parent.mkdir(exist_ok=True)
    path.write_text("{}")


MODELS = [
    {"name": "alone", "path": NETWORK},
    {"name": "tuned", "path": NETWORK, "adapter": "lora", "trained_on": ["alpaca.json"]},
]
SAMPLES = [{"name": "asked", "path": "samples"}]


def judge(models=MODELS, samples=SAMPLES, **keys):
    return "judge=" + json.dumps({"models": models, "samples": samples, **keys})


def plan(dry, folder, target, *config):
    return dry.run(folder, target, "--configfile", str(TINY), "--config", *config)


def said(result):
    return result.stdout + result.stderr


def test_judge_needs_the_data_half_alone(dry, folder):
    text = said(plan(dry, folder, "judge", judge()))
    jobs = {
        line.split()[0] for line in text.splitlines() if len(line.split()) == 2 and line.split()[1].isdigit()
    }
    assert {"judged", "samples", "trained_on", "split", "read"} <= jobs
    assert not jobs & {"base", "train", "evaluate", "tokenizer", "encode", "shard"}
    assert "samples_a.jsonl" in text and "results_a.json" not in text


def test_a_comparison_of_others_trains_nothing(dry, folder):
    text = said(plan(dry, folder, "compare", judge(), "compare={models: [], against: alone}"))
    assert "rule compare" in text or "compare " in text
    assert "evaluate" not in text and "train " not in text


@pytest.mark.parametrize(
    "config, expected",
    [
        ([judge(models=[], samples=[])], "no models and no samples"),
        (
            [judge(models=[{"name": "x", "path": "none"}])],
            "config.json: no such file, but judge.models: x names it",
        ),
        ([judge(models=[{"name": "base", "path": NETWORK}])], "two models are called base"),
        ([judge(samples=[{"name": "x", "path": "none"}])], "no such file, but judge.samples: x names it"),
        (
            [judge(models=[{"name": "x", "path": NETWORK, "adapter": "samples"}])],
            "adapter_config.json: no such",
        ),
        (
            [judge(models=[{"name": "x", "path": NETWORK, "trained_on": ["no"]}])],
            "judge: trained_on of x names",
        ),
        ([judge(), "compare={against: nobody}"], "compare.against: nobody is none of the models"),
    ],
)
def test_what_cannot_be_judged_is_named(dry, folder, config, expected):
    result = plan(dry, folder, "judge", *config)
    assert result.returncode != 0 and expected in said(result)


def test_a_comparison_wants_two(dry, folder):
    result = plan(
        dry, folder, "compare", judge(models=MODELS[:1], samples=[]), "compare={models: [], against: alone}"
    )
    assert result.returncode != 0 and "alone and another model must be among those compared" in said(result)
