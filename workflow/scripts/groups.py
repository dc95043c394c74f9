"""Which questions are one item: the duplicate groups that a split must not tear apart."""

from mcqlora import io, splits
from mcqlora.cli import job

with job(snakemake):
    questions = list(io.read_jsonl(snakemake.input[0]))
    threshold = snakemake.params.near_duplicate_threshold
    groups = splits.groups(questions, threshold)
    equal = groups if threshold is None else splits.groups(questions)
    duplicates = {
        "threshold": threshold,
        "equal": splits.duplicates(equal),
        "near": splits.duplicates(groups),
    }
    io.write_json(snakemake.output[0], {"duplicates": duplicates, "groups": groups})
