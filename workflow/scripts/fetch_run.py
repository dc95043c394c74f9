"""Download files of a published run, checked against its manifest."""

from pathlib import Path

from mcqlora.job import job
from mcqlora.storage import publish

with job(snakemake) as terminal:
    params = snakemake.params
    folder = Path(snakemake.output[0])
    names = publish.fetch_run(folder=folder, s3=params.s3, progress=print, **params.source)
    terminal.error.write(f"mcqlora: {len(names)} files in {folder}\n")
