"""Runs of the real workflow, each in a folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TINY = Path(__file__).parent / "config" / "tiny.yaml"


def snakemake(folder: Path, *arguments: str, configfile: Path | None = TINY) -> subprocess.CompletedProcess:
    """Run Snakemake on the project's Snakefile with `folder` as working directory."""
    overlay = ["--configfile", str(configfile)] if configfile else []
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), *overlay]
    environment = {k: v for k, v in os.environ.items() if k != "MCQLORA_MASTER"}
    return subprocess.run(
        [*command, "--directory", str(folder), *arguments],
        capture_output=True,
        text=True,
        env=environment,
        cwd=folder,
    )


def setting(dotted: str) -> str:
    """`train.lora_rank=8` as Snakemake's --config wants it: `train={lora_rank: 8}`."""
    key, value = dotted.split("=", 1)
    first, *others = key.split(".")
    for name in reversed(others):
        value = f"{{{name}: {value}}}"
    return f"{first}={value}"


def rules(result: subprocess.CompletedProcess) -> set[str]:
    """The rules that a dry run would run, without targets."""
    lines = result.stdout.splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith("job ")), None)
    if start is None:
        return set()
    table = lines[start + 2 : lines.index(next(line for line in lines[start:] if line.startswith("total")))]
    return {line.split()[0] for line in table} - {"all"}


def only_line(result: subprocess.CompletedProcess) -> str:
    """What a failed run says to its user: one line of ours, and no traceback."""
    said = result.stderr.splitlines() + result.stdout.splitlines()
    lines = [line for line in said if line.startswith("mcqlora:")]
    assert len(lines) == 1, result.stderr + result.stdout
    assert result.returncode != 0 and "Traceback" not in result.stderr + result.stdout
    return lines[0]


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """A folder in which the whole tiny workflow has run once, really training and evaluating."""
    folder = tmp_path_factory.mktemp("tiny")
    result = snakemake(folder, "--cores", "2")
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return folder
