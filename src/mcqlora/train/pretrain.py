"""The base network of a run where none is given: a small one, trained here on plain text.

A base is a folder: `model.safetensors` (MindSpore's parameter names) and `config.json` (the architecture).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from mcqlora import files, hashing
from mcqlora.errors import UserError
from mcqlora.model import architecture, weights
from mcqlora.tokens import mindrecord, packing, prompt, segments, tokenizer
from mcqlora.tokens.layout import COLUMNS, Layout
from mcqlora.train import history
from mcqlora.train.mindformers_yaml import Training
from mcqlora.train.schedule import plan_steps
from mcqlora.train.settings import Settings
from mcqlora.train.workplace import Launch, fingerprint_of, workplace

LAYOUT: Layout = "packed"
# How networks of a few million parameters are optimised, but for learning rate and seed.
OPTIMIZATION = {
    "warmup_ratio": 0.05,
    "weight_decay": 0.01,
    "loss_scale": 16384,
    "max_grad_norm": 1.0,
    "betas": (0.9, 0.95),
}


def build(*, corpus: Path, tokenizer_path: str, output: Path, settings: Settings, launch: Launch) -> None:
    """Train a network from random weights on the texts of `corpus`, see `texts`, and write it to `output`.

    `settings.size.rows` limits the texts, not the rows that they are packed into.

    Raises:
        UserError: the tokenizer is not the network's, an NPU cannot hold such a training, there are too few
            texts, or a worker failed.
    """
    processor = tokenizer.load(tokenizer_path)
    template, encoder = prompt.plain(processor), segments.SegmentEncoder(processor)
    network = settings.network.for_tokenizer(processor.vocab_size())
    if too_large := architecture.DEVICES[settings.device].cannot_train(network):
        raise UserError(f"base: {too_large}")
    most, length = settings.size.rows, settings.seq_length + 1
    settings = replace(settings, network=network, size=replace(settings.size, rows=None))
    found = texts(corpus)
    if most is not None and most < len(found):
        found = sorted(found, key=lambda text: hashing.digest(settings.optimization.seed, text))[:most]

    def made() -> Iterator[packing.Document]:  # <s> text </s>, every id but the first with a label
        for text in found:
            ids = [*template.start, *encoder(text), template.eos][:length]
            yield packing.Document(np.array(ids, np.int32), 1)

    held = packing.Documents.of(list(made()))
    rows, form = packing.plan(held.lengths, length, LAYOUT), packing.RowFormat(length, template.pad, LAYOUT)
    content = hashlib.sha256()
    for batch in packing.batches(held, rows, form):
        for column in batch.values():
            content.update(column.tobytes())
    warmup, sink = settings.optimization.warmup_ratio, architecture.DEVICES[settings.device].sink_size
    training = Training(
        name="base",
        settings=settings,
        schedule=plan_steps(packing.count_rows(rows), settings.size, warmup, delivered=1, sink_size=sink),
        pad=template.pad,
        eos=template.eos,
        layout=LAYOUT,
    )
    key = fingerprint_of(training, launch.worker, "", [content.hexdigest()], [])
    with workplace(launch.runs / key) as place:
        shard = place.directory / "corpus.mindrecord"
        mindrecord.write_batches(packing.batches(held, rows, form), shard, COLUMNS[LAYOUT])
        taken = place.run(training, launch, None, [str(shard)])
        trained, losses = place.checkpoint(taken[-1]), place.history()
        for path in shard.parent.glob(f"{shard.name}*"):  # and its index; made anew where it is wanted again
            path.unlink()
    weights.save(trained, output / "model.safetensors")
    architecture.write_architecture(output, network)
    history.write_csv(losses, output / "history.csv")


def texts(source: Path) -> list[str]:
    """Plain documents: those of a generated folder's corpus, or the text of a training part's records.

    The latter is a real benchmark's own: training questions with their options and the right answer.
    """
    if source.is_dir():
        return list(files.read_jsonl(source / "corpus.jsonl"))
    return [f"{record['input']}\n{record['output']}" for record in files.read_json_array(source)]
