"""Which stages a change re-runs: the whole table, key by key and file by file, that README shows in short.

Each row is a dry run on a finished result with that one key or file changed. What such a result was not made
by is checked on `given` and `addressed`: the same files, which Snakemake was told to take for a result of
given CSV files, tokenizer and weights, and of downloads.
"""

from __future__ import annotations

import ast
import json
import re
import shutil
from pathlib import Path
from typing import get_args

import pytest

from mcqlora.config import loading, variants
from mcqlora.config.sections import Section, Settings
from mcqlora.provenance import fingerprint
from tests.helpers.dryruns import DryRun, dry_runs
from tests.helpers.runs import ROOT, TINY, setting, snakemake

GIVEN = Path(__file__).parent / "config" / "given.yaml"
ADDRESSED = GIVEN.with_name("addressed.yaml")
TARGETS = ("all", "reckon", "dataset")
ADDRESSED_TARGETS = (*TARGETS, "publish", "fetch_run")

NOTHING: set[str] = set()
TUNED = {f"evaluate checkpoint_{k}" for k in range(1, 6)}
EVALUATE = TUNED | {"evaluate base"}
VALIDATE = {f"validate checkpoint_{k}" for k in range(1, 6)}
CONFIGS, REPORT, RECKON = {"configs"}, {"report"}, {"reckon"}
TRAIN = {"train", "peft", "merged"} | TUNED | REPORT
TRAIN_PLAN = TRAIN | RECKON  # what also decides the plan
LORA = TRAIN_PLAN | CONFIGS
BASE = {"base", "exported_base"} | TRAIN | EVALUATE
NETWORK = BASE | CONFIGS | RECKON
ENCODE = {"encode", "shard"} | TRAIN_PLAN
TEMPLATE = ENCODE | EVALUATE | CONFIGS | {"exported_base"}
ROWS = ENCODE | NETWORK
TOKENIZER = {"tokenizer"} | ROWS
SPLIT = {"split", "data_card", "dataset"} | ENCODE | EVALUATE
MIX = {"mix", "data_card"} | ENCODE  # where something is mixed in
SHUFFLE = {"shuffle"} | SPLIT
READ = {"read", "alpaca", "groups"} | SHUFFLE
EVERYTHING = {"demo"} | READ | TOKENIZER

OURS = {"exported_base"}  # PEFT adapters name a given base


def island(**changes: object) -> tuple[str]:
    """The setting of `benchmarks` with a change of the first."""
    entries = loading.read_yaml(ROOT / "config.yaml")["benchmarks"]
    entries[0] |= changes
    return (f"benchmarks={json.dumps(entries)}",)


def mixed(path: str, **changes: object) -> tuple[str]:
    """The setting of `train.mix` with one entry."""
    return ("train=" + json.dumps({"mix": [{"path": path, "share": 0.1} | changes]}),)


def judged(**keys: object) -> tuple[str]:
    """The setting of `judge`, on which nothing of `make run` depends; test_judge.py has its rules."""
    return ("judge=" + json.dumps(keys),)


HASH = "a" * 64
REFUSED = {"train.parallel.tensor", "train.parallel.optimizer"}  # where there is no NPU
TALK = "https://data.invalid/talk.json"

