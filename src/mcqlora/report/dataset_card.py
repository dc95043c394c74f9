"""README.md of a run's dataset folder: a dataset card of Hugging Face's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import yaml

from mcqlora.files import Json
from mcqlora.report.markdown import plain, table

COLUMNS = {
    "`id`": "benchmark/subject/split/row of the question's file",
    "`category`": "benchmark/subject",
    "`order`": "letter i is the file's letter of the option at place i",
    "`answer`": "the letter under which the right option is shown",
    "`instruction`, `input`, `output`": "the record in Alpaca's form",
    "`messages`": "the same as two turns; the user's is instruction, newline, input",
}


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
    mixed: Sequence[str]  # files of `train.mix`, which are not in the dataset


def markdown(about: About, splits: Mapping[str, str], counts: Mapping[str, int], leakage: Json) -> str:
    """The card, with the YAML header that says where each split lies.

    Args:
        splits: Hugging Face's name of each part.
        counts: rows by part.
        leakage: leakage.json.
    """
    leaked = leakage["valid"]["leaked"] or leakage["test"]["leaked"]
    stamp = ["> **LEAKED** - held-out questions stand in training.", ""] if leaked else []
    parts = [[part, name, counts[part], leakage["split"][part]] for part, name in splits.items()]
    benchmarks = [
        [plain(name), one.language, plain(one.licence or "not given")]
        for name, one in about.benchmarks.items()
    ]
    mixed = (
        f"What the run mixes into its training (`train.mix`) is not in here: {plain(', '.join(about.mixed))}."
    )
    lines = [
        f"# {about.run}",
        "",
        *stamp,
        f"Multiple-choice questions as instructions, by mcqlora: recipe {about.recipe}, split {about.split}, "
        f"seed {about.seed}. A training question has {about.copies - 1} rows, its options in other orders; a "
        "validation or test question has one.",
        "",
        *table(["part", "split", "rows", "questions"], parts),
        "",
        *table(["benchmark", "language", "licence of its text"], benchmarks),
        "",
        *([mixed, ""] if about.mixed else []),
        *table(["column", "what"], COLUMNS.items()),
        "",
        "The same rows stand in `messages/*.jsonl`, and in `alpaca/*.json` for LLaMA-Factory, whose "
        "`dataset_dir` is this folder.",
    ]
    return (
        f"---\n{_header(about, {part: name for part, name in splits.items() if counts[part]})}---\n\n"
        + "\n".join(lines)
        + "\n"
    )


def _header(about: About, splits: Mapping[str, str]) -> str:
    """Without the splits that have no row, which no reader loads."""
    files = [{"split": split, "path": f"parquet/{part}.parquet"} for part, split in splits.items()]
    header = {
        "pretty_name": f"Multiple-choice questions of mcqlora's run {about.run}",
        "language": sorted({one.language for one in about.benchmarks.values()}),
        "license": "other",
        "task_categories": ["multiple-choice", "question-answering"],
        "configs": [{"config_name": "default", "data_files": files}],
    }
    return yaml.safe_dump(header, sort_keys=False, allow_unicode=True)
