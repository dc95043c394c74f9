"""Score one model, the base or a checkpoint: multiple choice by the protocols asked for, and reading."""

from pathlib import Path

from mcqlora import files
from mcqlora.evaluate import tasks
from mcqlora.job import job, progress_on

with job(snakemake) as terminal:
    squad = Path(snakemake.input.squad)
    mcq, reading = tasks.ask(
        "evaluate",
        workers=snakemake.resources.workers,
        worker=Path(snakemake.scriptdir, "evaluation_worker.py"),
        progress=progress_on(terminal),
        model=snakemake.wildcards.model,
        base=snakemake.input.base,
        adapter=snakemake.input.get("adapter") or None,
        tokenizer_path=snakemake.input.tokenizer,
        questions=snakemake.input.questions,
        test=snakemake.input.test,
        train=snakemake.input.train,
        last_copy=snakemake.input.last_copy,
        squad_path=str(squad / snakemake.params.squad if squad.is_dir() else squad),
        runs="runs",
        **snakemake.params.evaluate,
    )
    files.write_json(snakemake.output.mcq, mcq)
    files.write_json(snakemake.output.squad, reading)
