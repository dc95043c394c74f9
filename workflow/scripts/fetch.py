"""Download one file: a benchmark's archive, the tokenizer, the reading test."""

from mcqlora.job import job
from mcqlora.storage import downloads

with job(snakemake):
    downloads.fetch(path=snakemake.output[0], **snakemake.params.source)