# key: (another value, what it re-runs). A tuple has all settings that belong together; None stands where only
# `ADDRESSED_KEYS` can have another value.
KEYS: dict[str, tuple[str | tuple[str, ...] | None, set[str]]] = {
    "run": ("other", EVERYTHING),
    "data": (
        ("data=results/tiny/data", "tokenizer={path: x.model}", "base={text: train}"),
        EVERYTHING - {"demo"},
    ),
    "recipe": ("reference", READ | TEMPLATE),
    "split": ("official", SPLIT),
    "device": ("Ascend", NETWORK),
    "benchmarks.name": (island(name="isle"), READ),
    "benchmarks.layout": (island(layout="cmmlu"), READ),
    "benchmarks.path": (island(path="isle"), READ),
    "benchmarks.sha256": (island(path="isle.zip", sha256=HASH), READ),
    "benchmarks.family": (island(family="^What (is)"), {"groups"} | SPLIT),
    "benchmarks.licence": (island(licence="MIT"), {"data_card", "dataset"}),
    "benchmarks.language": (island(language="de"), READ),
    "benchmarks.preset": (island(layout=None, preset="ceval"), READ),
    "benchmarks.files": (island(files="{split}/{subject}.csv"), READ),
    "benchmarks.subset": (island(subset="x"), READ),
    "benchmarks.columns": (island(columns=["question", "A", "B", "answer"]), READ),
    "benchmarks.splits": (island(splits={"dev": "dev", "test": "test"}), READ),
    "benchmarks.fields": (island(fields={"passage": "A"}), READ),
    "benchmarks.options": (island(options=["A", "B"]), READ),
    "benchmarks.answer": (island(answer="index"), READ),
    "benchmarks.absent": (island(absent=[""]), READ),
    "benchmarks.where": (island(where={"A": ["x"]}), READ),
    "benchmarks.delimiter": (island(delimiter=";"), READ),
    "demo.seed": ("8", EVERYTHING),
    "demo.repeats": ("3", EVERYTHING),
    "demo.family_size": ("2", EVERYTHING),
    "read.on_bad_row": ("drop", READ),
    "read.check_quotes": ("false", READ),
    "read.strip_letters": ("false", READ),
    "read.first_row_lost": ("true", READ),
    "read.pandas_na": ("true", READ),
    "read.drop_identical_options": ("false", READ),
    "read.drop_contradictory": ("false", READ),
    "shuffle.seed": ("7", SHUFFLE),
    "shuffle.copies": ("4", SHUFFLE),
    "shuffle.pin_references": ("false", SHUFFLE),
    "shuffle.balance_letters": ("false", SHUFFLE),
    "shuffle.reparse_options": ("true", SHUFFLE),
    "shuffle.option_references.letters": (("shuffle={option_references: {en: {letters: [x]}}}",), SHUFFLE),
    "shuffle.option_references.place": (("shuffle={option_references: {en: {place: [x]}}}",), SHUFFLE),
    "shuffle.option_references.rest": (("shuffle={option_references: {en: {rest: [x]}}}",), SHUFFLE),
    "holdout.valid": ("5", SPLIT),
    "holdout.test": ("5", SPLIT),
    "holdout.near_duplicate_threshold": ("0.9", {"groups"} | SPLIT),
    "tokenizer.path": ("x.model", TOKENIZER),
    "tokenizer.sha256": (None, NOTHING),
    "tokenizer.vocab_size": ("1150", TOKENIZER),
    "tokenizer.template": ("plain", TEMPLATE),
    "tokenizer.unused_marks": ("true", TEMPLATE),
    "encode.seq_length": ("256", ROWS),
    "encode.shards": ("3", ENCODE),
    "encode.layout": ("packed", ENCODE),
    "encode.on_long": ("truncate", ENCODE),
    "encode.mask_full_rows": ("true", ENCODE),
    "model.vocab_size": ("1500", NETWORK),
    "model.hidden_size": ("64", NETWORK),
    "model.num_layers": ("2", NETWORK),
    "model.num_heads": ("4", NETWORK),
    "model.n_kv_heads": ("1", NETWORK),
    "model.intermediate_size": ("96", NETWORK),
    "model.rms_norm_eps": ("1.0e-5", NETWORK),
    "model.theta": ("500000", NETWORK),
    "model.has_bias": ("false", NETWORK),
    "model.init_std": ("0.05", NETWORK),
    "base.path": ("results/tiny/export/merged", (TOKENIZER | TUNED) - {"exported_base"}),
    "base.sha256": (None, NOTHING),
    "base.name": ("owner/name", {"peft"}),
    "base.text": ("train", BASE),
    "base.rows": ("200", BASE),
    "base.workers": ("2", BASE),
    "base.epochs": ("2", BASE),
    "base.batch_size": ("4", BASE),
    "base.learning_rate": ("0.002", BASE),
    "base.seed": ("1", BASE),
    "train.mix.path": (mixed("corpus.jsonl"), MIX | {"dataset"}),
    "train.mix.share": (None, NOTHING),
    "train.mix.sha256": (None, NOTHING),
    "train.mix.licence": (None, NOTHING),
    "train.rows": ("176", TRAIN_PLAN),
    "train.workers": ("1", TRAIN_PLAN),
    "train.nodes": ("2", RECKON),
    "train.lora_rank": ("8", LORA),
    "train.lora_alpha": ("16", LORA),
    "train.lora_dropout": ("0.1", LORA),
    "train.target_modules": (".*wq", LORA),
    "train.epochs": ("2", TRAIN_PLAN),
    "train.batch_size": ("4", TRAIN_PLAN),
    "train.learning_rate": ("0.001", TRAIN),
    "train.warmup_ratio": ("0.1", TRAIN_PLAN),
    "train.weight_decay": ("0.1", TRAIN),
    "train.loss_scale": ("1024", TRAIN),
    "train.max_grad_norm": ("2.0", TRAIN),
    "train.seed": ("1", TRAIN),
    "train.evaluations": ("2", TRAIN_PLAN),
    "train.checkpoints": ("6", TRAIN_PLAN),
    "train.best": ("valid_accuracy", VALIDATE | {"merged"} | REPORT),
    "train.patience": ("2", TRAIN),
    "train.rendezvous_timeout": ("60", NOTHING),
    "train.evaluation_interval": ("2", TRAIN_PLAN),
    "train.checkpoint_interval": ("2", TRAIN_PLAN),
    "train.evaluation_batch_size": ("1", TRAIN_PLAN),
    "train.recompute": ("true", TRAIN_PLAN),
    "train.attention": ("plain", TRAIN_PLAN),
    "train.lora_dtype": ("float16", TRAIN_PLAN),
    "train.parallel.tensor": (None, NOTHING),  # see REFUSED
    "train.parallel.optimizer": (None, NOTHING),
    "train.retries": ("2", NOTHING),
    "plan.devices": ("3", RECKON),
    "plan.tokens_per_second": ("5", RECKON),
    "plan.source": ("guess", RECKON),
    "plan.memory_gb": ("5", RECKON),
    "plan.disk_gb": ("5", RECKON),
    "evaluate.protocol": ("letter", REPORT),
    "evaluate.protocols": ("[answer, letter]", EVALUATE | REPORT | RECKON),
    "evaluate.shots": ("[0, 1]", EVALUATE | REPORT | RECKON),
    "evaluate.rotations": ("1", EVALUATE | REPORT | RECKON),
    "evaluate.leak_items": ("7", EVALUATE | REPORT),
    "evaluate.workers": ("2", NOTHING),
    "evaluate.batch_size": ("16", EVALUATE | REPORT),
    "evaluate.seed": ("1", EVALUATE | REPORT),
    "evaluate.generation_items": ("7", EVALUATE | REPORT | RECKON),
    "evaluate.generation_max_new_tokens": ("5", EVALUATE | REPORT | CONFIGS | RECKON),
    "evaluate.squad": ("squad/other.json", EVALUATE | REPORT),
    "evaluate.squad_sha256": (None, NOTHING),
    "evaluate.squad_items": ("5", EVALUATE | REPORT | RECKON),
    "evaluate.squad_max_new_tokens": ("4", EVALUATE | REPORT | CONFIGS | RECKON),
    "judge.models.name": (judged(models=[{"name": "x", "path": "y"}]), NOTHING),
    "judge.models.path": (judged(models=[{"name": "x", "path": "z"}]), NOTHING),
    "judge.models.adapter": (judged(models=[{"name": "x", "path": "y", "adapter": "a"}]), NOTHING),
    "judge.models.trained_on": (judged(models=[{"name": "x", "path": "y", "trained_on": ["t"]}]), NOTHING),
    "judge.samples.name": (judged(samples=[{"name": "x", "path": "y"}]), NOTHING),
    "judge.samples.path": (judged(samples=[{"name": "x", "path": "z"}]), NOTHING),
    "judge.samples.protocol": (judged(samples=[{"name": "x", "path": "y", "protocol": "option"}]), NOTHING),
    "judge.samples.trained_on": (judged(samples=[{"name": "x", "path": "y", "trained_on": ["t"]}]), NOTHING),
    "judge.device": ("cpu", NOTHING),
    "judge.dtype": ("bfloat16", NOTHING),
    "judge.batch_size": ("4", NOTHING),
    "judge.seq_length": ("64", NOTHING),
    "compare.models": ("[base]", NOTHING),
    "compare.against": ("checkpoint_1", NOTHING),
    "export.checkpoint": ("checkpoint_2", {"merged"}),
    "s3.endpoint": ("https://s3.invalid", NOTHING),
    "s3.region": ("north", NOTHING),
    "s3.addressing": ("path", NOTHING),
    "publish.to": ("s3://runs/others", NOTHING),
    "publish.parts": ("[reports]", NOTHING),
    "fetch_run.manifest": ("https://data.invalid/other.json", NOTHING),
    "fetch_run.sha256": (HASH, NOTHING),
    "fetch_run.files": ("[report.md]", NOTHING),
    "gres": ("npu", NOTHING),
    "variants": (("variants={x: {train: {lora_rank: 8}}}",), NOTHING),  # see VARIANTS
    "seeds": ("[0, 1]", NOTHING),
}

