"""Score one model, the base or a checkpoint: multiple choice by the protocols asked for, and reading."""

from pathlib import Path

from tqdm import tqdm

from mcqlora import evaluation, io
from mcqlora.cli import job

with job(snakemake.log[0]) as terminal:

    def progress(total, what):
        # disable=None: quiet unless it is a terminal
        return tqdm(total=total, desc=what, file=terminal.error, disable=None, leave=False).update

    squad = Path(snakemake.input.squad)
    mcq, reading = evaluation.evaluate(
        model=snakemake.wildcards.model,
        base=Path(snakemake.input.base),
        adapter=snakemake.input.get("adapter"),
        tokenizer_path=snakemake.input.tokenizer,
        questions=snakemake.input.questions,
        test=snakemake.input.test,
        train=snakemake.input.train,
        last_copy=snakemake.input.last_copy,
        squad_path=str(squad / snakemake.params.squad if squad.is_dir() else squad),
        runs=Path("runs"),
        progress=progress,
        **snakemake.params.evaluate,
    )
    io.write_json(snakemake.output.mcq, mcq)
    io.write_json(snakemake.output.squad, reading)
