"""Download one file: a benchmark's archive, the tokenizer, the reading test."""

from mcqlora import downloads
from mcqlora.cli import job

with job(snakemake):
    downloads.fetch(path=snakemake.output[0], **snakemake.params.source)
