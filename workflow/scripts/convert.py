"""The base network, converted from a Hugging Face folder."""

from pathlib import Path

from mcqlora.interop import huggingface
from mcqlora.job import job

with job(snakemake):
    huggingface.convert(
        folder=Path(snakemake.params.folder),
        tokenizer_path=snakemake.input.tokenizer,
        output=Path(snakemake.output[0]),
        **snakemake.params.conversion,
    )
