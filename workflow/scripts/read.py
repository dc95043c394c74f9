"""Benchmark CSVs to questions.jsonl and a ledger that accounts for every row."""

from types import SimpleNamespace

from mcqlora import files
from mcqlora.data import ledger, readers
from mcqlora.data.questions import write_questions
from mcqlora.job import job

with job(snakemake):
    params, questions, entries = SimpleNamespace(**snakemake.params.chosen), [], []
    reading = readers.Reading(
        on_bad_row=params.on_bad_row, first_row_lost=params.first_row_lost, pandas_na=params.pandas_na
    )
    for source in params.sources:
        found, rows = readers.read_benchmark(readers.Source(**source), reading)
        questions += found
        entries += rows
    questions, entries, notes = ledger.screen(
        questions,
        entries,
        drop_identical_options=params.drop_identical_options,
        drop_contradictory=params.drop_contradictory,
    )
    files.write_json(snakemake.output.ledger, ledger.ledger(questions, entries, notes), indent=True)
    write_questions(snakemake.output.questions, questions)
