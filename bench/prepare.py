"""From CSV files to rows of token ids: a plain implementation, Hugging Face `datasets`, and this project.

    .venv/bin/python bench/prepare.py [--data ../shared/data] [--sides plain,packed,...] [--json FILE]

Needs the real MMLU and CMMLU files and InternLM's tokenizer. Every side starts at the same CSV files, ends at
138,020 training records (27,604 questions) in rows of 1,025 ids on disk, and runs in a process of its own:

* plain: pandas, the json module, one SentencePiece call per part of a record, one MindRecord call per
  record, padded rows, as the report's scripts do it;
* datasets: the same up to the training records; then `datasets.map` with the fast tokenizer, in batches,
  padded rows, saved as Arrow. It needs datasets and transformers, which come with mindformers;
* dag-padded, dag-packed: this project's rules, by Snakemake on two cores, in 4 shards. They do more than the
  others: an account of every row, duplicate groups, the leakage gate, the validation part;
* padded, packed: the jobs of these two, with their scripts and Snakemake's parameters, run by one program
  as the first two sides are, two jobs at a time; the shards must be bit-identical;
* empty: Snakemake with the same jobs in the same order, all of them empty: the cost of a DAG;
* limit: SentencePiece alone on each distinct segment of text, which no cache can save;
* library, words: with `--json`, a byte-level tokenizer.json, the ids of the same records' texts, by Hugging
  Face's `tokenizers` alone and by this project's segment encoder before it; both must be the same.

CPU seconds are user and system time of all processes of a side. "All" has everything in it: interpreters,
imports, Snakemake. "Work" leaves out what it costs to start and to import: what a side's process has used
when its imports are done; for the DAG, that much per job and Snakemake itself.
"""

from __future__ import annotations

import argparse
import filecmp
import importlib.util
import itertools
import json
import os
import pickle
import platform
import random
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SIZE, IGNORE, SEED, COPIES, CORES = 1025, -100, 42, 6, 2
SIDES = (
    "plain",
    "datasets",
    "dag-padded",
    "padded",
    "dag-packed",
    "packed",
    "empty",
    "limit",
    "library",
    "words",
)
JSON = "MCQLORA_BENCH_JSON"  # the environment's name of --json, for the sides' processes
TAKES = {"padded": "dag-padded", "packed": "dag-packed", "limit": "dag-packed"}  # what another side made
TARGETS = {"padded": 8, "packed": 20}  # times faster than plain
CPU_LIMIT, MEMORY_LIMIT, USEFUL_LIMIT = 15, 600, 0.975  # seconds, MB, fraction

EMPTY = """
rule all:
    input: expand("shard{n}", n=range(5))
rule tokenizer:
    output: "tokenizer"
    script: "touch.py"
rule read:
    output: "read"
    script: "touch.py"
rule groups:
    input: "read"
    output: "groups"
    script: "touch.py"
rule shuffle:
    input: "read"
    output: "shuffle"
    script: "touch.py"
rule split:
    input: "groups", "shuffle"
    output: "split"
    script: "touch.py"
rule encode:
    input: "split", "tokenizer"
    output: "encode"
    threads: 2
    script: "touch.py"
rule shard:
    input: "encode"
    output: "shard{n}"
    script: "touch.py"
"""

# Every Snakemake job that finds it leaves two files: what it and its workers used, and its parameters.
RECORDER = """
import atexit, json, os, pickle, resource, sys, time
began = time.time()
def leave():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu, mb = sum(u.ru_utime + u.ru_stime for u in used), max(u.ru_maxrss for u in used) / 1024
    told = getattr(sys.modules["__main__"], "snakemake", None)
    if hasattr(told, "rule"):
        with open(os.path.join({folder!r}, f"{{began:.6f}}.json"), "w") as file:
            json.dump({{"rule": told.rule, "cpu": cpu, "mb": mb}}, file)
        with open(os.path.join({folder!r}, f"{{began:.6f}}.job"), "wb") as file:
            pickle.dump(told, file)
atexit.register(leave)
"""


# The sides, each in a process of its own.


def imported() -> None:
    """Say what starting and importing took; the rest is the work."""
    print(time.process_time(), flush=True)


