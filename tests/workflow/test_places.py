"""Spaces, brackets and other letters in the path of a checkout, of data and of a configuration."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mcqlora import files, hashing
from mcqlora.machine import doctor
from tests.helpers.data_folder import write_data
from tests.helpers.runs import PARTS, ROOT, environment, snakemake


def checkout(folder: Path) -> Path:
    """A checkout with the packages of this Python."""
    folder.mkdir()
    for part in (*PARTS, "config", "scripts", "Makefile"):
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, folder / part)
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


def run(folder, *command):
    return subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True)


def test_a_checkout_runs_wherever_it_is(tmp_path):
    folder, data = (
        checkout(tmp_path / "my project (1) [a]*? & l'île 中文"),
        write_data(tmp_path / "my data [1] l'été"),
    )
    overlay = folder / "my overlay (2).yaml"
    files.write_json(
        overlay,
        {"data": f"../{data.name}", "tokenizer": {"path": "tokenizer.model"}, "base": {"text": "train"}},
    )
    (folder / ".snakemake/locks").mkdir(parents=True)
    (folder / ".snakemake/locks/0.input.lock").touch()  # as a killed run leaves it
    dry = run(folder, "scripts/run", "-n", "--configfile", overlay.name)
    assert dry.returncode == 0 and "evaluate" in dry.stdout, dry.stdout + dry.stderr
    for configured in ([], ["--configfile", overlay.name, "--config", "run=given"]):
        target = f"results/{'given' if configured else 'demo'}/packing.json"
        made = run(folder, "scripts/run", target, *configured)
        assert made.returncode == 0, made.stdout + made.stderr
        assert (folder / target).is_file()
    plain = tmp_path / "plain"
    plain.mkdir()
    other = snakemake(plain, "--cores", "1", "results/demo/packing.json", configfile=None)
    assert other.returncode == 0, other.stdout + other.stderr
    ours, theirs = (hashing.sha256(place / "results/demo/splits/train.json") for place in (folder, plain))
    assert ours == theirs


def test_another_snakemake_at_work_in_a_folder_with_brackets_is_seen(tmp_path):
    folder = checkout(tmp_path / "b[ra]ck*?")
    (folder / ".snakemake/locks").mkdir(parents=True)
    (folder / ".snakemake/locks/0.input.lock").touch()
    other = subprocess.Popen(["sh", "-c", "sleep 60; true", "snakemake", "-n"], cwd=folder)
    try:
        found = run(folder, "scripts/run", "-n")
    finally:
        other.kill()
    assert found.returncode == 1 and "another Snakemake is at work" in found.stderr


@pytest.mark.parametrize("letter", ["{", ":", "$"])
def test_what_cannot_work_is_one_line_before_anything_is_installed(tmp_path, letter):
    folder = checkout(tmp_path / f"my{letter}project")
    (folder / ".venv").unlink()
    made = run(folder, "make", "run", f"PYTHON={sys.executable}")
    (line,) = [line for line in made.stderr.splitlines() if line.startswith("mcqlora:")]
    assert made.returncode and f" has {letter} in its path; rename the folder" in line
    assert not os.path.lexists(folder / ".venv") and "installing" not in made.stdout
    assert next(doctor.checks(folder, folder)) == doctor.checkout(folder)
