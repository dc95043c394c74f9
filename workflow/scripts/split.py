"""Epochs to train, valid and test parts, and the check that no test question was trained on."""

from types import SimpleNamespace

from mcqlora import files
from mcqlora.data import leakage, splits
from mcqlora.data.questions import read_questions
from mcqlora.job import job

with job(snakemake):
    source, made = snakemake.input, snakemake.output
    params = SimpleNamespace(**snakemake.params.chosen)
    questions, found = list(read_questions(source.questions)), files.read_json(source.groups)
    split = splits.choose(params.split, questions, found["groups"], params.seed, params.valid, params.test)
    parts = splits.assemble(split, [files.read_json_array(path) for path in source.epochs])
    held_out = {part: list(parts[part]) for part in ("valid", "test")}
    counts = {"train": 0} | {part: files.write_json_array(made[part], held_out[part]) for part in held_out}
    with files.json_array(made.train) as append:

        def written():
            for record in parts["train"]:
                append(record)
                counts["train"] += 1
                yield record

        seen = leakage.leakage(written(), held_out, found["groups"], 100)
    seen |= {"records": counts, "split": splits.summary(questions, split), "dropped": split.dropped}
    seen["duplicates"] = found["duplicates"]
    files.write_json(made.leakage, seen, indent=True)
    for part in held_out:
        leakage.gate(seen[part], allowed=params.allow_leak, part=part)
