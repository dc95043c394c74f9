"""Runs of the real workflow in a folder, and what they say. Needs neither Snakemake nor MindSpore itself."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TINY = ROOT / "tests" / "workflow" / "config" / "tiny.yaml"
PARTS = ("Snakefile", "config.yaml", "envs", "profiles", "src", "workflow")  # all that a run needs

Completed = subprocess.CompletedProcess[str]


def environment() -> dict[str, str]:
    """That of this process, whose master is not the run's."""
    return {name: value for name, value in os.environ.items() if name != "MCQLORA_MASTER"}


def snakemake(folder: Path, *arguments: str, configfile: Path | None = TINY) -> Completed:
    """Run Snakemake on the project's Snakefile with `folder` as working directory."""
    overlay = ["--configfile", str(configfile)] if configfile else []
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), *overlay]
    return subprocess.run(
        [*command, "--directory", str(folder), *arguments],
        capture_output=True,
        text=True,
        env=environment(),
        cwd=folder,
    )


def setting(dotted: str) -> str:
    """`train.lora_rank=8` as Snakemake's --config wants it: `train={lora_rank: 8}`."""
    key, value = dotted.split("=", 1)
    first, *others = key.split(".")
    for name in reversed(others):
        value = f"{{{name}: {value}}}"
    return f"{first}={value}"


def jobs(result: Completed) -> set[str]:
    """The jobs of a dry run, without targets: `rule`, with its variant and its model, if it has them."""
    said = result.stdout + result.stderr
    assert result.returncode == 0, said[-3000:]
    found = set()
    for rule, told in re.findall(r"^(?:local)?rule (\w+):\n((?:    .*\n)*)", said, re.MULTILINE):
        wildcards = dict(re.findall(r"\b(variant|model)=([^,\s]+)", told.partition("    wildcards:")[2]))
        found.add(" ".join([rule, *(wildcards[name] for name in ("variant", "model") if name in wildcards)]))
    return found - {"all"}


def rules(result: Completed) -> set[str]:
    """The rules that a dry run would run, without targets."""
    lines = result.stdout.splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith("job ")), None)
    if start is None:
        return set()
    table = lines[start + 2 : lines.index(next(line for line in lines[start:] if line.startswith("total")))]
    return {line.split()[0] for line in table} - {"all"}


def only_line(result: Completed) -> str:
    """What a failed run says to its user: one line of ours, and no traceback."""
    said = result.stderr.splitlines() + result.stdout.splitlines()
    lines = [line for line in said if line.startswith("mcqlora:")]
    assert len(lines) == 1, result.stderr + result.stdout
    assert result.returncode != 0 and "Traceback" not in result.stderr + result.stdout
    return lines[0]
