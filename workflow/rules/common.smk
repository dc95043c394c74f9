import logging
import os
import re
import shlex
import sys

SOURCE = PROJECT / "src"
SCRIPTS = PROJECT / "workflow" / "scripts"
sys.path.insert(0, str(SOURCE))
if os.path.exists(sys.executable):  # Snakemake puts it into shell commands as it stands, spaces and all
    sys.executable = shlex.quote(sys.executable)
if workflow.remote_exec:  # on a cluster's node: the submitting host's process number means nothing here
    os.environ.pop("MCQLORA_MASTER", None)
os.environ.setdefault("MCQLORA_MASTER", str(os.getpid()))  # whose end ends the jobs, see mcqlora.job

from snakemake.io import flag
from snakemake.path_modifier import PATH_MODIFIER_FLAG, PathModifier

from mcqlora.config import checks, inputs, loading, sections
from mcqlora.errors import UserError
from mcqlora.machine import preflight
from mcqlora.provenance.fingerprint import fingerprint
from mcqlora.storage import addresses


class Prefixed(PathModifier):
    """For a module with `prefix:`, which stands before RESULTS, LOGS and TIMES: nothing adds it again.

    Snakemake itself leaves params as they are, which name some paths to scripts, and would look for files that
    the config names below the prefix.
    """

    def modify(self, path, property=None):
        return flag(super().modify(path, property), PATH_MODIFIER_FLAG)


logging.raiseExceptions = False  # a full disk must not print a traceback for every line of Snakemake's log

try:
    settings = loading.load(
        config,
        named=NAMED,
        files=workflow.configfiles,
        arguments=workflow.config_settings.config_args or [],
    )
    # For the rules. What decides one goes to its script as `params: chosen=dict(rank=config.train.lora_rank, ...)`:
    # Snakemake compares the values of params as a set, without their names. It would not notice two keys that are
    # swapped, or a second `true`.
    config = loading.namespace(settings)
    PLACES = [f"{folder}/{config.run}" for folder in ("results", "logs", "benchmarks")]
    RESULTS, LOGS, TIMES = map(workflow.modifier.path_modifier.replace_prefix, PLACES)
    if RESULTS != PLACES[0]:
        workflow.modifier.path_modifier = Prefixed(None, None, workflow)
    FETCHED = f"{RESULTS}/downloads"
    BENCHMARK_FILES = inputs.benchmark_files(settings)
    checks.check(settings)
    BASE_FILES = inputs.base_files(settings, FETCHED)  # of a given base
except UserError as error:
    sys.exit(f"mcqlora: {error}")

NPUS = workflow.global_resources.get("npu")  # of the profile; None if it sets none
NPUS = getattr(NPUS, "value", NPUS)
RUN = config.run
os.environ.update(MCQLORA_RUN=RUN)  # for the last lines of scripts/run
ENVIRONMENT = PROJECT / "envs" / f"{config.device.lower()}.yaml"  # for --sdm conda
GENERATED = config.data == sections.GENERATED
ROOT = f"{RESULTS}/data" if GENERATED else config.data
DOWNLOADS = inputs.downloads(settings)
FETCHED_BASE = inputs.base_download(settings)
COPIES = range(1, config.shuffle.copies + 1)
PARTS = ("train", "valid", "test")
SHARDS = {"train": config.encode.shards, "valid": 1}
CHECKPOINTS = [f"checkpoint_{k}" for k in range(1, 6)]
MODELS = ["base", *CHECKPOINTS]
TEMPLATE = "reference" if config.tokenizer.unused_marks else config.tokenizer.template
BY_ACCURACY = config.train.best == "valid_accuracy"


wildcard_constraints:
    part="train|valid",
    shard=r"\d+",
    shards=r"\d+",
    model="base|checkpoint_[1-5]",
    download="|".join(map(re.escape, DOWNLOADS)) or "(?!)",


