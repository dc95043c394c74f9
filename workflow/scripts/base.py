"""The base network where none is given: a small one, trained here on plain text."""

from pathlib import Path
from types import SimpleNamespace

from mcqlora.job import job
from mcqlora.model.architecture import Architecture
from mcqlora.train import pretrain, settings
from mcqlora.train.workplace import Launch

with job(snakemake):
    params = SimpleNamespace(**snakemake.params.chosen)
    named = vars(params)
    pretrain.build(
        corpus=Path(snakemake.input.corpus),
        tokenizer_path=snakemake.input.tokenizer,
        output=Path(snakemake.output[0]),
        settings=settings.Settings(
            network=Architecture(**params.model),
            lora=None,
            optimization=settings.of(settings.Optimization, pretrain.OPTIMIZATION | named),
            size=settings.of(settings.Size, named),
            seq_length=params.seq_length,
            device=params.device,
        ),
        launch=Launch(worker=Path(snakemake.scriptdir, "worker.py"), runs=Path("runs")),
    )
