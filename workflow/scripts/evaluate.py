"""Score one model, the base or a checkpoint: multiple choice by three protocols, and reading."""

from pathlib import Path

from mcqlora import evaluation, io
from mcqlora.cli import job

with job(snakemake.log[0]):
    squad = Path(snakemake.input.squad)
    mcq, reading = evaluation.evaluate(
        model=snakemake.wildcards.model,
        base=Path(snakemake.input.base),
        adapter=snakemake.input.get("adapter"),
        tokenizer_path=snakemake.input.tokenizer,
        test=snakemake.input.test,
        questions=snakemake.input.questions,
        squad_path=str(squad / snakemake.params.squad if squad.is_dir() else squad),
        **snakemake.params.evaluate,
    )
    io.write_json(snakemake.output.mcq, mcq)
    io.write_json(snakemake.output.squad, reading)
