"""MindFormers' YAMLs of the report's evaluations."""

from pathlib import Path

from mcqlora.interop import mindformers
from mcqlora.job import job

with job(snakemake):
    mindformers.write(
        tokenizer_path=snakemake.input[0],
        squad=Path(snakemake.output.squad),
        mcq=Path(snakemake.output.mcq),
        load_checkpoint=snakemake.params.tuned,
        **snakemake.params.prediction,
    )
