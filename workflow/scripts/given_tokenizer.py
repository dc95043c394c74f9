"""The tokenizer: a given SentencePiece model, checked."""

import shutil

from mcqlora import io, prompt, tokenizer
from mcqlora.cli import job

with job(snakemake):
    prompt.from_tokenizer(tokenizer.load(snakemake.input[0]))
    with io.atomic(snakemake.output[0]) as file, open(snakemake.input[0], "rb") as given:
        shutil.copyfileobj(given, file)