def code(script, *others):
    """A rule's script, and a hash of what it and its imports from src/ mean: a touched file re-runs nothing."""
    return f"{script} {fingerprint(*(SCRIPTS / name for name in (script, *others)), source=SOURCE)}"


def shard_files(part, kind="mindrecord"):
    return [f"{RESULTS}/mindrecord/{part}/shard-{i}-of-{SHARDS[part]}.{kind}" for i in range(SHARDS[part])]


def given_file(key, path, download):
    """A file that the config names, as an input: itself, or the download of that name."""
    if addresses.is_address(path):
        return f"{FETCHED}/{download}"
    try:
        return inputs.data_file(settings, path, key)
    except UserError as error:
        sys.exit(f"mcqlora: {error}")


def under_data(key, path, download):
    """A file of the data folder as an input: itself, its download, or the generated folder that holds it."""
    inside = GENERATED and not addresses.is_address(path) and not os.path.isabs(path)
    return ROOT if inside else given_file(key, path, download)


READING = under_data("evaluate.squad", config.evaluate.squad, inputs.READING)
MIXED = [  # files, one of each entry
    under_data("train.mix", one.path, inputs.mixed(number)) for number, one in enumerate(config.train.mix, 1)
]
TOKENIZER_KIND = inputs.tokenizer_kind(settings)
GIVEN_TOKENIZER = [  # and its tokenizer_config.json, if there is one
    given_file("tokenizer.path", path, name) for name, path in inputs.tokenizer_files(settings).items()
]
GIVEN = [
    *BENCHMARK_FILES,
    *BASE_FILES,
    *GIVEN_TOKENIZER,
    *(path for path in (READING, *MIXED) if path != ROOT),
]


onstart:
    try:
        preflight.check(
            made=[Path(folder) for folder in (RESULTS, LOGS, TIMES)],
            state=[Path("runs"), Path(".snakemake")],
            given=[Path(path) for path in GIVEN],
        )
    except UserError as error:
        sys.exit(f"mcqlora: {error}")


TIME_FILES = [
    *(
        f"{TIMES}/{stage}.tsv"
        for stage in (
            *(["demo"] if GENERATED else []),
            "read",
            "alpaca",
            "shuffle",
            "groups",
            "split",
            *(["mix"] if MIXED else []),
        )
    ),
    *(f"{TIMES}/fetch/{download}.tsv" for download in DOWNLOADS),
    *([f"{TIMES}/fetch_base.tsv"] if FETCHED_BASE else []),
    *(f"{TIMES}/{stage}.tsv" for stage in ("tokenizer", "encode", "base", "train")),
    *(f"{TIMES}/shard/{part}-{i}-of-{n}.tsv" for part, n in SHARDS.items() for i in range(n)),
    *(f"{TIMES}/evaluate/{model}.tsv" for model in MODELS),
    *(f"{TIMES}/validate/{model}.tsv" for model in CHECKPOINTS if BY_ACCURACY),
]


def only_if(check, *arguments):
    """An input function that gives no file: it refuses a job when it gets into the DAG, and only then."""

    def refuse(wildcards):
        try:
            check(settings, *arguments)
        except UserError as error:
            sys.exit(f"mcqlora: {error}")
        return []

    return refuse


def named(names):
    """A wildcard's constraint: one of these names."""
    return "|".join(map(re.escape, names)) or "(?!)"


def given_by(files_of, name):
    """The files of `name`, as inputs; looked for when a job needs them, and only then."""
    try:
        return files_of(settings)[name]
    except UserError as error:
        sys.exit(f"mcqlora: {error}")


def adapter(wildcards):
    return [] if wildcards.model == "base" else f"{RESULTS}/adapters/{wildcards.model}.safetensors"


def lora_scaling(wildcards):
    """What an adapter's update is multiplied by; no key of LoRA counts for the base."""
    return 1.0 if wildcards.model == "base" else config.train.lora_alpha / config.train.lora_rank
