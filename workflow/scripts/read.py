"""Benchmark CSVs to questions.jsonl and a ledger that accounts for every row."""

from mcqlora import benchmarks, io
from mcqlora.cli import job

with job(snakemake):
    questions, entries = [], []
    for source in snakemake.params.sources:
        found, rows = benchmarks.read_benchmark(**source, **snakemake.params.reading)
        questions += found
        entries += rows
    questions, entries, notes = benchmarks.screen(questions, entries, **snakemake.params.screening)
    io.write_json(snakemake.output.ledger, benchmarks.ledger(questions, entries, notes), indent=True)
    io.write_jsonl(snakemake.output.questions, questions)
