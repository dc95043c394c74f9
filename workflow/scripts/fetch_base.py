"""Download a base network."""

from pathlib import Path

from mcqlora.job import job
from mcqlora.storage import downloads

with job(snakemake):
    downloads.fetch_network(folder=Path(snakemake.output[0]), **snakemake.params.source)
