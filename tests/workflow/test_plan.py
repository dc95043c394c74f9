"""`snakemake plan` and the profiles: what is said before anything is trained."""

import functools
import shutil

import pytest

from mcqlora import files
from tests.helpers.runs import ROOT, jobs, only_line, setting, snakemake

REAL = ROOT.parent / "shared" / "data"
SLOW = functools.partial(pytest.param, marks=pytest.mark.slow)
ASCEND = ("--workflow-profile", str(ROOT / "profiles" / "ascend"))


def said(result):
    """The lines of the table by their first column."""
    found = [line.split("  ", 1) for line in result.stdout.splitlines() if "  " in line]
    return {pair[0]: pair[1].strip() for pair in found}


def errors(result):
    return [line for line in result.stderr.splitlines() if line.startswith("mcqlora:")]


def test_the_plan_needs_the_cheap_stages_alone(tmp_path, planned, dry):
    data = {"demo", "read", "shuffle", "groups", "split"}
    assert jobs(dry.run(tmp_path, "plan")) == data | {"tokenizer", "encode", "reckon", "plan"}
    made = files.read_json(planned / "results/tiny/plan.json")
    again = snakemake(planned, "--cores", "1", "plan")  # printed each time, reckoned once
    assert again.returncode == 0 and "rule reckon" not in again.stderr + again.stdout
    table = said(again)
    assert table["steps"].startswith(f"{made['steps']:,} in ")
    assert table["delivered"] == " / ".join(f"{step:,}" for step in made["delivered"])


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("plan.disk_gb=0.001", r"mcqlora: disk: 0.0 GB are needed"),
        SLOW("plan.devices=1", r"mcqlora: train.workers is 2, but there are 1 devices; set train.workers: 1"),
        ("model.vocab_size=600", r"mcqlora: model.vocab_size: the network has 600 ids, the tokenizer"),
        SLOW("train.evaluation_interval=1000000", r"mcqlora: train.evaluation_interval: every 1000000 steps"),
    ],
)
def test_what_would_fail_later_is_refused_now(planned, change, line):
    done = snakemake(planned, "--cores", "1", "plan", "--config", setting(change))
    assert done.returncode == 1
    (found,) = errors(done)
    assert found.startswith(line)
    assert "Traceback" not in done.stderr + done.stdout


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planned")
    done = snakemake(folder, "--cores", "1", "plan")
    assert done.returncode == 0, done.stderr
    return folder


def test_a_given_base_of_another_architecture_is_refused_now(planned):
    """From its config.json alone; the weights are not looked at."""
    folder = planned / "given"
    folder.mkdir()
    shutil.copy(planned / "results/tiny/tokenizer.model", folder)
    (folder / "model.safetensors").touch()
    said = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    files.write_json(
        folder / "config.json", {"model_type": "llama", "attention_bias": True, "vocab_size": 1200} | said
    )
    done = snakemake(planned, "--cores", "1", "plan", "--config", "run=other", "base={path: given}")
    assert done.returncode == 1
    (found,) = errors(done)
    assert found.startswith("mcqlora: given/config.json: model.hidden_size is 32, there 64")


def test_the_training_is_as_planned(finished):
    done = snakemake(finished, "--cores", "1", "results/tiny/plan.json")
    assert done.returncode == 0, done.stderr
    plan = files.read_json(finished / "results/tiny/plan.json")
    facts = files.read_json(finished / "results/tiny/training/training.json")
    assert plan["steps"] == facts["training"]["steps"]
    assert plan["delivered"] == [checkpoint["step"] for checkpoint in facts["training"]["checkpoints"]]
    assert plan["parameters"] == facts["parameters"]
    assert plan["tokens"]["total"] == facts["training"]["tokens"]
    assert plan["tokens"]["useful_fraction"] == pytest.approx(facts["training"]["useful_token_fraction"])
    evaluated = [row["step"] for row in facts["training"]["history"] if row.get("valid_loss") is not None]
    assert plan["evaluated"] == evaluated and plan["steps"] == facts["training"]["history"][-1]["step"]
    shards = sum(
        path.stat().st_size for path in (finished / "results/tiny/mindrecord").rglob("*.mindrecord*")
    )
    assert 0.95 * shards < plan["disk_bytes"]["mindrecord"] < 1.3 * shards


@pytest.mark.parametrize(("workers", "enough"), [(4, True), (5, False)])
def test_the_ascend_profile_has_four_npus(tmp_path, dry, workers, enough):
    done = dry.run(tmp_path, *ASCEND, "--config", setting(f"train.workers={workers}"))
    if enough:
        assert "train" in jobs(done) and "mcqlora: " not in done.stdout
    else:
        only_line(done)


def test_one_training_at_a_time_on_ascend():
    import yaml

    profile = yaml.safe_load((ROOT / "profiles" / "ascend" / "config.yaml").read_text())
    overlays = [yaml.safe_load(path.read_text()) for path in ROOT.glob("config/*-4npu.yaml")]
    assert len(overlays) == 2
    for overlay in overlays:
        assert overlay["train"]["workers"] == overlay["plan"]["devices"] == profile["resources"]["npu"]


@pytest.mark.parametrize("target", ["plan", "data", "configs"])
def test_too_few_npus_matter_to_a_training_alone(tmp_path, dry, target):
    assert jobs(dry.run(tmp_path, target, "--config", setting("train.workers=4")))
    assert only_line(dry.run(tmp_path, "--config", setting("train.workers=4")))


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="no real data beside the checkout")
def test_the_reports_plan_from_its_own_files(tmp_path):
    overlay = ROOT / "config" / "reference-4npu.yaml"
    done = snakemake(tmp_path, "--cores", "1", "plan", "--config", f"data={REAL}", configfile=overlay)
    assert done.returncode == 0, done.stderr
    table = said(done)
    assert table["rows"].startswith("138,020 train, 2,480 valid, 2,480 test")
    assert table["row length"] == "1,025 train, 1,024 valid"
    assert table["steps per epoch"] == "8,626 of 16 rows"
    assert table["steps"] == "34,504 in 4 epochs, 1,035 of them warm-up"
    assert table["evaluations"].startswith("19, every 1,726 steps")
    assert table["checkpoints"] == "10, every 3,452 steps"
    assert table["delivered"] == "6,904 / 13,808 / 20,712 / 27,616 / 34,504"
    assert table["parameters"] == "16,777,216 trainable of 7,321,948,160, ratio 0.00229"
