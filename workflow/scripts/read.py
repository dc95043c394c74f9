"""Benchmark CSVs to questions.jsonl and a ledger that accounts for every row."""

from pathlib import Path

from mcqlora import benchmarks, io
from mcqlora.cli import job

with job(snakemake.log[0]):
    questions, entries = [], []
    for benchmark in snakemake.params.benchmarks:
        found, rows = benchmarks.read_benchmark(
            Path(snakemake.params.root), **benchmark, **snakemake.params.reading
        )
        questions += found
        entries += rows
    questions, entries, notes = benchmarks.screen(questions, entries, **snakemake.params.screening)
    io.write_json(snakemake.output.ledger, benchmarks.ledger(questions, entries, notes), indent=True)
    io.write_jsonl(snakemake.output.questions, questions)