SCRIPTS = {
    "alpaca": {"alpaca"} | REPORT,
    "base": BASE,
    "best": NOTHING,  # see tests/workflow/test_variants.py
    "compare": NOTHING,  # see tests/workflow/test_judge.py, as judge, samples and trained_on
    "configs": CONFIGS,
    "convert": NOTHING,  # see GIVEN_FILES
    "data_card": {"data_card"},
    "dataset": {"dataset"},
    "demo": EVERYTHING,
    "encode": ENCODE,
    "evaluate": EVALUATE | REPORT,
    "evaluation_worker": EVALUATE | REPORT,
    "export": {"merged", "exported_base"},
    "doctor": NOTHING,  # as plan
    "fetch": NOTHING,  # see ADDRESSED_FILES, as of the next two
    "fetch_base": NOTHING,
    "fetch_run": NOTHING,
    "given_tokenizer": NOTHING,  # see GIVEN_FILES
    "groups": {"groups"} | SPLIT,
    "judge": NOTHING,
    "mix": NOTHING,  # see GIVEN_FILES
    "peft": {"peft"},
    "plan": NOTHING,  # runs whenever it is asked for, and makes nothing
    "publish": NOTHING,  # see ADDRESSED_FILES
    "read": READ,
    "reckon": RECKON,
    "report": REPORT,
    "samples": NOTHING,
    "shard": ENCODE,
    "shuffle": SHUFFLE,
    "split": SPLIT,
    "tokenizer": TOKENIZER,
    "train": TRAIN,
    "trained_on": NOTHING,
    "verify": NOTHING,  # as plan
    "worker": BASE,
}

