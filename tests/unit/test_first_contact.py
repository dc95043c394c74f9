"""What a newcomer reads first agrees with what there is: errors, versions, targets, the catalog's files."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from mcqlora.config import checks, inputs, loading
from mcqlora.data import leakage
from mcqlora.errors import UserError
from mcqlora.launch import msrun
from mcqlora.machine import preflight
from mcqlora.train import workplace
from tests.helpers.questions import read_layout

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ERRORS = re.findall(r"^\| `([^`]+)`[^|]*\| ", README.split("| it says |")[1].split("\n\n")[0], re.MULTILINE)


def misspelt_key(folder):
    loading.load({"train": {"lora_rnak": 8}})


def no_data(folder):
    inputs.benchmark_files(loading.load({"data": "data"}))


def bad_row(folder):
    (folder / "mine" / "dev").mkdir(parents=True)
    row = "Why?,a,b,c,d,A\n"
    (folder / "mine/dev/ferns_dev.csv").write_text(16 * row + "Why?,a,b,c,d,E\n")
    for split in ("val", "test"):
        (folder / "mine" / split).mkdir()
        (folder / f"mine/{split}/ferns_{split}.csv").write_text(row)
    read_layout(folder, "mine", "mmlu", "mine", "en")


def leak(folder):
    found = {"leaked": True, "leaked_questions": 3, "questions": 120, "verbatim_prompts": 0, "prompts": 120}
    found["found_by"] = dict.fromkeys(leakage.LOOKED_FOR, 3)
    leakage.gate(found | {"ids": ["a", "b", "c"], "verbatim_ids": []})


def too_few_npus(folder):
    checks.check_npus(loading.load({"train": {"workers": 4}}), "train", 2)


def another_training(folder):
    with workplace.workplace(folder), workplace.workplace(folder):
        pass


def locked(folder):
    from snakemake.exceptions import LockException

    raise UserError(str(LockException()))


def full_disk(folder):
    room, preflight.ROOM = preflight.ROOM, 1 << 62
    try:
        preflight.check([folder], [], [])
    finally:
        preflight.ROOM = room


def broken_worker(folder):
    (folder / "worker.py").write_text("raise ValueError('a loss that is no number')\n")
    (folder / "config.yaml").touch()
    msrun.Workers(folder / "worker.py", folder / "config.yaml", 1, folder / "logs", 60).run()


PROVOKED = {
    "config: unknown key": misspelt_key,
    "data: there is no folder": no_data,
    "...: row 16": bad_row,
    "test: 3 of 120": leak,
    "train.workers is 4": too_few_npus,
    "...: another training": another_training,
    "Error: Directory": locked,
    "...: the disk": full_disk,
    "training failed": broken_worker,
}


@pytest.mark.integration  # one error is Snakemake's, another a worker's
@pytest.mark.parametrize("said", ERRORS)
def test_each_error_of_the_table_is_one_that_comes(said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (provoke,) = [provoke for start, provoke in PROVOKED.items() if said.startswith(start)]
    with pytest.raises(UserError) as caught:
        provoke(tmp_path)
    pattern = ".*".join(map(re.escape, said.split("...")))
    assert re.search(pattern, str(caught.value)), str(caught.value)


def test_every_provoked_error_is_in_the_table():
    assert len(ERRORS) == len(PROVOKED)


def version():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_one_version():
    newest = re.search(
        r"^## \[(.+?)\] - (Unreleased|\d{4}-\d\d-\d\d)$", (ROOT / "CHANGELOG.md").read_text(), re.M
    )
    assert newest and newest[1] == version()
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert str(citation["version"]) == version()
    assert citation["license"] == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["license"]


def test_what_the_workflow_catalog_looks_for():
    """By the README.md of snakemake/snakemake-workflow-catalog."""
    assert {"snakemake", "workflow"} <= set(re.findall(r"\w+", README.lower()))
    for name in ("LICENSE", "workflow/Snakefile", "config/README.md", "config.yaml"):
        assert (ROOT / name).is_file(), name
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert usage["software-stack-deployment"] == {"conda": True} and usage["report"] is True


def listed(snakefile, folder):
    """{rule: docstring} of `snakemake --list`."""
    command = [sys.executable, "-m", "snakemake", "--list", "--snakefile", str(ROOT / snakefile)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return dict(re.findall(r"^(\w+)(?: \((.+)\))?$", done.stdout, re.MULTILINE))


@pytest.mark.integration
def test_every_rule_says_in_a_line_what_it_makes(tmp_path):
    rules = listed("Snakefile", tmp_path)
    assert {"all", "data", "plan", "doctor", "export", "publish", "verify"} <= rules.keys()
    assert [name for name, said in rules.items() if not 10 < len(said) < 120] == []
    assert listed("workflow/Snakefile", tmp_path).items() >= rules.items()


def test_links_of_the_documentation_lead_somewhere():
    for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("config/*.md")):
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_picture_of_the_report_is_small():
    picture = ROOT / "docs" / "report.png"
    assert picture.read_bytes()[:4] == b"\x89PNG" and picture.stat().st_size < 300_000
    assert "(docs/report.png)" in README


def test_the_lock_of_a_snakemake_that_is_at_work_is_left_alone(tmp_path):
    locks = tmp_path / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    (locks / "0.input.lock").touch()
    asleep = [sys.executable, "-c", "import time; time.sleep(60)", "snakemake", "--cores"]  # by name
    with subprocess.Popen(asleep, cwd=tmp_path) as other:
        run = [ROOT / "scripts" / "run", "--dry-run", "--quiet"]
        refused = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True)
        other.kill()
    assert refused.returncode == 1 and (locks / "0.input.lock").exists()
    assert refused.stderr == f"mcqlora: another Snakemake is at work in {tmp_path}; wait for it or stop it\n"
