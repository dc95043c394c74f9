"""Epochs to train, valid and test parts, and the check that no test question was trained on."""

from types import SimpleNamespace

from mcqlora import files
from mcqlora.data import leakage, splits
from mcqlora.data.questions import read_questions
from mcqlora.job import job

with job(snakemake) as terminal:
    source, made = snakemake.input, snakemake.output
    params = SimpleNamespace(**snakemake.params.chosen)
    questions, found = list(read_questions(source.questions)), files.read_json(source.groups)
    groups, sizes = found["groups"], (params.valid, params.test)
    split = splits.choose(params.split, questions, groups, params.seed, *sizes)
    short = splits.fell_short(params.split, questions, groups, split, *sizes)
    parts = splits.assemble(split, [files.read_json_array(path) for path in source.epochs])
    held_out = {part: list(parts[part]) for part in ("valid", "test")}
    counts = {"train": 0} | {part: files.write_json_array(made[part], held_out[part]) for part in held_out}
    with files.json_array(made.train) as append:

        def written():
            for record in parts["train"]:
                append(record)
                counts["train"] += 1
                yield record

        seen = leakage.leakage(written(), held_out, questions, groups, 100, params.families)
    summary = splits.summary(questions, split) | {"fell_short": short}
    seen |= {"records": counts, "split": summary, "dropped": split.dropped}
    seen["duplicates"] = found["duplicates"]
    files.write_json(made.leakage, seen, indent=True)
    for part in held_out:
        leakage.gate(seen[part], allowed=params.allow_leak, part=part)
    if line := splits.shortage(short, len(summary["categories"])):
        terminal.say(line)
