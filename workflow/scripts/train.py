"""LoRA fine-tuning of the base under msrun; five checkpoints, the loss history and the rendered YAML."""

from pathlib import Path

from mcqlora import training
from mcqlora.cli import job

with job(snakemake.log[0]):
    training.finetune(
        base=Path(snakemake.input.base),
        tokenizer_path=snakemake.input.tokenizer,
        train_files=snakemake.input.train,
        valid_files=snakemake.input.valid,
        stats=snakemake.input.stats,
        worker=Path(snakemake.params.worker),
        runs=Path("runs"),
        delivered=[Path(path) for path in snakemake.output.adapters],
        history=Path(snakemake.output.history),
        config=Path(snakemake.output.config),
        facts=Path(snakemake.output.facts),
        **snakemake.params.train,
    )
