"""Bring a bucket to the state of the run; published.json says where it is."""

from pathlib import Path
from types import SimpleNamespace

from mcqlora.files import write_json
from mcqlora.job import job
from mcqlora.storage import publish
from mcqlora.storage.s3 import Service

with job(snakemake) as terminal:
    params = SimpleNamespace(**snakemake.params.chosen)
    files = publish.local_files(snakemake.input, Path(snakemake.output[0]).parent)
    made = publish.manifest(params.run, files, params.config, publish.versions())
    done = publish.publish(files, params.to, made, Service(**params.s3))
    described = {"address": done.address, "endpoint": done.endpoint, "sha256": done.sha256, "manifest": made}
    write_json(snakemake.output[0], described, indent=True)
    terminal.error.write(
        f"mcqlora: {len(files)} files are at {done.address}, {len(done.uploaded)} uploaded now\n"
        f"mcqlora: sha256 of the manifest: {done.sha256}\n"
    )