# In no script's hash: what it logs and records decides no result, what the configuration decides is itself
# compared, and the rest makes nothing.
UNHASHED = ("job", "provenance/", "config/", "machine/preflight", "terminal")


def documented() -> dict[str, set[str]]:
    """Jobs by module, from the table of docs/architecture.md: those of the scripts whose hash holds it.

    tests/unit/test_fingerprint.py keeps the table current; here Snakemake says whether it is true.
    """
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    found: dict[str, set[str]] = {name: NOTHING for name in modules("src/mcqlora")}
    for script, names in re.findall(r"^\| `(\w+)` \| \d+ \| ([a-z_/0-9, ]+) \|$", page, re.MULTILINE):
        for name in names.split(", "):
            packages = {f"{name.split('/')[0]}/__init__"} if "/" in name else set()
            for held in {name, "__init__", *packages}:
                found[held] = found[held] | SCRIPTS[script]
    return found


def modules(folder: str) -> set[str]:
    """Python files below a folder, without their ending."""
    root = ROOT / folder
    return {path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.py")}


MODULES = documented()
FILES = {f"workflow/scripts/{name}.py": found for name, found in SCRIPTS.items()} | {
    f"src/mcqlora/{name}.py": found for name, found in MODULES.items()
}

# On `given`: keys that no longer decide anything, and code that only such a result was made by.
GIVEN_BASE = (NETWORK | VALIDATE) - OURS
GIVEN_TOKENIZER = (TOKENIZER | VALIDATE) - OURS
GIVEN_KEYS = {
    "tokenizer.vocab_size": ("1150", NOTHING),
    "tokenizer.template": ("plain", GIVEN_TOKENIZER),
    "base.text": ("train", NOTHING),
    "base.epochs": ("2", NOTHING),
    "demo.seed": ("8", NOTHING),
    "train.learning_rate": ("0.002", TRAIN | VALIDATE),
    "train.best": ("valid_loss", {"merged"} | REPORT),
    "model.theta": ("500000", GIVEN_BASE),
    "evaluate.batch_size": ("16", EVALUATE | VALIDATE | {"merged"} | REPORT),
    "evaluate.workers": ("2", NOTHING),
    "export.checkpoint": ("checkpoint_2", {"merged"}),
}
GIVEN_FILES = {
    "workflow/scripts/convert.py": GIVEN_BASE - CONFIGS - RECKON,
    "workflow/scripts/base.py": NOTHING,
    "workflow/scripts/mix.py": MIX | VALIDATE,
    "workflow/scripts/tokenizer.py": NOTHING,
    "workflow/scripts/given_tokenizer.py": GIVEN_TOKENIZER,
    "workflow/scripts/evaluate.py": EVALUATE | VALIDATE | {"merged"} | REPORT,
    "workflow/scripts/evaluation_worker.py": EVALUATE | VALIDATE | {"merged"} | REPORT,
    "src/mcqlora/demo.py": NOTHING,
}
# Files below `data` that were given.
GIVEN_DATA = {
    "island_en/test/*.csv": READ | {"mix"} | VALIDATE,
    "talk.jsonl": MIX | VALIDATE,
    "tokenizer.model": GIVEN_TOKENIZER,
    "network/model.safetensors": GIVEN_BASE - CONFIGS - RECKON,
    "squad/dev-v1.1.json": EVALUATE | MIX | VALIDATE,  # no text of the reading test is mixed in
}
# On `addressed`, where publish and fetch_run were asked for as well.
PUBLISH, FETCH = {"publish"}, {"fetch"}
BY_ADDRESS = FETCH | {"fetch_base", "mix"} | READ | (TOKENIZER - OURS) | PUBLISH
ADDRESSED_KEYS = {
    "tokenizer.sha256": (HASH, FETCH | (TOKENIZER - OURS) | PUBLISH),
    "base.sha256": (
        "{config.json: " + HASH + "}",
        FETCH | {"fetch_base"} | (NETWORK - OURS) | PUBLISH,
    ),
    "train.mix.path": (mixed("https://data.invalid/other.json"), FETCH | MIX | PUBLISH | {"dataset"}),
    "train.mix.share": (mixed(TALK, share=0.2), MIX | PUBLISH),
    "train.mix.sha256": (mixed(TALK, sha256=HASH), FETCH | MIX | PUBLISH),
    "train.mix.licence": (mixed(TALK, licence="MIT"), {"data_card"} | PUBLISH),
    "evaluate.squad_sha256": (HASH, FETCH | EVALUATE | MIX | PUBLISH),
    "s3.endpoint": ("https://s3.invalid", FETCH | READ | {"mix"} | PUBLISH | {"fetch_run"}),
    "s3.region": ("north", FETCH | READ | {"mix"} | PUBLISH | {"fetch_run"}),
    "s3.addressing": ("path", FETCH | READ | {"mix"} | PUBLISH | {"fetch_run"}),
    "publish.to": ("s3://runs/others", PUBLISH),
    "publish.parts": ("[reports]", PUBLISH),
    "fetch_run.manifest": ("https://data.invalid/other.json", {"fetch_run"}),
    "fetch_run.sha256": (HASH, {"fetch_run"}),
    "fetch_run.files": ("[report.md]", {"fetch_run"}),
    "plan.devices": ("3", RECKON),
    "train.learning_rate": ("0.002", TRAIN | PUBLISH),
}
ADDRESSED_FILES = {
    "workflow/scripts/fetch.py": BY_ADDRESS - {"fetch_base"},
    "workflow/scripts/fetch_base.py": {"fetch_base"} | (NETWORK - OURS) - CONFIGS - RECKON | PUBLISH,
    "workflow/scripts/fetch_run.py": {"fetch_run"},
    "workflow/scripts/publish.py": PUBLISH,
    "src/mcqlora/storage/s3.py": BY_ADDRESS | {"fetch_run"},
    "src/mcqlora/storage/downloads.py": BY_ADDRESS | {"fetch_run"},
    "src/mcqlora/storage/publish.py": PUBLISH | {"fetch_run"},
}


# Stages that a variant makes in its own folder. `compare` asks the best checkpoint of each training.
OF_VARIANTS = {"demo", "read", "shuffle", "groups", "split", "mix", "encode", "shard", "train"}
OF_VARIANTS |= {"tokenizer", "base"}
CHECKED = "variants/x/ best"
ALWAYS = {"compare", "best", "validate best"}
# Of these the run has a rule that makes another form of output, and the variant gets one of its own.
SECOND = {"base.path": {"tokenizer", "base"}, "tokenizer.path": {"tokenizer"}}


def of_variant(key: str, stages: set[str]) -> set[str]:
    """The jobs of `snakemake compare` where a variant changes `key`, from a finished run without variants.

    They are what a change of the key in the run itself re-runs: `stages`, of KEYS.
    """
    found = {f"{stage}{'_2' * (stage in SECOND.get(key, ()))} variants/x/" for stage in stages & OF_VARIANTS}
    if key == "train.best":
        found |= VALIDATE
    if "train" in stages or key == "train.best":
        found |= {"best variants/x/", f"evaluate {CHECKED}", f"validate {CHECKED}"}
    if stages & TUNED:
        found |= {f"evaluate {CHECKED}"}
    if key == "evaluate.batch_size":
        found |= {f"validate {CHECKED}"}
    if "base" in stages:
        found |= {"evaluate variants/x/ base"}
    return found | ALWAYS


def leaves(kind: type[Section], prefix: str = "") -> set[str]:
    """Dotted names of the keys, those of list items and of free names among them."""
    found = set()
    for key, field in kind.model_fields.items():
        below = set().union(*(leaves(part, f"{prefix}{key}.") for part in sections(field.annotation)))
        found |= below or {prefix + key}
    return found


def sections(annotation) -> list[type[Section]]:
    """The sections in a type, e.g. of a list's items."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [one for part in get_args(annotation) for one in sections(part)]


def changed(key: str, value: str | tuple[str, ...]) -> tuple[str, ...]:
    """What `--config` takes."""
    return (setting(f"{key}={value}"),) if isinstance(value, str) else value


def reworded(name: str) -> str:
    """A file with other comments, docstrings and layout."""
    text = (ROOT / name).read_text(encoding="utf-8")
    lines = text.split("\n")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            at = node.body[0].lineno - 1
            lines[at] = lines[at].replace('"""', '"""Otherwise: ', 1)
    return "# Another comment.\n\n" + "\n".join(lines) + "\n\n# And the end.\n"


def compared(rows: dict[str, set[str]], found: dict[str, set[str]]) -> dict[str, dict[str, list[str]]]:
    """The rows that are wrong, as a reader wants them."""
    return {
        row: {"too much": sorted(found[row] - rows[row]), "not": sorted(rows[row] - found[row])}
        for row in rows
        if found[row] != rows[row]
    }


@pytest.fixture(scope="module")
def tiny(finished, tmp_path_factory) -> Path:
    """A copy of the finished result, and a file for `tokenizer.path`."""
    folder = tmp_path_factory.mktemp("copy") / "tiny"
    shutil.copytree(finished, folder, ignore=shutil.ignore_patterns("runs", "logs"))
    shutil.copy(folder / "results/tiny/tokenizer.model", folder / "x.model")
    shutil.copy(folder / "x.model", folder / "results/tiny/data/x.model")  # is in the folder, and no output
    made = snakemake(folder, "dataset", "--cores", "1", configfile=TINY)
    assert made.returncode == 0, made.stderr[-3000:]
    for name in ("isle/test/a_test.csv", "isle.zip"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.fixture(scope="module")
def given(tiny) -> Path:
    """`tiny`, its files once more as a result of given.yaml."""
    data = tiny / "given"
    shutil.copytree(tiny / "results/tiny/data", data)
    shutil.copy(tiny / "x.model", data / "tokenizer.model")
    (data / "talk.jsonl").write_text('{"text": "Any."}\n')
    shutil.copytree(tiny / "results/tiny/export/merged", data / "network")
    for k in range(1, 6):
        for name in (
            f"results/given/evaluation/checkpoint_{k}/valid.json",
            f"benchmarks/given/validate/checkpoint_{k}.tsv",
        ):
            (tiny / name).parent.mkdir(parents=True, exist_ok=True)
            (tiny / name).write_text("{}")
    mix_files(tiny, "given")
    return taken_for(tiny, GIVEN, *TARGETS)


@pytest.fixture(scope="module")
def addressed(given) -> Path:
    """`given`, its files once more as a result of addressed.yaml."""
    downloads, times = given / "results/addressed/downloads", given / "benchmarks/addressed"
    shutil.copytree(given / "given/network", downloads / "base")
    for name in ("island_zh.zip", "tokenizer.model", "reading.json", "base-config/config.json", "mix-1"):
        for path in (downloads / name, times / "fetch" / f"{name}.tsv"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{}")
    for name in ("fetch_base", "publish", "fetch_run"):
        (times / f"{name}.tsv").write_text("")
    mix_files(given, "addressed")
    (given / "results/addressed/published.json").write_text("{}")
    (given / "results/addressed/fetched").mkdir()
    return taken_for(given, ADDRESSED, *ADDRESSED_TARGETS)


def mix_files(folder: Path, run: str) -> None:
    """What only a run has that mixes something in."""
    for name in (f"results/{run}/mix.json", f"results/{run}/mix_ledger.json", f"benchmarks/{run}/mix.tsv"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")


def taken_for(folder: Path, configfile: Path, *targets: str) -> Path:
    """Let Snakemake take the files of the tiny result for those of a run that was made with `configfile`."""
    name = configfile.stem
    for place in ("results", "benchmarks"):
        shutil.copytree(folder / place / "tiny", folder / place / name, dirs_exist_ok=True)
    result = snakemake(folder, *targets, "--touch", "--forceall", "--cores", "1", configfile=configfile)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return folder


def test_every_key_has_a_row():
    assert leaves(Settings) == KEYS.keys()
    assert GIVEN_KEYS.keys() | ADDRESSED_KEYS.keys() < KEYS.keys()
    assert {key for key, (value, _) in KEYS.items() if value is None} - REFUSED < ADDRESSED_KEYS.keys()


def test_every_script_has_a_row_and_every_module_is_in_a_hash():
    assert modules("workflow/scripts") == SCRIPTS.keys()
    held = {
        name for script in SCRIPTS for name in fingerprint.modules(ROOT / f"workflow/scripts/{script}.py")
    }
    others = {name for name in MODULES if name not in held and not name.startswith(UNHASHED)}
    assert {name for name in others if not name.endswith("__init__")} == set()
    assert GIVEN_FILES.keys() | ADDRESSED_FILES.keys() < FILES.keys()


@pytest.mark.slow
def test_a_changed_key_or_file_reruns_its_stages_only(tiny):
    assert wrong(tiny, TINY, TARGETS, KEYS, FILES) == {}


@pytest.mark.slow
def test_with_given_files_what_made_the_others_counts_no_more(given):
    assert wrong(given, GIVEN, TARGETS, GIVEN_KEYS, GIVEN_FILES) == {}


@pytest.mark.slow
def test_an_address_counts_where_it_is_fetched_and_what_is_published_is_not_made_again(addressed):
    assert wrong(addressed, ADDRESSED, ADDRESSED_TARGETS, ADDRESSED_KEYS, ADDRESSED_FILES) == {}


def wrong(folder, configfile, targets, keys, files) -> dict[str, dict[str, list[str]]]:
    """The rows that are not so; also that comments alone change nothing."""
    comments = "comments, docstrings and layout of every file"
    rows = {key: found for key, (value, found) in keys.items() if value} | files | {comments: NOTHING}
    runs = {key: changed(key, keys[key][0]) for key in rows if key in keys}
    runs |= {name: {name: (ROOT / name).read_text(encoding="utf-8") + "\nCHANGED = 1\n"} for name in files}
    runs[comments] = {name: reworded(name) for name in FILES}
    wanted = [
        DryRun((*targets, "--config", *run)) if isinstance(run, tuple) else DryRun(targets, run)
        for run in runs.values()
    ]
    found = dict(zip(runs, dry_runs(folder, wanted, configfile), strict=True))
    return compared({row: rows[row] for row in found}, found)


@pytest.mark.slow
def test_a_variant_makes_what_a_change_of_its_keys_reruns(tiny):
    keys = {
        key: one
        for key, one in KEYS.items()
        if one[0] and not {key, key.split(".")[0]} & {*variants.OWN_KEYS}
    }
    texts = {
        key: [text.replace("=", ": ", 1) for text in changed(key, value)] for key, (value, _) in keys.items()
    }
    wanted = [
        DryRun(("compare", "--config", f"variants={{x: {{{', '.join(text)}}}}}")) for text in texts.values()
    ]
    found = dict(zip(keys, dry_runs(tiny, wanted), strict=True))
    assert compared({key: of_variant(key, stages) for key, (_, stages) in keys.items()}, found) == {}
    assert len(found) > 80


def test_a_given_file_counts_by_what_it_holds(given):
    files = {pattern: sorted((given / "given").glob(pattern))[0] for pattern in GIVEN_DATA}
    texts = {path: path.read_bytes().decode("utf-8", "surrogateescape") for path in files.values()}
    runs = [DryRun(TARGETS, {str(path): text for path, text in texts.items()})]  # written again as they are
    runs += [DryRun(TARGETS, {str(path): texts[path] + "\n"}) for path in files.values()]
    touched, *found = dry_runs(given, runs, GIVEN)
    assert touched == NOTHING
    assert compared(GIVEN_DATA, dict(zip(files, found, strict=True))) == {}


# What the README calls the stages.
STAGES = {
    "nothing": NOTHING,
    "everything": EVERYTHING,
    "reading": {"read", "alpaca", "groups"},
    "shuffle": {"shuffle"},
    "split": {"split", "data_card", "dataset"},
    "mixing": {"mix"},
    "data card": {"data_card", "dataset"},
    "tokenizer": {"tokenizer"},
    "encoding": {"encode", "shard"},
    "base": {"base", "exported_base"},
    "train": {"train"},
    "exports": {"peft", "merged"},
    "merged export": {"merged"},
    "evaluate": EVALUATE,
    "evaluate (checkpoints)": TUNED,
    "validate": VALIDATE,
    "report": REPORT,
    "prediction YAMLs": CONFIGS,
    "plan": RECKON,
}


def test_the_short_form_in_the_readme_is_this_table():
    section = (
        (ROOT / "README.md")
        .read_text(encoding="utf-8")
        .split("## What a change re-runs")[1]
        .split("\n## ")[0]
    )
    rows = re.findall(r"^\| (.+?) \| (.+?) \|$", section, re.MULTILINE)[2:]
    known = {key: found for key, (_, found) in KEYS.items()} | {
        Path(name).name: found for name, found in FILES.items()
    }
    known |= {
        "file of a benchmark": GIVEN_DATA["island_en/test/*.csv"] - VALIDATE - {"mix"},
        "touched or reformatted file": NOTHING,
    }
    assert len(rows) > 8
    for left, right in rows:
        stages = set().union(*(STAGES[name] for name in right.split(", ")))
        for name in left.split(", "):
            name = re.sub(r"^an? ", "", name).strip("`")
            which = [key for key in KEYS if key.startswith(name[:-1])] if name.endswith(".*") else [name]
            assert which, name
            for key in which:
                assert compared({key: stages}, {key: known[key]}) == {}, name
