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
from snakemake.iocontainers import Wildcards
from snakemake.path_modifier import PATH_MODIFIER_FLAG, PathModifier

from mcqlora.config import checks, inputs, loading, sections, variants
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
    # The run itself, and what `snakemake compare` trains besides.
    TRAININGS = variants.load(
        config,
        named=NAMED,
        files=workflow.configfiles,
        arguments=workflow.config_settings.config_args or [],
    )
    settings = TRAININGS[0].settings
    # For the rules. What decides one goes to its script as `params: chosen=dict(rank=..., ...)`: Snakemake compares the
    # values of params as a set, without their names. It would not notice two keys that are swapped, or a second `true`.
    config = TRAININGS[0].config
    PLACES = [f"{folder}/{config.run}" for folder in ("results", "logs", "benchmarks")]
    RESULTS, LOGS, TIMES = map(workflow.modifier.path_modifier.replace_prefix, PLACES)
    if RESULTS != PLACES[0]:
        workflow.modifier.path_modifier = Prefixed(None, None, workflow)
    variants.check(TRAININGS)
except UserError as error:
    sys.exit(f"mcqlora: {error}")

NPUS = workflow.global_resources.get("npu")  # of the profile; None if it sets none
NPUS = getattr(NPUS, "value", NPUS)
RUN = config.run
os.environ.update(MCQLORA_RUN=RUN)  # for the last lines of scripts/run
ENVIRONMENT = PROJECT / "envs" / f"{config.device.lower()}.yaml"  # for --sdm conda
GENERATED = config.data == sections.GENERATED
COPIES = range(1, config.shuffle.copies + 1)
PARTS = ("train", "valid", "test")
SHARDED = ("train", "valid")  # parts that are encoded
CHECKPOINTS = [f"checkpoint_{k}" for k in range(1, 6)]
MODELS = ["base", *CHECKPOINTS]

# Rules that a variant can change have a folder of the run's as a wildcard, "" for the run's own, variants/NAME/, and
# below either seed-N/. `of(wildcards)` is the configuration of that training. `made(...)` finds what it is made
# from: in the folder of the first training that has it by the same keys. A run without variants has no wildcard.
FOLDERS = {training.folder: training for training in TRAININGS}
VARIANT = "{variant}" if len(TRAININGS) > 1 else ""
MADE, LOG, TIME = (f"{place}/{VARIANT}" for place in (RESULTS, LOGS, TIMES))


def named(names):
    """A wildcard's constraint: one of these names."""
    return "|".join(map(re.escape, names)) or "(?!)"


EACH = [Wildcards(fromdict={"variant": folder}) for folder in FOLDERS]  # `wildcards` of each training


def training_of(wildcards=None):
    return FOLDERS[getattr(wildcards, "variant", "")]


def of(wildcards=None):
    """The configuration of a job's training; of the run itself where the job has no other."""
    return training_of(wildcards).config


def settings_of(wildcards=None):
    return training_of(wildcards).settings


DOWNLOADS = {name for training in TRAININGS for name in inputs.downloads(training.settings)}


wildcard_constraints:
    variant=f"({named(filter(None, FOLDERS))})?",
    part="train|valid",
    shard=r"\d+",
    shards=r"\d+",
    model="base|best|checkpoint_[1-5]",
    download=named(DOWNLOADS),


def made_by(path):
    """What decides a file: who makes it, the params, and the inputs where they are; None if nothing makes it."""
    for maker in workflow.rules:
        if maker.is_producer(path):
            wildcards = Wildcards(fromdict=maker.get_wildcards(path))
            params = [one(wildcards) if callable(one) else one for one in maker.params]
            given, folder = maker.expand_input(dict(wildcards.items()))[0], getattr(wildcards, "variant", "")
            # What stands in its own folder, by where it would be found.
            patterns = [
                re.sub(f"^{re.escape(f'{RESULTS}/{folder}')}", MADE, one) if folder else one for one in given
            ]
            return maker.name, params, [place(one, wildcards) for one in patterns]


