"""What a training took, from training.json and Snakemake's benchmark file."""

from __future__ import annotations

import csv
from pathlib import Path

from mcqlora.errors import UserError
from mcqlora.files import Json, PathLike


def of_run(facts: Json, times: PathLike) -> dict[str, dict[str, float]]:
    """{checkpoint: its cost}, see `models.COST`: tokens and hours by its share of the steps, memory of all.

    Raises:
        UserError: `times` is no benchmark file.
    """
    training = facts["training"]
    try:
        with open(times, encoding="utf-8", newline="") as file:
            last = list(csv.DictReader(file, delimiter="\t"))[-1]
        hours, memory = float(last["s"]) / 3600, float(last["max_rss"]) * 2**20 / 1e9  # in MiB there
    except (OSError, KeyError, IndexError, ValueError) as error:
        raise UserError(f"{Path(times)}: no Snakemake benchmark file; delete it and run again") from error
    found = {}
    for checkpoint in training["checkpoints"]:
        share = checkpoint["step"] / training["steps"]
        found[checkpoint["name"]] = {
            "steps": checkpoint["step"],
            "tokens": training["tokens"] * share,
            "hours": hours * share,
            "memory_gb": memory,
        }
    return found
