"""The base network: given weights, or a small network trained here on the demo's plain corpus."""

from pathlib import Path

from mcqlora.job import job
from mcqlora.train import pretrain

with job(snakemake):
    pretrain.build(
        corpus=Path(snakemake.input.corpus),
        tokenizer_path=snakemake.input.tokenizer,
        output=Path(snakemake.output[0]),
        worker=Path(snakemake.scriptdir, "worker.py"),
        runs=Path("runs"),
        **snakemake.params.base,
    )
