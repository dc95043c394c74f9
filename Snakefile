"""mcqlora: multiple-choice benchmarks to an evaluated LoRA adapter.

CSV -> questions -> Alpaca JSON -> shuffled epochs -> train/valid/test -> MindRecord -> LoRA -> evaluation -> report
"""

import sys
from copy import deepcopy
from pathlib import Path

from snakemake.utils import min_version

min_version("9.0")


PROJECT = Path(str(workflow.current_basedir)).resolve()  # also where workflow/Snakefile includes this one
if not (PROJECT / "src").is_dir():
    sys.exit(
        "mcqlora: of a repository this is a single file, and the rules import src/; name its workflow/Snakefile"
    )
NAMED = deepcopy(config)  # by an overlay, the command line or a module's `config:`, without config.yaml


configfile: PROJECT / "config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/doctor.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/tokenize.smk"
include: "workflow/rules/plan.smk"
include: "workflow/rules/base.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/judge.smk"
include: "workflow/rules/compare.smk"
include: "workflow/rules/export.smk"
include: "workflow/rules/publish.smk"
include: "workflow/rules/verify.smk"


# Not sent to a cluster: what takes a second, and transfers, since a cluster's nodes may have no network.
localrules:
    all,
    best,
    data,
    doctor,
    export,
    judge,
    fetch,
    fetch_run,
    configs,
    reckon,
    plan,
    publish,
    verify,


rule all:
    """Everything: adapters, evaluation, figures, summary.json, report.md and the exports."""
    default_target: True
    input:
        rules.report.output,
        rules.data_card.output,
        EXPORTS,
        rules.configs.output,


rule data:
    """The data half alone: questions, ledger, epochs, parts and MindRecord shards."""
    input:
        f"{RESULTS}/alpaca.json",
        made(rules.split.output.leakage),
        rules.data_card.output,
        made(rules.encode.output.report),
        shard_files("train"),
        shard_files("valid"),


rule export:
    """Hugging Face formats alone: PEFT adapters of every checkpoint, and the best one merged into the base."""
    input:
        EXPORTS,
