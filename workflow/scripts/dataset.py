"""The train, valid and test parts for other trainers: messages, Alpaca JSON, Parquet, and a dataset card."""

from pathlib import Path
from types import SimpleNamespace

from mcqlora import files
from mcqlora.interop import dataset
from mcqlora.job import job
from mcqlora.report import dataset_card

with job(snakemake):
    source, made, params = snakemake.input, snakemake.output, SimpleNamespace(**snakemake.params.chosen)
    about = dataset_card.About(
        run=params.run,
        recipe=params.recipe,
        split=params.split,
        seed=params.seed,
        copies=params.copies,
        benchmarks={name: dataset_card.Benchmark(*said) for name, said in params.benchmarks.items()},
        mixed=params.mixed,
    )
    counts = {
        part: dataset.write(files.read_json_array(records), *map(Path, forms))
        for part, records, *forms in zip(
            dataset.SPLITS, source.parts, made.messages, made.alpaca, made.parquet, strict=True
        )
    }
    info = dataset.dataset_info(params.run, [part for part, rows in counts.items() if rows])
    files.write_json(made.info, info, indent=True)
    leakage = files.read_json(source.leakage)
    files.write_text(made.card, dataset_card.markdown(about, dataset.SPLITS, counts, leakage))
