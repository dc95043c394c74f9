"""data_card.md: what the questions of a run are."""

from mcqlora import datacard, io, optionrefs
from mcqlora.cli import job

with job(snakemake):
    source, params = snakemake.input, snakemake.params
    described = datacard.describe(io.read_jsonl(source.questions), optionrefs.table(params.option_references))
    card = datacard.markdown(
        params.run,
        io.read_json(source.ledger),
        described,
        io.read_json(source.leakage),
        [datacard.letters(io.read_json_array(path)) for path in source.epochs],
        params.licences,
    )
    io.write_text(snakemake.output[0], card)
