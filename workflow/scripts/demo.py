"""Write the embedded benchmark, its reading test and the base network's corpus."""

from pathlib import Path

from mcqlora import demo
from mcqlora.job import job

with job(snakemake):
    demo.write(Path(snakemake.output[0]), **snakemake.params.chosen)
