"""The tokenizer: a given SentencePiece model, checked, or one trained on the demo's corpus."""

import shutil
from pathlib import Path

from mcqlora import demo, io, prompt, tokenizer
from mcqlora.cli import job

with job(snakemake.log[0]):
    if snakemake.params.path:
        prompt.from_tokenizer(tokenizer.load(snakemake.input[0]))
        with io.atomic(snakemake.output[0]) as file, open(snakemake.input[0], "rb") as given:
            shutil.copyfileobj(given, file)
    else:
        texts = demo.tokenizer_text(Path(snakemake.input[0]))
        tokenizer.train(texts, snakemake.output[0], snakemake.params.vocab_size)
