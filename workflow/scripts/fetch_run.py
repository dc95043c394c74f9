"""Download files of a published run, checked against its manifest."""

from pathlib import Path

from mcqlora.job import job
from mcqlora.storage.downloads import Source
from mcqlora.storage.publish import fetch_run
from mcqlora.storage.s3 import Service

with job(snakemake) as terminal:
    chosen = snakemake.params.chosen
    wanted = chosen["source"]
    folder = Path(snakemake.output[0])
    manifest = Source(wanted["manifest"], wanted["sha256"], Service(**chosen["s3"]))
    names = fetch_run(manifest, folder, wanted["files"])
    terminal.error.write(f"mcqlora: {len(names)} files in {folder}\n")
