"""Every example of README and docs: commands as dry runs, some of them for real; configuration; the picture.

A block or command that no test here knows how to run fails `test_every_example_is_run`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from mcqlora import demo
from mcqlora.config import loading
from mcqlora.storage import publish
from tests.helpers.runs import ROOT

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "config/README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
DATA = ROOT.parent / "shared" / "data"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"`((?:\.venv/bin/)?(?:snakemake|make) [^`\n]+)`")
KINDS = {"sh", "yaml", "json", "python", "mermaid", ""}  # "": a sketch
REAL = {"docs/plan.md:1"}  # the others are dry runs
IN_PARITY = {"docs/interoperation.md:2"}  # needs transformers and peft: tests/parity/test_parity.py
FOLLOWED = "docs/extending.md:"  # step by step: test_extending.py, here and in tests/unit
DRY = {  # how to try a command without its hours; None: nothing to add, it is over in no time
    r"(?<![\w/])(?:\.venv(?:-torch)?/bin/)?snakemake\b": ".venv/bin/snakemake --quiet rules -n --cores 1",
    r"\bmake (?=\w)": "make --dry-run ",
    r"scripts/smollm2 .*": "scripts/smollm2 --help",  # downloads
    r"\.venv-parity/bin/python\b": ".venv/bin/python",  # which may not be there
    r"-m pytest\b": "-m pytest --collect-only -q",
    r"sha256: \.\.\.": f"sha256: '{64 * '0'}'",
}
MADE_HERE = ("results", "runs", "logs", "benchmarks", "smollm2", ".snakemake", ".git", ".venv")
MADE_BEFORE = [
    "results/RUN/base/model.safetensors",
    "results/RUN/adapters/checkpoint_5.safetensors",
    "results/tiny/export/merged/config.json",
    "results/tiny/export/merged/model.safetensors",
    "results/tiny/export/merged/tokenizer.model",
]


class Example(NamedTuple):
    name: str  # page:number, from 1; of a command in running text its own words
    kind: str
    text: str


def examples() -> list[Example]:
    found = []
    for page in PAGES:
        text, name = page.read_text(encoding="utf-8"), page.relative_to(ROOT)
        for number, (kind, body) in enumerate(BLOCK.findall(text), 1):
            found.append(Example(f"{name}:{number}", kind, body))
        found += [Example(f"{name}:{said}", "sh", said) for said in COMMAND.findall(BLOCK.sub("", text))]
    return found


def of_kind(kind: str) -> list:
    return [pytest.param(one, id=one.name) for one in examples() if one.kind == kind]


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A checkout of links, where results are this test's own, and a FOLDER with files of the right names."""
    for path in ROOT.iterdir():
        if path.name not in MADE_HERE:
            (tmp_path / path.name).symlink_to(path)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    folder = tmp_path / "FOLDER"
    folder.mkdir()
    if DATA.is_dir():
        for path in DATA.iterdir():
            (folder / path.name).symlink_to(path)
    else:
        stand_in(folder)
    (folder / "mine").symlink_to(folder / "mmlu")
    (folder / "internlm-7b").mkdir()
    (folder / "internlm-7b" / "config.json").write_text("{}")
    (folder / "internlm-7b" / "model.safetensors").touch()
    (folder / "ceval-exam").symlink_to(folder / "mmlu")
    (tmp_path / "smollm2" / "network").mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (tmp_path / "smollm2" / "network" / name).write_text("{}")
    foreign(folder / "models")
    blocks = BLOCK.findall((ROOT / "docs/compare.md").read_text(encoding="utf-8"))
    judge = next(body for _, body in blocks if body.startswith("judge:"))
    (tmp_path / "judge.yaml").write_text(judge, encoding="utf-8")
    return tmp_path


def foreign(models: Path) -> None:
    """Networks that others trained, an adapter and training data: names of files alone."""
    for name in ("a", "b", "base"):
        for file in ("config.json", "model.safetensors", "tokenizer.model"):
            (models / name).mkdir(parents=True, exist_ok=True)
            (models / name / file).write_text("{}")
    (models / "lora").mkdir()
    for name in ("lora/adapter_config.json", "lora/adapter_model.safetensors", "b.json", "alpaca.json"):
        (models / name).write_text("{}")


def stand_in(folder: Path) -> None:
    """The embedded benchmark under the names of the real files."""
    demo.write(folder, seed=7, repeats=1)
    (folder / "island_en").rename(folder / "mmlu")
    (folder / "island_zh").rename(folder / "cmmlu")
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer" / "internlm_7b_tokenizer.model").touch()


