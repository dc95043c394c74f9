"""The validation questions asked of a checkpoint, which may be chosen by them."""

from pathlib import Path

from mcqlora import files
from mcqlora.evaluate import tasks
from mcqlora.job import job, progress_on

with job(snakemake) as terminal:
    found = tasks.ask(
        "validate",
        workers=snakemake.resources.workers,
        worker=Path(snakemake.scriptdir, "evaluation_worker.py"),
        progress=progress_on(terminal),
        model=snakemake.wildcards.model,
        base=snakemake.input.base,
        adapter=snakemake.input.get("adapter") or None,
        tokenizer_path=snakemake.input.tokenizer,
        questions=snakemake.input.questions,
        valid=snakemake.input.valid,
        runs="runs",
        **snakemake.params.validate,
    )
    files.write_json(snakemake.output[0], found)
