"""The base network of a run: given weights, or a small network trained here on plain text.

A base is a folder: `model.safetensors` (MindSpore's parameter names) and `config.json` (the architecture).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from mcqlora import files, hashing
from mcqlora.model import architecture
from mcqlora.model.weights import save
from mcqlora.tokens import documents, mindrecord, packing, prompt, segments, tokenizer
from mcqlora.train import history, workplace
from mcqlora.train.schedule import plan_steps


def build(
    *,
    corpus: Path,
    tokenizer_path: str,
    output: Path,
    worker: Path,
    runs: Path,
    network: dict,
    optimization: dict,
    rows: int | None,
    workers: int,
    batch_size: int,
    epochs: int,
    seq_length: int,
    device: str,
) -> None:
    """Train a network from random weights on the texts of `corpus`, see `texts`, and write it to `output`."""
    processor = tokenizer.load(tokenizer_path)
    template = prompt.from_tokenizer(processor)
    ids = tokenizer.network_vocabulary(processor.vocab_size(), network["vocab_size"])
    network = network | {"vocab_size": ids}
    model = architecture.model_config(
        network, seq_length, batch_size, device, template.pad, template.eos, None
    )
    found = texts(corpus)
    if rows is not None and rows < len(found):
        found = sorted(found, key=lambda text: hashing.digest(optimization["seed"], text))[:rows]
    settings = (model, optimization, workers, epochs, device)
    key = hashing.digest(
        settings, found, hashing.sha256(tokenizer_path), workplace.code(worker, Path(__file__))
    )[:16]
    with workplace.workplace(runs / key, "base") as place:
        file = place.directory / "corpus.mindrecord"
        size = seq_length + 1
        documents = list(text_documents(found, segments.SegmentEncoder(processor), template, size))
        packed = mindrecord.write_batches(
            packing.pack(documents, size, template.pad), file, packing.COLUMNS["packed"]
        )
        sink = architecture.sink_size(device)
        schedule = plan_steps(
            packed, workers, batch_size, epochs, optimization["warmup_ratio"], 1, 1, 1, sink
        )
        place.run(
            worker,
            workers,
            model=model,
            schedule=schedule,
            optimization=optimization,
            batch_size=batch_size,
            epochs=epochs,
            train_files=[str(file)],
            valid_files=[],
            base=None,
            device=device,
            columns=packing.COLUMNS["packed"],
        )
        weights = place.checkpoint(schedule.steps)
        losses = place.history()
    save(weights, output / "model.safetensors")
    files.write_json(output / "config.json", network, indent=True)
    history.write_csv(losses, output / "history.csv")


def texts(source: Path) -> list[str]:
    """Plain documents: those of a generated folder's corpus, or the text of a training part's records.

    The latter is a real benchmark's own: training questions with their options and the right answer.
    """
    if source.is_dir():
        return list(files.read_jsonl(source / "corpus.jsonl"))
    return [f"{record['input']}\n{record['output']}" for record in files.read_json_array(source)]


def text_documents(
    texts: Iterable[str], encoder: prompt.Encode, template: prompt.Template, size: int
) -> Iterator[documents.Document]:
    """Plain texts as documents of at most `size` ids: <s> text </s>, every id but the first with a label."""
    for text in texts:
        ids = [template.bos, *encoder(text), template.eos][:size]
        yield documents.Document(np.array(ids, np.int32), 1)