def training_records(data: Path, work: Path) -> list[dict]:
    """CSV to five copies of every question, by way of JSON files, as the report's scripts do it."""
    import pandas

    records = []
    for file in sorted((data / "mmlu").glob("*/*.csv")) + sorted((data / "cmmlu").glob("*/*.csv")):
        subject = file.stem
        for split in ("_dev", "_val", "_test"):
            subject = subject.removesuffix(split)
        instruction = (
            f"Here is a question about {subject.replace('_', ' ')}, the correct answer is one of the options "
            "A/B/C/D. Please select the correct option and answer the question with 'The right option is'."
        )
        for row in pandas.read_csv(file).itertuples(index=False):  # loses MMLU's first rows
            question, *options, answer = row[-6:]
            options = [str(option) for option in options]
            records.append(
                {"instruction": instruction, "question": question, "options": options, "answer": answer}
            )
    with open(work / "alpaca.json", "w") as file:
        json.dump(records, file, ensure_ascii=False)
    with open(work / "alpaca.json") as file:
        records = json.load(file)
    generator = random.Random(SEED)
    orders = list(itertools.permutations("ABCD"))
    epochs: list[list[dict]] = [[] for _ in range(COPIES)]
    for record in records:
        chosen = [orders[0], *generator.sample(orders[1:], COPIES - 1)]
        for epoch, order in zip(epochs, chosen, strict=True):
            options = [record["options"]["ABCD".index(letter)] for letter in order]
            letter = "ABCD"[order.index(record["answer"])]
            lines = "".join(f"\n{name}.{option}" for name, option in zip("ABCD", options, strict=True))
            epoch.append(
                {
                    "instruction": record["instruction"],
                    "input": f"Question: {record['question']} {lines}",
                    "output": f"The right option is {letter}.{options['ABCD'.index(letter)]}",
                }
            )
    for number, epoch in enumerate(epochs):
        with open(work / f"epoch-{number}.json", "w") as file:
            json.dump(epoch, file, ensure_ascii=False)
    train = []
    for number in range(COPIES - 1):
        with open(work / f"epoch-{number}.json") as file:
            train += json.load(file)
    with open(work / "train.json", "w") as file:
        json.dump(train, file, ensure_ascii=False)
    with open(work / "train.json") as file:
        return json.load(file)


def plain(data: Path, work: Path) -> int:
    import numpy as np
    import pandas  # noqa: F401
    from mindspore.mindrecord import FileWriter
    from sentencepiece import SentencePieceProcessor

    imported()
    encode = SentencePieceProcessor(model_file=str(tokenizer_file(data))).encode
    writer = FileWriter(str(work / "train.mindrecord"))
    writer.add_schema({name: {"type": "int32", "shape": [-1]} for name in ("input_ids", "labels")}, "plain")
    rows = 0
    for record in training_records(data, work):
        user = encode(f"<|User|>:{record['instruction']}\n{record['input']}")
        prompt = [1, *user, 103167, 13, *encode("<|Bot|>:")]
        answer = [*encode(record["output"]), 103166, 13, 2]
        missing = SIZE - len(prompt) - len(answer)
        if missing < 0:
            continue
        ids = np.array(prompt + answer + [0] * missing, dtype=np.int32)
        labels = np.array([IGNORE] * len(prompt) + answer + [IGNORE] * missing, dtype=np.int32)
        writer.write_raw_data([{"input_ids": ids, "labels": labels}])
        rows += 1
    writer.commit()
    return rows


