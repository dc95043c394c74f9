"""A run's parts for other trainers: messages, Alpaca JSON and Parquet, row for row the same, and a card.

Alpaca JSON with `dataset_info.json` is what LLaMA-Factory reads; Parquet with the card is a dataset folder of
Hugging Face's. In all a user's turn is instruction, newline, input, as in this project's own prompt.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import orjson
import yaml

from mcqlora import files
from mcqlora.data.alpaca import Record, shown_letter
from mcqlora.files import Json

SPLITS = {"train": "train", "valid": "validation", "test": "test"}  # Hugging Face's names of our parts
BATCH = 10_000  # rows of a Parquet row group
TURNS = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What the card says of a benchmark."""

    language: str
    licence: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What the card says of a run."""

    run: str
    recipe: str
    split: str
    seed: int
    copies: int
    benchmarks: Mapping[str, Benchmark]
    mixed: list[str]  # files of `train.mix`, which are not in the dataset


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


def dataset_info(run: str) -> Json:
    """LLaMA-Factory's `dataset_info.json`: RUN_train, RUN_valid and RUN_test, and each once more as messages.

    Keys as its documentation has them, https://llamafactory.readthedocs.io, "Data Preparation".
    """
    found: Json = {}
    for part in SPLITS:
        found[f"{run}_{part}"] = {"file_name": f"alpaca/{part}.json"}
    for part in SPLITS:
        found[f"{run}_{part}_messages"] = {
            "file_name": f"messages/{part}.jsonl",
            "formatting": "sharegpt",
            "columns": {"messages": "messages"},
            "tags": TURNS,
        }
    return found


def card(about: About, counts: Mapping[str, int], leakage: Json) -> str:
    """README.md of the folder, a dataset card of Hugging Face's.

    Args:
        counts: rows by part.
        leakage: leakage.json.
    """
    header = {
        "pretty_name": f"Multiple-choice questions of mcqlora's run {about.run}",
        "language": sorted({one.language for one in about.benchmarks.values()}),
        "license": "other",
        "task_categories": ["multiple-choice", "question-answering"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [
                    {"split": split, "path": f"parquet/{part}.parquet"} for part, split in SPLITS.items()
                ],
            }
        ],
    }
    leaked = leakage["valid"]["leaked"] or leakage["test"]["leaked"]
    stamp = ["> **LEAKED** - held-out questions stand in training.", ""] if leaked else []
    lines = [
        f"# {about.run}",
        "",
        *stamp,
        f"Multiple-choice questions as instructions, by mcqlora: recipe {about.recipe}, split {about.split}, "
        f"seed {about.seed}. A training question has {about.copies - 1} rows, its options in other orders; a "
        "validation or test question has one.",
        "",
        "| part | split | rows | questions |",
        "| --- | --- | --- | --- |",
        *(
            f"| {part} | {name} | {counts[part]:,} | {leakage['split'][part]:,} |"
            for part, name in SPLITS.items()
        ),
        "",
        "| benchmark | language | licence of its text |",
        "| --- | --- | --- |",
        *(
            f"| {name} | {one.language} | {_plain(one.licence or 'not given')} |"
            for name, one in about.benchmarks.items()
        ),
        "",
        *_mixed(about.mixed),
        "| column | what |",
        "| --- | --- |",
        "| `id` | benchmark/subject/split/row of the question's file |",
        "| `category` | benchmark/subject |",
        "| `order` | letter i is the file's letter of the option at place i |",
        "| `answer` | the letter under which the right option is shown |",
        "| `instruction`, `input`, `output` | the record in Alpaca's form |",
        "| `messages` | the same as two turns; the user's is instruction, newline, input |",
        "",
        "The same rows stand in `messages/*.jsonl`, and in `alpaca/*.json` for LLaMA-Factory, whose "
        "`dataset_dir` is this folder.",
    ]
    return (
        f"---\n{yaml.safe_dump(header, sort_keys=False, allow_unicode=True)}---\n\n" + "\n".join(lines) + "\n"
    )


def _mixed(names: list[str]) -> list[str]:
    if not names:
        return []
    return [f"What the run mixes into its training (`train.mix`) is not in here: {', '.join(map(_plain, names))}.", ""]


def _plain(text: str) -> str:
    """A text from outside, escaped so that it is no Markdown and ends no cell."""
    return re.sub(r"[\\`*\[\]<>|]", lambda found: f"&#{ord(found[0])};", text.replace("&", "&amp;"))