def shell(checkout: Path, script: str) -> subprocess.CompletedProcess:
    environment = {k: v for k, v in os.environ.items() if k != "MCQLORA_MASTER"}
    command = ["bash", "-euo", "pipefail", "-c", script]
    return subprocess.run(command, capture_output=True, text=True, cwd=checkout, env=environment)


@pytest.mark.slow
@pytest.mark.parametrize("example", of_kind("sh"))
def test_commands(example, checkout):
    script = example.text
    for name in MADE_BEFORE:
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).touch()
    for wanted, tried in DRY.items():
        script = re.sub(wanted, tried, script)
    assert script != example.text or example.name == "docs/plan.md:2", "nothing of it is dry"
    done = shell(checkout, script)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason="no ../shared/data beside the checkout")
@pytest.mark.parametrize("example", [one for one in of_kind("sh") if one.id in REAL])
def test_commands_for_real(example, checkout):
    done = shell(checkout, example.text)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


@pytest.mark.parametrize("example", of_kind("yaml"))
def test_configurations(example):
    given = yaml.safe_load(example.text)
    assert given
    loading.load(given)


@pytest.mark.parametrize("example", of_kind("json"))
def test_manifests(example):
    assert json.loads(example.text)["format"] == publish.FORMAT


def rulegraph(*arguments: str) -> str:
    """Snakemake's own graph of the embedded default."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), *arguments]
    done = subprocess.run([*command, "--rulegraph"], capture_output=True, text=True, cwd=ROOT, check=True)
    return done.stdout


def test_the_picture_is_the_dag():
    """`make picture` draws the DAG of docs/architecture.md from Snakemake's own."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    drawn = subprocess.run(
        [sys.executable, "scripts/picture"],
        input=rulegraph(),
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert drawn.stdout.startswith("```mermaid\n") and drawn.stdout in page


STAGES = {  # of README's picture: the rules that each stands for, in this order
    "read": {"demo", "read"},
    "json": {"alpaca"},
    "shuffle": {"shuffle"},
    "split": {"groups", "split", "mix", "data_card"},
    "tokenizer": {"tokenizer"},
    "encode": {"encode", "shard"},
    "base": {"base"},
    "train": {"train"},
    "evaluate": {"evaluate"},
    "report": {"report"},
    "export": {"peft", "merged", "exported_base"},
    "publish": {"publish"},
}


def test_the_stages_are_those_of_the_dag():
    """README's picture has every edge between stages that no longer path implies, and no other."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    drawn = set(re.findall(r"^  (\w+) --> (\w+)$", readme, re.MULTILINE))
    stage = {rule: name for name, rules in STAGES.items() for rule in rules}
    dot = rulegraph("publish", "--config", "publish={to: s3://bucket/prefix}")
    rules = dict(re.findall(r'^\s*(\d+)\[label = "(\w+)"', dot, re.MULTILINE))
    edges = {(rules[a], rules[b]) for a, b in re.findall(r"(\d+) -> (\d+)", dot)}
    # The generated benchmark is one folder for all its files, which hides who reads which.
    edges = {(a, b) for a, b in edges if a != "demo" and {a, b} <= stage.keys()}
    found = {(stage[a], stage[b]) for a, b in edges if stage[a] != stage[b]}
    assert found
    implied = {(a, c) for a, b in found for x, c in closure(found) if x == b}
    assert drawn == found - implied


def closure(edges: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """All pairs between which a path leads."""
    while len(longer := edges | {(a, d) for a, b in edges for c, d in edges if b == c}) > len(edges):
        edges = longer
    return edges


def test_every_example_is_run():
    found = examples()
    assert {one.kind for one in found} <= KINDS
    assert {one.name for one in found} >= REAL | IN_PARITY
    python = {one.name for one in found if one.kind == "python"}
    assert {name for name in python if not name.startswith(FOLLOWED)} == IN_PARITY
    mermaid = [one.name for one in found if one.kind == "mermaid"]
    assert mermaid == ["README.md:1", "docs/architecture.md:1"]
    for page in PAGES:  # no fence escapes BLOCK
        assert len(re.findall(r"^```", page.read_text(encoding="utf-8"), re.MULTILINE)) == 2 * len(
            BLOCK.findall(page.read_text(encoding="utf-8"))
        ), page