def fast_tokenizer(data: Path):
    """InternLM's SentencePiece model as a Hugging Face fast tokenizer, made here: nothing is downloaded."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    from transformers import LlamaTokenizerFast

    return LlamaTokenizerFast(vocab_file=str(tokenizer_file(data)), add_bos_token=False, legacy=False)


def datasets(data: Path, work: Path) -> int:
    import numpy as np
    import pandas  # noqa: F401
    from datasets import Dataset, disable_caching, disable_progress_bar

    disable_caching()
    disable_progress_bar()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    tokenizer = fast_tokenizer(data)
    imported()

    def ids_of(texts: list[str]) -> list[list[int]]:
        return tokenizer(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]

    def rows(batch: dict[str, list[str]]) -> dict[str, list[np.ndarray]]:
        users = ids_of(
            [f"<|User|>:{a}\n{b}" for a, b in zip(batch["instruction"], batch["input"], strict=True)]
        )
        made: dict[str, list[np.ndarray]] = {"input_ids": [], "labels": []}
        bot = ids_of(["<|Bot|>:"])[0]
        for user, output in zip(users, ids_of(batch["output"]), strict=True):
            prompt, answer = [1, *user, 103167, 13, *bot], [*output, 103166, 13, 2]
            missing = SIZE - len(prompt) - len(answer)
            if missing >= 0:
                made["input_ids"].append(np.array(prompt + answer + [0] * missing, np.int32))
                made["labels"].append(
                    np.array([IGNORE] * len(prompt) + answer + [IGNORE] * missing, np.int32)
                )
        return made

    records = Dataset.from_list(training_records(data, work))
    found = records.map(rows, batched=True, remove_columns=records.column_names)
    found.save_to_disk(str(work / "train"))
    return len(found)


def ours(data: Path, work: Path, layout: str) -> int:
    """The report's recipe, whose rows are the others' too, as a user runs it."""
    shards = [f"results/reference/mindrecord/train/shard-{i}-of-4.mindrecord" for i in range(4)]
    shards.append("results/reference/mindrecord/valid/shard-0-of-1.mindrecord")
    command = [
        *(sys.executable, "-m", "snakemake", *shards, "--cores", str(CORES), "--resources", "npu=4"),
        *("--snakefile", str(ROOT / "Snakefile"), "--directory", str(work)),
        *("--configfile", str(ROOT / "config" / "reference-4npu.yaml")),
        *("--config", f"data={data}", f"encode={{layout: {layout}, on_long: drop}}"),
    ]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if result.returncode:
        sys.exit(result.stdout[-3000:])
    return json.loads((work / "results/reference/packing.json").read_text())["train"][layout]["rows"]


def one_program(work: Path, layout: str) -> int:
    """The jobs that Snakemake ran, as soon as what they read is there and a core is free."""
    from mcqlora.data import duplicates, leakage, splits  # noqa: F401  (once for all jobs)
    from mcqlora.tokens import encoding, mindrecord, packing, segments  # noqa: F401

    waiting = [
        pickle.loads(file.read_bytes())
        for file in sorted((work.parent / TAKES[layout] / "recorder").glob("*.job"))
    ]
    imported()
    os.chdir(work)
    unmade = {str(path) for job in waiting for path in job.output}
    running: dict[int, Any] = {}
    while waiting or running:
        for job in list(waiting):
            busy = sum(min(other.threads, CORES) for other in running.values())
            if unmade.isdisjoint(job.input) and busy + min(job.threads, CORES) <= CORES:
                waiting.remove(job)
                running[start(job)] = job
        process, status, used = os.wait4(-1, 0)
        job = running.pop(process)
        if status:
            for other in running:
                os.kill(other, signal.SIGKILL)
            sys.exit(f"bench: {job.rule} failed:\n{(work / job.log[0]).read_text()[-3000:]}")
        unmade -= set(job.output)
        found = {"rule": job.rule, "cpu": used.ru_utime + used.ru_stime, "mb": used.ru_maxrss / 1024}
        (work / "recorder" / f"{time.time():.6f}.json").write_text(json.dumps(found))
    return json.loads((work / "results/reference/packing.json").read_text())["train"][layout]["rows"]


def start(job: Any) -> int:
    """A process that runs the script of a job."""
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        runpy.run_path(str(Path(job.scriptdir, job.params.code.split()[0])), {"snakemake": job})
        status = 0
    finally:
        os._exit(status)


def dag_padded(data: Path, work: Path) -> int:
    return ours(data, work, "padded")


def dag_packed(data: Path, work: Path) -> int:
    return ours(data, work, "packed")


def padded(data: Path, work: Path) -> int:
    return one_program(work, "padded")


def packed(data: Path, work: Path) -> int:
    return one_program(work, "packed")


def empty(data: Path, work: Path) -> int:
    """Jobs that start, and make one empty file each."""
    (work / "Snakefile").write_text(EMPTY)
    (work / "touch.py").write_text("open(snakemake.output[0], 'w').close()\n")
    command = [sys.executable, "-m", "snakemake", "--cores", str(CORES), "--directory", str(work)]
    result = subprocess.run(command, cwd=work, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if result.returncode:
        sys.exit(result.stdout[-3000:])
    return 0


def limit(data: Path, work: Path) -> int:
    """Encode again all texts that reach SentencePiece from an encoder of the packed side's records."""
    from mcqlora import files
    from mcqlora.tokens import encoding, prompt, segments, tokenizer

    processor = tokenizer.load(tokenizer_file(data))
    asked: list[str] = []

    class Asking(tokenizer.SentencePiece):
        def encode(self, text: str) -> list[int]:
            asked.append(text)
            return processor.encode(text)

    encoder, template = (
        segments.SegmentEncoder(Asking(tokenizer_file(data).read_bytes())),
        prompt.reference(processor),
    )
    encoded = encoding.row_encoder(encoder.int32, template)
    for record in files.read_json_array(work.parent / TAKES["limit"] / "results/reference/splits/train.json"):
        encoded(record)
    imported()
    for text in asked:
        processor.encode(text)
    return len(asked)


