"""data_card.md: what the questions of a run are."""

from mcqlora import files
from mcqlora.data import option_references
from mcqlora.job import job
from mcqlora.report import data_card

with job(snakemake):
    source, params = snakemake.input, snakemake.params
    described = data_card.describe(
        files.read_jsonl(source.questions), option_references.table(params.option_references)
    )
    card = data_card.markdown(
        params.run,
        files.read_json(source.ledger),
        described,
        files.read_json(source.leakage),
        [data_card.letters(files.read_json_array(path)) for path in source.epochs],
        params.licences,
    )
    files.write_text(snakemake.output[0], card)
