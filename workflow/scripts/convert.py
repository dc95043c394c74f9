"""The base network, converted from a Hugging Face folder."""

from pathlib import Path
from types import SimpleNamespace

from mcqlora.interop import huggingface
from mcqlora.job import job
from mcqlora.model.architecture import Architecture

with job(snakemake):
    params = SimpleNamespace(**snakemake.params.chosen)
    huggingface.convert(
        folder=Path(params.folder),
        tokenizer_path=snakemake.input.tokenizer,
        output=Path(snakemake.output[0]),
        network=Architecture(**params.model),
        device=params.device,
    )