def library(data: Path, work: Path) -> int:
    from mcqlora.tokens import segments, tokenizer

    encode = tokenizer.load(os.environ[JSON]).encode
    return write_ids(data, work, lambda text: segments.to_bytes(encode(text)))


def words(data: Path, work: Path) -> int:
    from mcqlora.tokens import segments, tokenizer

    return write_ids(data, work, segments.SegmentEncoder(tokenizer.load(os.environ[JSON])).int32)


def write_ids(data: Path, work: Path, int32: Callable[[str], bytes]) -> int:
    """The ids of all texts in a file; reading the records is no work here."""
    records = training_records(data, work)
    imported()
    with open(work / "ids", "wb") as file:
        for record in records:
            file.write(int32(f"<|User|>:{record['instruction']}\n{record['input']}"))
            file.write(int32(record["output"]))
    return len(records)


# Measuring and printing.


def tokenizer_file(data: Path) -> Path:
    return data / "tokenizer" / "internlm_7b_tokenizer.model"


def measured(side: str, data: Path, work: Path) -> dict:
    """Run a side in a process of its own and measure all its processes."""
    recorder = work / "recorder"
    recorder.mkdir(parents=True)
    (recorder / "sitecustomize.py").write_text(RECORDER.format(folder=str(recorder)))
    environment = os.environ | {"PYTHONPATH": str(recorder), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--data", str(data), "--run", side, "--work", str(work)]
    start = time.time()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    said = process.stdout.read().split()
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"bench: {side} failed")
    wall, cpu = time.time() - start, used.ru_utime + used.ru_stime
    jobs = [json.loads(file.read_text()) for file in sorted(recorder.glob("*.json"))]
    if side.startswith("dag") or side == "empty":
        started = len(jobs) * job_start() + cpu - sum(job["cpu"] for job in jobs)
    else:
        started = float(said[-2])
    return {
        "wall": wall,
        "cpu": cpu,
        "work": cpu - started,
        "mb": used.ru_maxrss / 1024,
        "rows": int(said[-1]),
        "jobs": jobs,
    }


def job_start() -> float:
    """CPU seconds of a job of ours that only starts and imports."""
    code = "import sys, time; sys.path.insert(0, sys.argv[1])\n"
    code += "from mcqlora.tokens import encoding, mindrecord, packing; print(time.process_time())"
    run = subprocess.run([sys.executable, "-c", code, str(ROOT / "src")], stdout=subprocess.PIPE, text=True)
    return float(run.stdout)


def job_table(jobs: list[dict]) -> None:
    """CPU seconds and the largest peak by rule."""
    rules: dict[str, list[dict]] = {}
    for job in jobs:
        rules.setdefault(job["rule"], []).append(job)
    for rule, runs in rules.items():
        cpu, peak = sum(run["cpu"] for run in runs), max(run["mb"] for run in runs)
        print(f"    {rule:<10} {len(runs)} job{'s' * (len(runs) > 1):<2} {cpu:6.2f} CPU s {peak:5.0f} MB")


