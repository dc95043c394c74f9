"""Download a base network."""

from pathlib import Path

from mcqlora import downloads
from mcqlora.cli import job

with job(snakemake):
    downloads.fetch_network(folder=Path(snakemake.output[0]), **snakemake.params.source)
