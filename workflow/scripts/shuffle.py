"""questions.jsonl to the option-shuffled epochs, a file a copy."""

import contextlib

from mcqlora.data import alpaca, option_references
from mcqlora.files import json_array, read_jsonl
from mcqlora.job import job

with job(snakemake), contextlib.ExitStack() as stack:
    patterns, chosen = option_references.table(snakemake.params.option_references), snakemake.params.shuffle
    files = [stack.enter_context(json_array(path)) for path in snakemake.output]
    for question in read_jsonl(snakemake.input[0]):
        records = alpaca.copies(question, len(files), patterns=patterns, **chosen)
        for write, record in zip(files, records, strict=True):
            write(record)
