"""LoRA fine-tuning of the base under msrun; five checkpoints, the loss history and the rendered YAML."""

from pathlib import Path

from mcqlora.job import job
from mcqlora.train import finetune

with job(snakemake):
    finetune.finetune(
        base=Path(snakemake.input.base),
        tokenizer_path=snakemake.input.tokenizer,
        train_files=snakemake.input.train,
        valid_files=snakemake.input.valid,
        train_stats=snakemake.input.train_stats,
        valid_stats=snakemake.input.valid_stats,
        worker=Path(snakemake.scriptdir, "worker.py"),
        runs=Path("runs"),
        delivered=[Path(path) for path in snakemake.output.adapters],
        csv=Path(snakemake.output.history),
        tensorboard=Path(snakemake.output.tensorboard),
        config=Path(snakemake.output.config),
        facts=Path(snakemake.output.facts),
        timeout=snakemake.resources.rendezvous_timeout,
        nodes=snakemake.resources.nodes,
        **snakemake.params.train,
    )
