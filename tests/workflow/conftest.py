"""Runs of the real workflow, each in a folder of its own."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from mcqlora import demo
from mcqlora.tokens import tokenizer

ROOT = Path(__file__).parents[2]
TINY = Path(__file__).parent / "config" / "tiny.yaml"
PROCESSES = 4  # of dry runs, which sleep for most of their time
FEW = 20  # dry runs are worth one


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


def write_data(folder: Path) -> Path:
    """A data folder as a user has one: CSV files, a reading test, a tokenizer."""
    demo.write(folder, seed=1, repeats=1)
    tokenizer.train(demo.tokenizer_text(folder), folder / "tokenizer.model", 900)
    return folder


def setting(dotted: str) -> str:
    """`train.lora_rank=8` as Snakemake's --config wants it: `train={lora_rank: 8}`."""
    key, value = dotted.split("=", 1)
    first, *others = key.split(".")
    for name in reversed(others):
        value = f"{{{name}: {value}}}"
    return f"{first}={value}"


class DryRun(NamedTuple):
    """A dry run to be made: Snakemake's arguments, and files with other contents, see dryruns.py."""

    arguments: Sequence[str] = ()
    changed: Mapping[str, str] = {}


def dry_runs(folder: Path, wanted: Sequence[DryRun], configfile: Path = TINY) -> list[set[str]]:
    """The jobs that each would run, without targets: `rule`, or `rule model` of a rule with that wildcard."""
    asked = [
        {"arguments": [*run.arguments, "--configfile", str(configfile)], "changed": dict(run.changed)}
        for run in wanted
    ]
    environment = {k: v for k, v in os.environ.items() if k != "MCQLORA_MASTER"}

    def some(own: list) -> list[tuple[int, str]]:
        command = [sys.executable, str(Path(__file__).parent / "dryruns.py")]
        done = subprocess.run(
            command,
            input=json.dumps(own),
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=folder,
            check=True,
        )
        return json.loads(done.stdout)

    size = max(FEW, math.ceil(len(asked) / PROCESSES))
    with ThreadPoolExecutor() as pool:
        parts = pool.map(some, (asked[i : i + size] for i in range(0, len(asked), size)))
        done = [result for part in parts for result in part]
    found = []
    for run, (code, said) in zip(wanted, done, strict=True):
        assert code == 0, f"{run}: {said[-3000:]}"
        jobs = re.findall(r"^(?:local)?rule (\w+):\n((?:    .*\n)*)", said, re.MULTILINE)
        models = [re.search(r"    wildcards:.*\bmodel=(\w+)", told) for _, told in jobs]
        found.append(
            {
                f"{rule} {model[1]}" if model else rule
                for (rule, _), model in zip(jobs, models, strict=True)
                if rule != "all"
            }
        )
    return found


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
    result = snakemake(folder, "--cores", "2", "all", "results/tiny/plan.json")
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return folder
