"""The workflow as a module of another: the settings and artefacts of a checkout, wherever they land."""

import json
import shutil
import subprocess
import sys

import pytest

from mcqlora import files, hashing
from mcqlora.config import loading
from tests.helpers.artefacts import hashes
from tests.helpers.runs import PARTS, ROOT, TINY, environment, only_line, rules, snakemake

SNAKEFILE = """
{before}
module mcqlora:
    snakefile: {snakefile}
    config: {config}
    {more}

use rule * from mcqlora as mcqlora_*

rule mine:
    input: rules.mcqlora_report.output.summary
    output: "mine.json"
    shell: "cp {{input}} {{output}}"

with open("settings.json", "w") as file:
    file.write(__import__("json").dumps(mcqlora.config))
"""
FEW = {"run": "tiny", "holdout": {"valid": 6, "test": 6}, "demo": {"repeats": 2}}
# Without the one switch that needs InternLM's own tokenizer.
LEAKED = FEW | {"recipe": "reference", "tokenizer": {"unused_marks": False}}


def run(folder, config, *arguments, before="", more="", snakefile=f'"{ROOT}/Snakefile"', **variables):
    folder.mkdir(exist_ok=True)
    text = SNAKEFILE.format(snakefile=snakefile, config=config, before=before, more=more)
    (folder / "Snakefile").write_text(text)
    profile = ["--workflow-profile", str(ROOT / "profiles" / "default")]
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *profile, *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment() | variables, capture_output=True, text=True, errors="replace"
    )


def done(result):
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return result


@pytest.mark.parametrize("given", [{}, {"recipe": "reference", "run": "ours", "train": {"lora_rank": 8}}])
def test_few_keys_are_enough_and_give_what_a_checkout_gives(tmp_path, given):
    found = done(run(tmp_path, repr(given), "--dry-run", "mcqlora_all"))
    assert {"mcqlora_split", "mcqlora_train", "mcqlora_report"} <= rules(found)
    assert json.loads((tmp_path / "settings.json").read_text()) == loading.load(given).model_dump()


@pytest.mark.parametrize(
    ("given", "more", "at"),
    [
        (FEW, "", ""),
        (FEW, 'prefix: "results/ours"', "results/ours"),
        (LEAKED, 'prefix: "ours"', "ours"),
    ],
    ids=["few keys", "prefix", "reference with a prefix"],
)
def test_the_data_half_is_the_checkouts_byte_for_byte(tmp_path, given, more, at):
    done(run(tmp_path / "module", repr(given), "mcqlora_data", more=more))
    overlay = tmp_path / "overlay.yaml"
    files.write_json(overlay, given)
    (tmp_path / "checkout").mkdir()
    done(snakemake(tmp_path / "checkout", "--cores", "2", "data", configfile=overlay))
    assert sorted(path.name for path in (tmp_path / "module" / at).iterdir() if path.is_dir()) == sorted(
        ["benchmarks", "logs", "results", *([] if at else [".snakemake"])]
    )

    def made(folder):
        return {name: value for name, value in hashes(folder).items() if "provenance" not in name}

    expected = made(tmp_path / "checkout")
    assert (
        made(tmp_path / "module" / at) == expected and "mindrecord/train/shard-0-of-2.mindrecord" in expected
    )
    records = tmp_path / "module" / at / "results/tiny/provenance"
    assert files.read_json(records / "ledger.json.json")["rule"] == "mcqlora_read"
    leaked = files.read_json(tmp_path / "checkout/results/tiny/leakage.json")["test"]["leaked"]
    assert bool(leaked) == ("recipe" in given)


@pytest.mark.slow
def test_a_whole_run_with_a_prefix_finds_the_checkouts_training_and_makes_the_same(tmp_path, finished):
    folder, at = tmp_path / "module", tmp_path / "module" / "sub"
    folder.mkdir()
    shutil.copytree(finished / "runs", folder / "runs")
    config = repr(loading.read_yaml(TINY))
    done(run(folder, config, "mine.json", "mcqlora_all", more='prefix: "sub"'))
    assert {path.name for path in (folder / "runs").iterdir()} == {
        path.name for path in (finished / "runs").iterdir()
    }
    assert not [*folder.glob("results"), *folder.glob("logs"), *folder.glob("benchmarks")]
    naming_paths = ("provenance/", "training/config.yaml", "training/predict_", "export/peft/")
    ours, theirs = (
        {name: value for name, value in hashes(place).items() if not name.startswith(naming_paths)}
        for place in (at, finished)
    )
    assert ours == theirs and "export/merged/model.safetensors" in ours
    for name in ("training/predict_mcq.yaml", "export/peft/checkpoint_5/adapter_config.json"):
        text = (at / "results/tiny" / name).read_text()
        assert text.replace("sub/results/", "results/") == (finished / "results/tiny" / name).read_text()
    verified = run(folder, config, "mcqlora_verify", more='prefix: "sub"')
    assert " artefacts are current" in done(verified).stdout


