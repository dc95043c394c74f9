"""questions.jsonl to the option-shuffled epochs, a file a copy."""

import contextlib

from mcqlora import alpaca, io, optionrefs
from mcqlora.cli import job

with job(snakemake), contextlib.ExitStack() as stack:
    patterns, chosen = optionrefs.table(snakemake.params.option_references), snakemake.params.shuffle
    files = [stack.enter_context(io.json_array(path)) for path in snakemake.output]
    for question in io.read_jsonl(snakemake.input[0]):
        records = alpaca.copies(question, len(files), patterns=patterns, **chosen)
        for write, record in zip(files, records, strict=True):
            write(record)
