"""Epochs to train, valid and test parts, and the proof that no test question stands in training."""

from mcqlora import io, splits
from mcqlora.cli import job

with job(snakemake.log[0]):
    questions = list(io.read_jsonl(snakemake.input.questions))
    threshold = snakemake.params.near_duplicate_threshold
    groups = splits.groups(questions, threshold)
    split = splits.choose(snakemake.params.split, questions, groups, **snakemake.params.sizes)
    parts = splits.assemble(split, [io.JsonArray(path) for path in snakemake.input.epochs])
    counts = {part: io.write_json_array(snakemake.output[part], records) for part, records in parts.items()}
    leakage = splits.leakage(
        io.read_json_array(snakemake.output.train),
        {part: io.read_json_array(snakemake.output[part]) for part in ("valid", "test")},
        groups,
        100,
    )
    leakage |= {"records": counts, "split": splits.summary(questions, split), "dropped": split.dropped}
    leakage["duplicates"] = {
        "threshold": threshold,
        "equal": splits.duplicates(groups if threshold is None else splits.groups(questions)),
        "near": splits.duplicates(groups),
    }
    io.write_json(snakemake.output.leakage, leakage, indent=True)
    for part in ("valid", "test"):
        splits.gate(leakage[part], allowed=snakemake.params.allow_leak, part=part)
