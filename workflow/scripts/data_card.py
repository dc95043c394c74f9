"""data_card.md: what the questions of a run are."""

from types import SimpleNamespace

from mcqlora import files
from mcqlora.data import option_references
from mcqlora.data.questions import read_questions
from mcqlora.job import job
from mcqlora.report import data_card

with job(snakemake):
    source, params = snakemake.input, SimpleNamespace(**snakemake.params.chosen)
    described = data_card.describe(
        read_questions(source.questions), option_references.table(params.option_references)
    )
    card = data_card.markdown(
        data_card.Run(
            run=params.run,
            recipe=params.recipe,
            split=params.split,
            seed=params.seed,
            copies=params.copies,
        ),
        files.read_json(source.ledger),
        described,
        files.read_json(source.leakage),
        [data_card.letters(files.read_json_array(path)) for path in source.epochs],
        params.licences,
        files.read_json(source.mix) if source.mix else None,
        params.mix_licences,
    )
    files.write_text(snakemake.output[0], card)
