"""What grows with the work: the data half at several times the real size, the DAG at several numbers of jobs.

    .venv/bin/python bench/scale.py [--data ../shared/data] [--sizes 1,4,16] [--jobs 100,1000,5000]

A size of k is k copies of MMLU and CMMLU, in each of which every question's words stand in another order:
about the same lengths and vocabulary, and no duplicates that the first copy hasn't. The run is the default
recipe, near duplicates included, up to packed shards, by Snakemake on two cores. CPU seconds are of all
processes, peak memory of the largest one. Below them stand the stages, by Snakemake's own records (seconds of
all jobs, resident memory of the largest), and what lies on the disk.

A DAG of n jobs is the demo with so many shards that it has n: its dry run is timed.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
SNAKEMAKE = (sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "2")
BENCHMARKS = {"mmlu": "en", "cmmlu": "zh"}


class Cost(NamedTuple):
    wall: float  # seconds
    cpu: float  # seconds, of all processes
    mb: float  # of the largest process


def measured(command: list[str], place: Path) -> Cost:
    start = time.time()
    with open(place / "said.txt", "wb") as said:
        process = subprocess.Popen(command, cwd=place, stdout=said, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"bench: {' '.join(command)}\n{(place / 'said.txt').read_text()[-3000:]}")
    return Cost(time.time() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def reordered(text: str, generator: random.Random) -> str:
    """The words in another order; of a text without spaces, its runs of four characters."""
    parts = text.split(" ")
    joint = " "
    if len(parts) < 3:
        parts, joint = [text[i : i + 4] for i in range(0, len(text), 4)], ""
    generator.shuffle(parts)
    return joint.join(parts)


def multiply(data: Path, times: int, place: Path) -> list[dict[str, str]]:
    """`times` copies of the CSV files below `place`; the benchmarks as config has them."""
    found = []
    for name, language in BENCHMARKS.items():
        for copy in range(times):
            generator = random.Random(copy)
            for file in sorted((data / name).glob("*/*.csv")):
                target = place / f"{name}_{copy}" / file.parent.name / file.name
                target.parent.mkdir(parents=True, exist_ok=True)
                with open(file, encoding="utf-8-sig", newline="") as source:
                    rows = list(csv.reader(source))
                column = len(rows[0]) - 6
                for row in rows[name == "cmmlu" :] if copy else ():
                    row[column] = reordered(row[column], generator)
                with open(target, "w", encoding="utf-8", newline="") as made:
                    csv.writer(made).writerows(rows)
            found.append(
                {"name": f"{name}_{copy}", "layout": name, "path": f"{name}_{copy}", "language": language}
            )
    return found


def data_half(data: Path, times: int, place: Path) -> tuple[int, Cost]:
    """Questions kept, and the cost from CSV files to packed shards."""
    config = {
        "run": "scale",
        "data": str(place / "data"),
        "benchmarks": multiply(data, times, place / "data"),
        "tokenizer": {"path": str(data / "tokenizer" / "internlm_7b_tokenizer.model")},
        "base": {"text": "train"},  # the embedded benchmark alone has a text of its own
        "evaluate": {"squad": str(data / "squad" / "dev-v1.1.json")},
        "encode": {"seq_length": 1024, "shards": 4 * times, "layout": "packed"},
    }
    (place / "scale.yaml").write_text(json.dumps(config))
    shards = [f"results/scale/mindrecord/train/shard-{i}-of-{4 * times}.mindrecord" for i in range(4 * times)]
    cost = measured([*SNAKEMAKE, *shards, "--configfile", "scale.yaml"], place)
    with open(place / "results/scale/questions.jsonl", "rb") as file:
        return sum(1 for _ in file), cost


def stages(place: Path) -> None:
    """Print what each rule took, and the bytes of what it left."""
    taken: dict[str, list[dict[str, str]]] = {}
    for file in sorted((place / "benchmarks/scale").rglob("*.tsv")):
        name = file.parent.name if file.parent.name != "scale" else file.stem
        with open(file, newline="") as records:
            taken.setdefault(name, []).extend(csv.DictReader(records, delimiter="\t"))
    for name, jobs in sorted(taken.items(), key=lambda rule: -sum(float(job["s"]) for job in rule[1])):
        seconds = sum(float(job["s"]) for job in jobs)
        peak = max((float(job["max_rss"]) for job in jobs if job["max_rss"] != "NA"), default=0)
        print(f"    {name:<10}{len(jobs):>4} jobs {seconds:>8.1f} s {peak:>7.0f} MB")
    for path in sorted((place / "results/scale").iterdir()):
        size = sum(file.stat().st_size for file in (path, *path.rglob("*")) if file.is_file())
        if size > 1e7:
            print(f"    {path.name:<16}{size / 1e6:>10.0f} MB", flush=True)


def dag(jobs: int, place: Path) -> tuple[int, Cost]:
    """The jobs of a dry run of the demo that has about `jobs`, and its cost."""
    shards = max(1, jobs - 23)
    cost = measured([*SNAKEMAKE, "--dry-run", "--config", f"encode={{shards: {shards}}}"], place)
    lines = (place / "said.txt").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("total "))), cost


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--sizes", default="1,4,16", help="times the real size")
    parser.add_argument("--jobs", default="100,1000,5000")
    given = parser.parse_args()
    print(f"{'size':>9}{'questions':>11}{'wall s':>9}{'CPU s':>9}{'peak MB':>9}{'CPU ms a question':>19}")
    for times in filter(None, given.sizes.split(",")):
        with tempfile.TemporaryDirectory(prefix="bench-scale-") as folder:
            questions, cost = data_half(given.data.resolve(), int(times), Path(folder))
            each = 1000 * cost.cpu / questions
            spent = f"{cost.wall:>9.1f}{cost.cpu:>9.1f}{cost.mb:>9.0f}{each:>19.2f}"
            print(f"{times + ' x':>9}{questions:>11,}{spent}")
            stages(Path(folder))
    print(f"\n{'jobs':>9}{'wall s':>9}{'CPU s':>9}{'peak MB':>9}{'ms a job':>11}")
    for wanted in filter(None, given.jobs.split(",")):
        with tempfile.TemporaryDirectory(prefix="bench-scale-") as folder:
            jobs, cost = dag(int(wanted), Path(folder))
        each = 1000 * cost.wall / jobs
        print(f"{jobs:>9,}{cost.wall:>9.1f}{cost.cpu:>9.1f}{cost.mb:>9.0f}{each:>11.2f}", flush=True)


if __name__ == "__main__":
    main()
