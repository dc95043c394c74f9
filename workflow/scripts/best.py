"""The best of the delivered checkpoints, once more under a name of its own, and which one it is."""

import shutil
from pathlib import Path

from mcqlora import files
from mcqlora.evaluate import selection
from mcqlora.job import job

with job(snakemake):
    training, valid = files.read_json(snakemake.input.facts)["training"], snakemake.input.valid
    name = selection.chosen(training, snakemake.params.chosen["checkpoint"], map(files.read_json, valid))
    adapter = next(path for path in map(Path, snakemake.input.adapters) if path.stem == name)
    with files.atomic(snakemake.output.adapter) as file, adapter.open("rb") as given:
        shutil.copyfileobj(given, file)
    files.write_json(snakemake.output.name, {"checkpoint": name})
