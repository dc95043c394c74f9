"""questions.jsonl to the option-shuffled epochs, a file a copy."""

import contextlib

from mcqlora import alpaca, io
from mcqlora.cli import job

with job(snakemake.log[0]), contextlib.ExitStack() as stack:
    files = [stack.enter_context(io.json_array(path)) for path in snakemake.output]
    for question in io.read_jsonl(snakemake.input[0]):
        records = alpaca.copies(question, len(files), **snakemake.params.shuffle)
        for write, record in zip(files, records, strict=True):
            write(record)
