"""Download one benchmark's archive."""

from mcqlora import archives
from mcqlora.cli import job

with job(snakemake.log[0]):
    archives.fetch(path=snakemake.output[0], **snakemake.params.source)