FOUND = variants.Places(TRAININGS, made_by)


def place(pattern, wildcards=None):
    """Where a job's training has a file of another rule; `pattern` starts with MADE."""
    return FOUND.place(pattern, training_of(wildcards)) if VARIANT else pattern


def made(patterns, **values):
    """Inputs of a job: files of other rules, for each of `values`, else for the job's own wildcards."""

    def find(wildcards):
        known = dict(wildcards.items()) | values | {"variant": VARIANT}
        found = [place(path, wildcards) for path in expand(patterns, **known)]
        return found[0] if isinstance(patterns, str) and not values else found

    return find


def code(script, *others):
    """A rule's script, and a hash of what it and its imports from src/ mean: a touched file re-runs nothing."""
    return f"{script} {fingerprint(*(SCRIPTS / name for name in (script, *others)), source=SOURCE)}"


def template(wildcards=None):
    tokenizer = of(wildcards).tokenizer
    return "reference" if tokenizer.unused_marks else tokenizer.template


def by_accuracy(wildcards=None):
    return of(wildcards).train.best == "valid_accuracy"


def shard_files(part, kind="mindrecord"):
    """The shards of a part, as inputs."""

    def find(wildcards=None):
        number = of(wildcards).encode.shards if part == "train" else 1
        return [
            place(f"{MADE}mindrecord/{part}/shard-{i}-of-{number}.{kind}", wildcards) for i in range(number)
        ]

    return find


def fetched(download, wildcards=None):
    return place(f"{MADE}downloads/{download}", wildcards)


def root(wildcards=None):
    """The folder of the benchmarks, generated or given."""
    return place(f"{MADE}data", wildcards) if GENERATED else config.data


def given_file(key, path, download, wildcards=None):
    """A file that the config names, as an input: itself, or the download of that name."""
    if addresses.is_address(path):
        return fetched(download, wildcards)
    try:
        return inputs.data_file(settings_of(wildcards), path, key)
    except UserError as error:
        sys.exit(f"mcqlora: {error}")


def under_data(key, path, download, wildcards=None):
    """A file of the data folder as an input: itself, its download, or the generated folder that holds it."""
    inside = GENERATED and not addresses.is_address(path) and not os.path.isabs(path)
    return root(wildcards) if inside else given_file(key, path, download, wildcards)


def reading(wildcards=None):
    return under_data("evaluate.squad", of(wildcards).evaluate.squad, inputs.READING, wildcards)


def mixed(wildcards=None):
    """Files that are mixed in, one of each entry."""
    return [
        under_data("train.mix", one.path, inputs.mixed(number), wildcards)
        for number, one in enumerate(of(wildcards).train.mix, 1)
    ]


def given_tokenizer(wildcards=None):
    """A given tokenizer, and its tokenizer_config.json, if there is one."""
    return [
        given_file("tokenizer.path", path, name, wildcards)
        for name, path in inputs.tokenizer_files(settings_of(wildcards)).items()
    ]


def base_files(wildcards=None):
    """The files that a given base is made of, config.json first."""
    files = inputs.base_files(settings_of(wildcards), f"{MADE}downloads")
    return [place(path, wildcards) for path in files]


def benchmarks(wildcards=None):
    """The folder or the files that hold the questions."""
    own = settings_of(wildcards)
    files = [root(wildcards)] if GENERATED else inputs.benchmark_files(own)
    return [*files, *(fetched(name, wildcards) for name in inputs.archives(own))]


def sources(wildcards):
    """Each benchmark as `read` wants it; downloads of a variant need not be in its own folder."""
    below = f"{MADE}downloads"
    found = inputs.sources(settings_of(wildcards), root(wildcards), below)
    return [
        (
            one | {"root": os.path.dirname(place(f"{below}/{one['path']}", wildcards))}
            if one["root"] == below
            else one
        )
        for one in found
    ]


def mix(file):
    """A file of what a job's training mixes in, if it mixes anything in."""
    return lambda wildcards: made(rules.mix.output[file])(wildcards) if of(wildcards).train.mix else []


