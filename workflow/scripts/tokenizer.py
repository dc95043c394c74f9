"""The tokenizer: a SentencePiece model trained on the demo's corpus."""

from pathlib import Path

from mcqlora.job import job
from mcqlora.tokens import tokenizer

with job(snakemake):
    texts = tokenizer.corpus_texts(Path(snakemake.input[0], "corpus.jsonl"))
    tokenizer.train(texts, snakemake.output[0], snakemake.params.chosen["vocab_size"])
