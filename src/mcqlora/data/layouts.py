"""How a benchmark's files and rows are laid out: what a declaration says, and which files it names."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import NamedTuple

import yaml

from mcqlora.data.questions import SPLITS

UNLABELLED = "unlabelled"  # a split without answers
ORDER = (*SPLITS, UNLABELLED)
ENDINGS = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet", ".arrow", ".xlsx")
_ABOUT = (
    "dataset_info.json",
    "dataset_infos.json",
    "dataset_dict.json",
    "state.json",
)  # of `datasets`
README = "README.md"  # of a Hugging Face dataset: its `configs` name files
_TOKEN = re.compile(r"(\{subject\}|\{split\}|\*\*/?|\*|\?)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A declaration; docs/data.md explains each key, `config.sections.Benchmark` has the same ones.

    `fields` maps question, answer, labels, passage, subject and split to columns, by dotted paths where
    values are nested. `options` are columns, a single one that holds a list or a dict, or none: the columns
    that are called A, B, C and so on. `columns` name those of files without a header.
    """

    files: list[str] = field(default_factory=list)
    subset: str | None = None
    columns: list[str] = field(default_factory=list)
    splits: dict[str, str] = field(default_factory=lambda: {split: split for split in SPLITS})
    fields: dict[str, str] = field(default_factory=dict)
    options: list[str] = field(default_factory=list)
    answer: str = "letter"
    absent: list[str] = field(default_factory=list)
    where: dict[str, list[str]] = field(default_factory=dict)
    delimiter: str | None = None

    def column(self, name: str) -> str | None:
        """The column of a field, None if it has none."""
        return self.fields.get(name, name if name in ("question", "answer") else None)

    def part(self, split: str) -> str | None:
        """What a split's name stands for, one of `ORDER`; None if it is none of `splits`."""
        folded = split.strip().casefold()
        return next((part for name, part in self.splits.items() if name.casefold() == folded), None)


class Part(NamedTuple):
    """A file to be read, by its name below the benchmark's place; "" where rows say subject or split."""

    name: str
    subject: str
    split: str  # one of `ORDER`


def ending(name: str) -> str:
    """The kind of a file of rows, one of `ENDINGS`, whether packed with gzip or not; "" if it is none."""
    plain = name.lower().removesuffix(".gz")
    if plain.rpartition("/")[2] in _ABOUT:
        return ""
    return next((one for one in ENDINGS if plain.endswith(one)), "")


def match(names: Iterable[str], layout: Layout, readme: str = "") -> tuple[list[Part], list[str]]:
    """Which of a folder's files are the benchmark's, and which files of rows are not.

    The first pattern of `layout.files` that fits any file counts; without patterns, what the `configs` of a
    dataset's `readme` name. The files may stand in a folder of their own, all in the same one.

    Returns:
        The files to be read, by split and then by name, and the names of the others.

    Raises:
        ValueError: files stand in several such folders, or two are the same subject and split.
    """
    rows = sorted(name for name in names if ending(name))
    patterns = [_Pattern(_expression(one, layout), "", "", "*" in one) for one in layout.files]
    for some in [[one] for one in patterns] or [_configured(readme, layout)]:
        places = defaultdict[str, list[Part]](list)
        for name in rows:
            for one in some:
                if found := one.expression.fullmatch(name):
                    places[found["place"]].append(one.part(name, found, layout))
                    break
        if len(places) > 1:
            said = " and ".join(f"{place or './'}" for place in sorted(places))
            raise ValueError(f"both {said} hold files of it")
        for parts in places.values():
            if not all(one.many for one in some):
                _refuse_twice(parts)
            parts.sort(
                key=lambda one: (ORDER.index(one.split or "dev"), PurePosixPath(one.name).name, one.name)
            )
            return parts, sorted(set(rows) - {part.name for part in parts})
    return [], rows


class _Pattern(NamedTuple):
    expression: re.Pattern[str]
    subject: str
    split: str
    many: bool  # files may be parts of one

    def part(self, name: str, found: re.Match[str], layout: Layout) -> Part:
        groups = found.groupdict()
        split = self.split or layout.part(groups.get("split") or "") or ""
        return Part(name, groups.get("subject") or self.subject, split)


def _expression(pattern: str, layout: Layout) -> re.Pattern[str]:
    """A pattern as an expression of whole names: `place` is what stands before it."""
    made, seen = "(?P<place>(?:.*/)?)", set[str]()
    words = {
        "{subject}": r"[^/]+?",
        "{split}": "|".join(sorted(map(re.escape, layout.splits), key=lambda one: (-len(one), one))),
    }
    for piece in _TOKEN.split(pattern):
        if piece in seen:
            made += f"(?P={piece[1:-1]})"
        elif piece in words:
            made += f"(?P<{piece[1:-1]}>{words[piece]})"
            seen.add(piece)
        elif piece.startswith("**"):
            made += ".*"
        else:
            made += {"*": "[^/]*", "?": "[^/]"}.get(piece, re.escape(piece))
    return re.compile(made + r"(?:\.gz)?", re.IGNORECASE | re.DOTALL)


def _configured(readme: str, layout: Layout) -> list[_Pattern]:
    """What the `configs` of a Hugging Face dataset's README.md name, a subject each where there are several.

    https://huggingface.co/docs/hub/datasets-manual-configuration
    """
    head = re.match(r"---\s*\n(.*?)\n---\s*(?:\n|$)", readme, re.DOTALL)
    try:
        configs = (yaml.safe_load(head[1]) or {}).get("configs") or [] if head else []
        found = [
            (str(one["config_name"]), str(split), str(pattern))
            for one in configs
            for split, pattern in _data_files(one["data_files"])
            if layout.subset in (None, str(one["config_name"]))
        ]
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"the configs of {README} cannot be read ({type(error).__name__})") from error
    names = list(dict.fromkeys(name for name, _, _ in found))
    if (several := len(names) > 1) and layout.column("subject"):
        raise ValueError(f"{README} has {len(names)} configs; set subset to one of {', '.join(names[:9])}")
    return [
        _Pattern(_expression(pattern.removeprefix("./"), Layout()), name if several else "", part, True)
        for name, split, pattern in found
        if (part := layout.part(split))
    ]


def _data_files(given: object) -> list[tuple[str, str]]:
    """(split, pattern) of `data_files`: a pattern, several, splits and theirs, or entries with a path."""
    match given:
        case str():
            return [("train", given)]
        case dict() if "path" in given:
            return [(given.get("split", "train"), one) for _, one in _data_files(given["path"])]
        case dict():
            return [(split, one) for split, paths in given.items() for _, one in _data_files(paths)]
    return [pair for one in given for pair in _data_files(one)]  # type: ignore[attr-defined]


def _order(part: Part) -> tuple[int, str, str]:
    return ORDER.index(part.split or ORDER[0]), PurePosixPath(part.name).name, part.name


def _refuse_twice(parts: list[Part]) -> None:
    known: dict[tuple[str, str], str] = {}
    for part in parts:
        if part.split and (other := known.setdefault(part[1:], part.name)) != part.name:
            what = f"subject {part.subject}, " if part.subject else ""
            raise ValueError(f"{other} and {part.name} are both {what}split {part.split}; remove one")
