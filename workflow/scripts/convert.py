"""The base network, converted from a Hugging Face folder."""

from pathlib import Path
from types import SimpleNamespace

from mcqlora.interop import huggingface
from mcqlora.job import job

with job(snakemake):
    params = SimpleNamespace(**snakemake.params.chosen)
    huggingface.convert(
        folder=Path(params.folder),
        tokenizer_path=snakemake.input.tokenizer,
        output=Path(snakemake.output[0]),
        asked=params.model,
        device=params.device,
    )