def tokenizer_form(each):
    """Script, the file's ending, and whether a config stands beside it: no params can say these."""
    own = settings_of(each)
    script = "given_tokenizer.py" if own.tokenizer.path else "tokenizer.py"  # no code of the other counts
    return script, inputs.tokenizer_kind(own), len(inputs.tokenizer_files(own)) > 1


def tokenizer(wildcards=None):
    """The tokenizer of a job's training, whatever its form."""
    return place(f"{MADE}tokenizer{inputs.tokenizer_kind(settings_of(wildcards))}", wildcards)


def base_is_given(wildcards=None):
    return bool(of(wildcards).base.path)


def fetched_base(wildcards=None):
    return inputs.base_download(settings_of(wildcards))


def validated(wildcards=None):
    """The validation questions of all checkpoints, where they choose the best."""
    paths = expand(rules.validate.output, model=CHECKPOINTS, variant=VARIANT)
    return [place(path, wildcards) for path in paths if by_accuracy(wildcards)]


def of_each(pattern, trainings, **values):
    """A file of each training, as inputs."""
    (pattern,) = expand(pattern, variant=VARIANT, **values)
    return [place(pattern, each) for each in trainings]


def folders(wanted):
    """A constraint of `variant`: the trainings that are `wanted`."""
    return f"({named(f for f, each in zip(FOLDERS, EACH) if f and wanted(each))})" + "?" * wanted(EACH[0])


try:
    GIVEN = {
        path
        for each in EACH
        for path in (
            *inputs.benchmark_files(settings_of(each)),
            *base_files(each),
            *given_tokenizer(each),
            *({reading(each), *mixed(each)} - {root(each)}),
        )
    }
except UserError as error:
    sys.exit(f"mcqlora: {error}")


onstart:
    try:
        preflight.check(
            made=[Path(folder) for folder in (RESULTS, LOGS, TIMES)],
            state=[Path("runs"), Path(".snakemake")],
            given=[Path(path) for path in sorted(GIVEN)],
        )
    except UserError as error:
        sys.exit(f"mcqlora: {error}")


TIME_FILES = [  # of the run's own stages
    *(
        f"{TIMES}/{stage}.tsv"
        for stage in (
            *(["demo"] if GENERATED else []),
            "read",
            "alpaca",
            "shuffle",
            "groups",
            "split",
            *(["mix"] if config.train.mix else []),
        )
    ),
    *(f"{TIMES}/fetch/{download}.tsv" for download in inputs.downloads(settings)),
    *([f"{TIMES}/fetch_base.tsv"] if fetched_base() else []),
    *(f"{TIMES}/{stage}.tsv" for stage in ("tokenizer", "encode", "base", "train")),
    *(f"{TIMES}/shard/train-{i}-of-{config.encode.shards}.tsv" for i in range(config.encode.shards)),
    f"{TIMES}/shard/valid-0-of-1.tsv",
    *(f"{TIMES}/evaluate/{model}.tsv" for model in MODELS),
    *(f"{TIMES}/validate/{model}.tsv" for model in CHECKPOINTS if by_accuracy()),
]


def only_if(check, *arguments):
    """An input function that gives no file: it refuses a job when it gets into the DAG, and only then."""

    def refuse(wildcards):
        try:
            check(settings_of(wildcards), *arguments)
        except UserError as error:
            sys.exit(f"mcqlora: {error}")
        return []

    return refuse


def given_by(files_of, name):
    """The files of `name`, as inputs; looked for when a job needs them, and only then."""
    try:
        return files_of(settings)[name]
    except UserError as error:
        sys.exit(f"mcqlora: {error}")


def adapter(wildcards):
    name = f"{MADE}adapters/{wildcards.model}.safetensors"
    return [] if wildcards.model == "base" else place(name, wildcards)


def lora_scaling(wildcards):
    """What an adapter's update is multiplied by; no key of LoRA counts for the base."""
    train = of(wildcards).train
    return 1.0 if wildcards.model == "base" else train.lora_alpha / train.lora_rank
