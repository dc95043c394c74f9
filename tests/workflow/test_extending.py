"""docs/extending.md, followed: a benchmark by configuration, a rule in a copy of the checkout. Both run."""

from __future__ import annotations

import json
import re
import shutil

import yaml

from tests.helpers.data_folder import write_data
from tests.helpers.runs import PARTS, ROOT, snakemake

PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")


def section(name: str) -> str:
    return PAGE.split(f"\n## {name}\n")[1].split("\n## ")[0]


def blocks(text: str) -> list[tuple[str, str]]:
    """(what stands before it, its text) of each block of a section, its command left out."""
    found = re.findall(r"((?:(?!^```).)*)^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(before, body) for before, kind, body in found if kind != "sh"]


def test_a_benchmark_by_configuration(tmp_path):
    data = tmp_path / "data"
    write_data(data)  # for the reading test and the tokenizer
    (_, rows), (_, declared) = blocks(section("A benchmark"))
    for split in ("dev", "test"):
        (data / "mine" / split).mkdir(parents=True)
        (data / "mine" / split / "ferns.csv").write_text(rows)
    overlay = {"run": "mine", "data": str(data), "tokenizer": {"path": "tokenizer.model"}}
    overlay |= {"base": {"text": "train"}} | yaml.safe_load(declared)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(overlay))

    done = snakemake(tmp_path, "results/mine/ledger.json", "--cores", "1", configfile=tmp_path / "mine.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = (tmp_path / "results/mine/questions.jsonl").read_text(encoding="utf-8").splitlines()
    ids = [json.loads(line)["id"] for line in lines]
    assert ids == [f"mine/ferns/{split}/{row}" for split in ("dev", "test") for row in (0, 1)]


def test_a_rule(tmp_path):
    project = tmp_path / "project"
    project.mkdir()
    for name in PARTS:
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, project / name)
    *files, (_, include) = blocks(section("A rule"))
    for before, text in files:
        name = re.findall(r"`((?:src|workflow)/\S+\.(?:py|smk))`", before)[-1]
        assert not (project / name).exists(), name
        (project / name).write_text(text, encoding="utf-8")
    snakefile = project / "Snakefile"
    head, last, tail = snakefile.read_text(encoding="utf-8").rpartition('\ninclude: "workflow/rules/')
    own, after = tail.split("\n", 1)
    snakefile.write_text(f"{head}{last}{own}\n{include}{after}", encoding="utf-8")

    folder = tmp_path / "run"
    folder.mkdir()
    done = snakemake(folder, "results/tiny/lengths.json", "--cores", "1", "--snakefile", str(snakefile))
    assert done.returncode == 0, done.stdout + done.stderr
    lengths = json.loads((folder / "results/tiny/lengths.json").read_text())
    assert len(lengths) == 15 and all(length > 5 for length in lengths.values())
    record = json.loads((folder / "results/tiny/provenance/lengths.json.json").read_text())
    assert record["rule"] == "lengths" and record["inputs"].keys() == {"results/tiny/questions.jsonl"}