def test_texts_of_the_users_own_configfile_are_what_is_written(tmp_path):
    (tmp_path / "own.yaml").write_text("run: 2023_01\nmcqlora: {run: 007, export: {checkpoint: best}}\n")
    for config, name in (("config", "2023_01"), ('config["mcqlora"]', "007")):
        before = 'configfile: "own.yaml"' + ('\nconfig.pop("mcqlora")' if config == "config" else "")
        done(run(tmp_path, config, "--dry-run", "mcqlora_all", before=before))
        assert json.loads((tmp_path / "settings.json").read_text())["run"] == name


@pytest.fixture(scope="module")
def hosted(tmp_path_factory):
    """A repository of the workflow at github.com, as git sees it in the environment that comes with it."""
    folder = tmp_path_factory.mktemp("hosted")
    repository = folder / "repositories" / "owner" / "mcqlora"
    repository.mkdir(parents=True)
    for part in (*PARTS, "config"):
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, repository / part)
    git = ["git", "-C", str(repository), "-c", "user.name=x", "-c", "user.email=x@localhost"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x"], ["tag", "v1"]):
        subprocess.run([*git, *command], check=True)
    variables = {
        "XDG_CACHE_HOME": str(folder / "cache"),
        "GITHUB_TOKEN": "",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.file://{folder}/repositories/.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://github.com/",
    }
    return repository, variables


def test_a_deployment_of_the_catalogue_makes_what_a_checkout_makes(tmp_path, hosted):
    """As `snakedeploy deploy-workflow` leaves it: config/, and a Snakefile that names the repository."""
    repository, variables = hosted
    shutil.copytree(repository / "config", tmp_path / "config")
    with (tmp_path / "config" / "config.yaml").open("a") as file:
        file.write("recipe: reference\nholdout: {valid: 6, test: 6}\n")
    deployed = {
        "before": 'configfile: "config/config.yaml"',
        "snakefile": 'github("owner/mcqlora", path="workflow/Snakefile", tag="v1")',
        **variables,
    }
    found = done(run(tmp_path, "config", "--dry-run", "mcqlora_all", **deployed))
    assert {"mcqlora_train", "mcqlora_report"} <= rules(found)
    made = json.loads((tmp_path / "settings.json").read_text())
    expected = loading.load({"recipe": "reference", "holdout": {"valid": 6, "test": 6}})
    assert made == expected.model_dump()
    (tmp_path / "checkout").mkdir()
    name = "results/demo/questions.jsonl"
    done(run(tmp_path, "config", name, **deployed))
    done(
        snakemake(tmp_path / "checkout", "--cores", "1", name, configfile=tmp_path / "config" / "config.yaml")
    )
    assert hashing.sha256(tmp_path / name) == hashing.sha256(tmp_path / "checkout" / name)


def test_a_module_of_a_local_repository(tmp_path, hosted):
    where = f'gitfile("{hosted[0]}", path="workflow/Snakefile", tag="v1")'
    assert "mcqlora_train" in rules(done(run(tmp_path, "{}", "--dry-run", "mcqlora_all", snakefile=where)))
    single = where.replace("workflow/", "")
    assert "name its workflow/Snakefile" in only_line(run(tmp_path, "{}", "--dry-run", snakefile=single))


def test_a_module_within_a_module_has_both_prefixes(tmp_path):
    (tmp_path / "outer").mkdir()
    inner = SNAKEFILE.format(snakefile=f'"{ROOT}/Snakefile"', config="{}", before="", more='prefix: "in"')
    (tmp_path / "outer" / "Snakefile").write_text(inner)
    (tmp_path / "Snakefile").write_text(
        'module outer:\n    snakefile: "outer/Snakefile"\n    config: {}\n    prefix: "out"\n'
        "use rule * from outer as outer_*\n"
    )
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--cores", "1", "out/mine.json"]
    found = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert "out/in/results/demo/summary.json" in done(found).stdout
