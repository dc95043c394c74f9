"""Download one file: a benchmark's archive, the tokenizer, the reading test."""

from mcqlora.job import job
from mcqlora.storage.downloads import Source, fetch
from mcqlora.storage.s3 import Service

with job(snakemake):
    source = snakemake.params.source
    service = Service(**(source["s3"] or {}))
    fetch(Source(source["address"], source["sha256"], service), snakemake.output[0])
