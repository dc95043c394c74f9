"""A run's parts for other trainers: messages, Alpaca JSON and Parquet, row for row the same.

Alpaca JSON with `dataset_info.json` is what LLaMA-Factory reads; Parquet with a card (`report.dataset_card`)
is a dataset folder of Hugging Face's. A user's turn is instruction, newline, input, as in our own prompt.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import orjson

from mcqlora import files
from mcqlora.data.alpaca import Record, shown_letter
from mcqlora.files import Json

SPLITS = {"train": "train", "valid": "validation", "test": "test"}  # Hugging Face's names of our parts
BATCH = 10_000  # rows of a Parquet row group
TURNS = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}


def row(record: Record) -> Json:
    """A copy of a question with its turns: what every form holds, or a part of it."""
    user = "\n".join(part for part in (record["instruction"], record["input"]) if part)
    return {
        "id": record["id"],
        "category": "/".join(record["id"].split("/")[:2]),
        "order": record["order"],
        "answer": shown_letter(record),
        "instruction": record["instruction"],
        "input": record["input"],
        "output": record["output"],
        "messages": [
            {"role": "user", "content": user},
            {"role": "assistant", "content": record["output"]},
        ],
    }


def write(records: Iterable[Record], messages: Path, alpaca: Path, parquet: Path) -> int:
    """Write a part in three forms, streaming; returns the number of rows.

    Args:
        messages: JSON Lines of `id` and `messages`, each of which has `role` and `content`.
        alpaca: a JSON array of `id`, `instruction`, `input` and `output`.
        parquet: all columns of `row`, in row groups of `BATCH`.
    """
    import pyarrow
    import pyarrow.parquet

    text = pyarrow.string()
    turns = pyarrow.list_(pyarrow.struct([("role", text), ("content", text)]))
    names = ("id", "category", "order", "answer", "instruction", "input", "output")
    schema = pyarrow.schema([*((name, text) for name in names), ("messages", turns)])
    rows, count = map(row, records), 0
    with contextlib.ExitStack() as stack:
        lines = stack.enter_context(files.atomic(messages))
        append = stack.enter_context(files.json_array(alpaca))
        table = stack.enter_context(files.atomic(parquet))
        with pyarrow.parquet.ParquetWriter(table, schema) as writer:
            while batch := list(islice(rows, BATCH)):
                for one in batch:
                    lines.write(orjson.dumps({key: one[key] for key in ("id", "messages")}) + b"\n")
                    append({key: one[key] for key in ("id", "instruction", "input", "output")})
                writer.write_table(pyarrow.Table.from_pylist(batch, schema))
                count += len(batch)
    return count


def dataset_info(run: str, parts: Iterable[str]) -> Json:
    """LLaMA-Factory's `dataset_info.json`: RUN_train, for instance, and RUN_train_messages.

    Keys as its documentation has them, https://llamafactory.readthedocs.io, "Data Preparation".
    """
    found: Json = {}
    for part in parts:
        found[f"{run}_{part}"] = {"file_name": f"alpaca/{part}.json"}
        found[f"{run}_{part}_messages"] = {
            "file_name": f"messages/{part}.jsonl",
            "formatting": "sharegpt",
            "columns": {"messages": "messages"},
            "tags": TURNS,
        }
    return found
