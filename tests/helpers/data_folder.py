"""The folder that `data` names."""

from pathlib import Path

from mcqlora import demo
from mcqlora.tokens import tokenizer


def write_data(folder: Path) -> Path:
    """A data folder as a user has one: CSV files, a reading test, a tokenizer."""
    demo.write(folder, seed=1, repeats=1)
    tokenizer.train(tokenizer.corpus_texts(folder / "corpus.jsonl"), folder / "tokenizer.model", 900)
    return folder
