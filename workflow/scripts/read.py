"""Benchmark CSVs to questions.jsonl and a ledger that accounts for every row."""

from mcqlora import files
from mcqlora.data import ledger, readers
from mcqlora.job import job

with job(snakemake):
    questions, entries = [], []
    for source in snakemake.params.sources:
        found, rows = readers.read_benchmark(**source, **snakemake.params.reading)
        questions += found
        entries += rows
    questions, entries, notes = ledger.screen(questions, entries, **snakemake.params.screening)
    files.write_json(snakemake.output.ledger, ledger.ledger(questions, entries, notes), indent=True)
    files.write_jsonl(snakemake.output.questions, questions)
