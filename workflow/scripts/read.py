"""Benchmarks to questions.jsonl and a ledger that accounts for every row."""

from collections.abc import Iterator
from types import SimpleNamespace

from mcqlora import files
from mcqlora.data import ledger, readers
from mcqlora.data.layouts import Layout
from mcqlora.job import job

with job(snakemake) as terminal:
    params, beside = SimpleNamespace(**snakemake.params.chosen), []
    reading = readers.Reading(
        on_bad_row=params.on_bad_row,
        check_quotes=params.check_quotes,
        strip_letters=params.strip_letters,
        first_row_lost=params.first_row_lost,
        pandas_na=params.pandas_na,
    )

    def read() -> Iterator[ledger.Row]:
        for source in params.sources:
            source |= {"layout": Layout(**source["layout"])}
            with readers.opened(readers.Source(**source)) as benchmark:
                if benchmark.beside:
                    terminal.say(readers.passed_over(benchmark))
                beside.extend(f"{benchmark.source.path}/{name}" for name in benchmark.beside)
                yield from benchmark.rows(reading)

    rules = ledger.Rules(
        drop_identical_options=params.drop_identical_options, drop_contradictory=params.drop_contradictory
    )
    made = ledger.settle(read(), snakemake.output.questions, rules)
    made |= {"not_read": beside} if beside else {}
    files.write_json(snakemake.output.ledger, made, indent=True)
