"""Epochs to train, valid and test parts, and the proof that no test question stands in training."""

from mcqlora import io, splits
from mcqlora.cli import job

with job(snakemake):
    source, made, params = snakemake.input, snakemake.output, snakemake.params
    questions, found = list(io.read_jsonl(source.questions)), io.read_json(source.groups)
    split = splits.choose(params.split, questions, found["groups"], **params.sizes)
    parts = splits.assemble(split, [io.JsonArray(path) for path in source.epochs])
    held_out = {part: list(parts[part]) for part in ("valid", "test")}
    counts = {"train": 0} | {part: io.write_json_array(made[part], held_out[part]) for part in held_out}
    with io.json_array(made.train) as append:

        def written():
            for record in parts["train"]:
                append(record)
                counts["train"] += 1
                yield record

        leakage = splits.leakage(written(), held_out, found["groups"], 100)
    leakage |= {"records": counts, "split": splits.summary(questions, split), "dropped": split.dropped}
    leakage["duplicates"] = found["duplicates"]
    io.write_json(made.leakage, leakage, indent=True)
    for part in held_out:
        splits.gate(leakage[part], allowed=params.allow_leak, part=part)
