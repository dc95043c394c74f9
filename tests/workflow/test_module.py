"""The workflow as a module of another: the same settings from few keys, and one line for what cannot work."""

import json
import subprocess
import sys

import pytest

from mcqlora.config import loading
from tests.helpers.runs import ROOT, environment, only_line, rules

SNAKEFILE = """
{before}
module mcqlora:
    snakefile: "{root}/Snakefile"
    config: {config}
    {more}

use rule * from mcqlora as mcqlora_*

with open("settings.json", "w") as file:
    file.write(__import__("json").dumps(mcqlora.config))
"""


def dry_run(folder, config, before="", more=""):
    text = SNAKEFILE.format(root=ROOT, config=config, before=before, more=more)
    (folder / "Snakefile").write_text(text)
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--cores", "1"]
    return subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True)


@pytest.mark.parametrize("given", [{}, {"recipe": "reference", "run": "ours", "train": {"lora_rank": 8}}])
def test_few_keys_are_enough_and_give_what_a_checkout_gives(tmp_path, given):
    done = dry_run(tmp_path, json.dumps(given))
    assert done.returncode == 0, done.stdout + done.stderr
    assert {"mcqlora_split", "mcqlora_train", "mcqlora_report"} <= rules(done)
    assert json.loads((tmp_path / "settings.json").read_text()) == loading.load(given).model_dump()


def test_a_text_of_the_users_own_configfile_is_what_is_written(tmp_path):
    (tmp_path / "own.yaml").write_text("run: 2023_01\n")
    done = dry_run(tmp_path, "config", before='configfile: "own.yaml"')
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((tmp_path / "settings.json").read_text())["run"] == "2023_01"


def test_a_prefix_is_refused(tmp_path):
    line = only_line(dry_run(tmp_path, "{}", more='prefix: "sub"'))
    assert "takes no prefix" in line and "give it a run of its own" in line
