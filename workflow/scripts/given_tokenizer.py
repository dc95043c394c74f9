"""The tokenizer: a given SentencePiece model, checked."""

import shutil

from mcqlora import files
from mcqlora.job import job
from mcqlora.tokens import prompt, tokenizer

with job(snakemake):
    prompt.from_tokenizer(tokenizer.load(snakemake.input[0]))
    with files.atomic(snakemake.output[0]) as file, open(snakemake.input[0], "rb") as given:
        shutil.copyfileobj(given, file)
