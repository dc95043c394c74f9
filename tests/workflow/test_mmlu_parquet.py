"""The real MMLU as CSV files and as Parquet, in the form of cais/mmlu: the same questions, epochs, shards."""

import csv
import hashlib

import pytest
import yaml

from tests.helpers.benchmarks import parquet
from tests.helpers.runs import ROOT, snakemake

DATA = ROOT.parent / "shared" / "data"
MADE = ("questions.jsonl", "epochs", "splits", "mindrecord")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (DATA / "mmlu").is_dir(), reason="needs the real benchmark in ../shared/data"),
]


def copy(folder):
    """cais/mmlu's `all`: a file per split, subjects by name, `choices` as a list, `answer` from 0."""
    for split, name in (("dev", "dev"), ("val", "validation"), ("test", "test")):
        rows = []
        for path in sorted((DATA / "mmlu" / split).glob("*.csv")):
            subject = path.name.removesuffix(f"_{split}.csv")
            with open(path, encoding="utf-8", newline="") as file:
                for question, *choices, answer in csv.reader(file):
                    made = {"question": question, "subject": subject, "choices": choices}
                    rows.append(made | {"answer": "ABCD".index(answer.strip())})
        parquet(folder / "all" / f"{name}-00000-of-00001.parquet", rows)


def hashes(folder, entry, data):
    made = yaml.safe_load((ROOT / "config/mmlu-cmmlu-cpu.yaml").read_text())
    made |= {"run": "real", "data": str(data), "benchmarks": [entry], "read": {"strip_letters": False}}
    made["tokenizer"] = {"path": str(DATA / "tokenizer/internlm_7b_tokenizer.model")}
    made.setdefault("evaluate", {})["squad"] = str(DATA / "squad/dev-v1.1.json")
    folder.mkdir()
    (folder / "overlay.yaml").write_text(yaml.safe_dump(made))
    done = snakemake(folder, "data", "--cores", "2", configfile=folder / "overlay.yaml")
    assert done.returncode == 0, done.stderr[-3000:]
    results = folder / "results" / "real"
    found = [file for name in MADE for file in (results, *results.rglob("*")) if file.is_file()
             and str(file.relative_to(results)).startswith(name)]  # fmt: skip
    return {str(file.relative_to(results)): hashlib.sha256(file.read_bytes()).hexdigest() for file in found}


def test_mmlu_from_parquet_is_mmlu_from_csv(tmp_path):
    copy(tmp_path / "data" / "mmlu")
    same = {"name": "mmlu", "path": "mmlu", "language": "en"}
    first = hashes(tmp_path / "csv", same | {"layout": "mmlu"}, DATA)
    second = hashes(tmp_path / "parquet", same | {"preset": "mmlu_hf"}, tmp_path / "data")
    assert first == second and len(first) > 10
