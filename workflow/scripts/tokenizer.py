"""The tokenizer: a SentencePiece model trained on the demo's corpus."""

from pathlib import Path

from mcqlora import demo
from mcqlora.job import job
from mcqlora.tokens import tokenizer

with job(snakemake):
    texts = demo.tokenizer_text(Path(snakemake.input[0]))
    tokenizer.train(texts, snakemake.output[0], snakemake.params.vocab_size)