def reason_without(side: str, done: Collection[str]) -> str | None:
    """Why a side can't run here, or None."""
    if TAKES.get(side, side) not in (side, *done):
        return f"it takes what {TAKES[side]} made: name that before it"
    if side in ("library", "words") and JSON not in os.environ:
        return "say --json FILE"
    if side == "datasets":
        missing = [name for name in ("datasets", "transformers") if importlib.util.find_spec(name) is None]
        if missing:
            return f"{' and '.join(missing)} not installed: pip install {' '.join(missing)}"
    return None


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--sides", default=",".join(SIDES), help="some of " + ", ".join(SIDES))
    parser.add_argument("--run", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, help="a byte-level tokenizer.json, for library and words")
    given = parser.parse_args()
    data = given.data.resolve()
    if given.json:
        os.environ[JSON] = str(given.json.resolve())
    if not tokenizer_file(data).is_file():
        sys.exit(f"bench: {tokenizer_file(data)}: no such file; say --data FOLDER")
    if given.run:
        sys.path.insert(0, str(ROOT / "src"))
        print(globals()[given.run.replace("-", "_")](data, given.work))
        return
    with tempfile.TemporaryDirectory(prefix="bench-prepare-") as folder:
        compare(given.sides.split(","), data, Path(folder))


def check_same(dag: Path, program: Path) -> None:
    """The shards of two sides are the same bytes."""
    shards = [
        str(file.relative_to(dag))
        for file in sorted(dag.glob("results/reference/mindrecord/*/*.mindrecord*"))
    ]
    same, other, missing = filecmp.cmpfiles(dag, program, shards, shallow=False)
    if other or missing or len(same) != 10:
        sys.exit(f"bench: of {dag.name} and {program.name} only {len(same)} of 10 files are the same")


def compare(sides: list[str], data: Path, folder: Path) -> None:
    print(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}")
    print(f"{'':<10}{'rows':>9}{'wall s':>9}{'CPU s all':>11}{'work':>8}{'peak MB':>9}", flush=True)
    found: dict[str, dict] = {}
    for side in sides:
        if reason := reason_without(side, found):
            print(f"{side:<10} left out: {reason}")
            continue
        found[side] = one = measured(side, data, folder / side)
        if side in TARGETS:
            check_same(folder / TAKES[side], folder / side)
        print(
            f"{side:<10}{one['rows']:>9,}{one['wall']:>9.1f}{one['cpu']:>11.1f}{one['work']:>8.1f}"
            f"{one['mb']:>9.0f}",
            flush=True,
        )
        job_table(one["jobs"])
    print()
    for side in ("padded", "dag-padded", "packed", "dag-packed"):
        for other in ("plain", "datasets"):
            if side in found and other in found:
                ratio = [found[other][key] / found[side][key] for key in ("wall", "cpu", "work")]
                target = f" (target {TARGETS[side.removeprefix('dag-')]} x)" if other == "plain" else ""
                print(
                    f"{side} against {other}: {ratio[0]:.1f} x by the clock{target}, "
                    f"{ratio[1]:.1f} x in CPU time, {ratio[2]:.1f} x without starting and importing"
                )
    if "dag-packed" in found:
        packing = json.loads((folder / "dag-packed/results/reference/packing.json").read_text())["train"]
        print(f"padded rows: {packing['padded']['useful_fraction']:.1%} useful")
        useful = packing["packed"]["useful_fraction"]
        print(f"packed rows: {useful:.2%} useful (target {USEFUL_LIMIT:.1%}), {packing['dropped']} dropped")
    for side in ("packed", "dag-packed"):
        if side in found:
            one = found[side]
            print(
                f"{side}: CSV to rows in {one['work']:.1f} CPU s (target {CPU_LIMIT}), {one['cpu']:.1f} with "
                f"starting; peak of any process {one['mb']:.0f} MB (target {MEMORY_LIMIT})"
            )
    if {"library", "words"} <= found.keys():
        if not filecmp.cmp(folder / "library/ids", folder / "words/ids", shallow=False):
            sys.exit("bench: the ids of library and words differ")
        ratio = found["library"]["work"] / found["words"]["work"]
        print(f"words against library: {ratio:.1f} x in CPU time without starting and importing")
    if "empty" in found:
        wall, cpu = (found["empty"][key] for key in ("wall", "cpu"))
        print(f"the same jobs without work: {wall:.1f} s by the clock, {cpu:.1f} CPU s")
    if {"packed", "limit"} <= found.keys():
        share = found["limit"]["work"] / found["packed"]["work"]
        print(f"SentencePiece on {found['limit']['rows']:,} distinct texts: {share:.0%} of the work")


if __name__ == "__main__":
    main()
