"""Download a base network."""

from pathlib import Path

from mcqlora.interop.download import fetch_folder
from mcqlora.job import job
from mcqlora.storage.s3 import Service

with job(snakemake):
    source = snakemake.params.source
    service = Service(**(source["s3"] or {}))
    fetch_folder(source["address"], Path(snakemake.output[0]), source["sha256"], service)
