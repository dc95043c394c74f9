"""Other instruction data (`train.mix`): files read, cleared of what is held out, and drawn at a share."""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import orjson

from mcqlora import hashing
from mcqlora.data import leakage, squad
from mcqlora.data.alpaca import Record
from mcqlora.data.ledger import LedgerEntry
from mcqlora.data.questions import Question
from mcqlora.errors import UserError
from mcqlora.files import Json

_SEAMS = re.compile(r"(?<=[:：。？！])|(?<=[.?!])\s")  # where a sentence may start within a line
KINDS = "instruction and output, prompt and completion, or text"


class PlainRecord(TypedDict):
    """A text without turns: the completion follows the prompt, which may be empty, as one text."""

    id: str
    order: str
    prompt: str
    completion: str


MixedRecord = Record | PlainRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file of other instruction data."""

    path: Path
    name: str  # as the configuration has it; the first part of its records' ids
    share: float  # of all training records, 0 to 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What no mixed record may hold."""

    questions: Sequence[Question]  # of validation and test
    reading: Sequence[squad.ReadingQuestion]  # the reading test


class Row(NamedTuple):
    """A row of a file: where it stands, and its value as JSON has it, or what is wrong with it."""

    number: int  # from 0
    place: str  # as a message says it
    value: Any


class _Sought(NamedTuple):
    """A held-out text that no mixed record may hold."""

    id: str  # its place among them
    question: str
    reason: str
    named: str  # the id of the question that it is of


class _BadRow(ValueError):
    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def read(source: Source, on_bad_row: str = "fail") -> tuple[list[MixedRecord], list[LedgerEntry]]:
    """The records of a file, in file order, and an entry for every row of it.

    A JSON object with `data` is SQuAD v1.1: each question of it makes a row, in the prompt of the reading
    test, with its first answer. A file whose name ends in .txt has a text per line. All others are Alpaca or
    alike, a JSON array or a JSON value per line; a row has instruction and output, and perhaps input; or
    prompt and completion; or text; or it is the text itself. Other keys of it do not count. Blank lines are
    not rows.

    Raises:
        UserError: the file is missing, cut off or in no such form, no row of it is good, or, unless
            `on_bad_row` is "drop", a row is bad; names file, row (from 0) and line.
    """
    records: list[MixedRecord] = []
    entries: list[LedgerEntry] = []
    for row in _rows(source):
        entry = LedgerEntry(f"{source.name}/{row.number}", source.name, row.number)
        try:
            if isinstance(row.value, _BadRow):
                raise row.value
            records.append(_record(entry.id, row.value))
        except _BadRow as error:
            if on_bad_row != "drop":
                raise UserError(
                    f"{source.path}: {row.place}: {error}; mend the row or set read.on_bad_row: drop"
                ) from error
            entry = entry._replace(reason=error.reason, detail=str(error))
        entries.append(entry)
    if not records:
        why = f": {entries[0].detail}" if entries else ""
        raise UserError(f"{source.path}: no row of {len(entries)} is good{why}; rows need {KINDS}")
    return records, entries


def _rows(source: Source) -> Iterator[Row]:
    try:
        data = source.path.read_bytes().removeprefix(codecs.BOM_UTF8)
    except FileNotFoundError as error:
        raise UserError(
            f"{source.path}: no such file; correct train.mix, or set train: {{mix: []}} to mix nothing in"
        ) from error
    if source.name.lower().endswith(".txt"):
        try:
            lines = enumerate(data.decode("utf-8").split("\n"))
        except UnicodeDecodeError as error:
            raise UserError(f"{source.path}: not UTF-8 ({error.reason}); save it as UTF-8") from error
        for number, text in lines:
            if text.strip():
                yield Row(number, f"row {number} (line {number + 1})", text.removesuffix("\r"))
        return
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        if data.lstrip().startswith(b"["):
            raise UserError(f"{source.path}: not valid JSON ({error}); fetch the file again") from error
        document = None
    if isinstance(document, dict) and "data" in document:
        for number, question in enumerate(squad.read(source.path)):
            completion = question.answers[0] and f" {question.answers[0]}"
            prompt = squad.prompt(question.context, question.question)
            yield Row(number, f"question {question.id}", {"prompt": prompt, "completion": completion})
    elif isinstance(document, list):
        for number, value in enumerate(document):
            yield Row(number, f"row {number}", value)
    else:
        for number, line in enumerate(data.split(b"\n")):
            if line.strip():
                yield Row(number, f"row {number} (line {number + 1})", _value(line))


def _value(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return _BadRow("json", f"not valid JSON ({error})")


def _record(identity: str, value: Any) -> MixedRecord:
    """Raises: _BadRow: the value has not the keys of a record, or one has no text."""
    if isinstance(value, str):
        value = {"text": value}
    keys = value if isinstance(value, dict) else {}
    if "instruction" in keys and "output" in keys:
        return {
            "id": identity,
            "order": "",
            "instruction": _text(value, "instruction"),
            "input": _text(value, "input", needed=False),
            "output": _text(value, "output"),
        }
    if "prompt" in keys and "completion" in keys:
        prompt, completion = _text(value, "prompt", needed=False), _text(value, "completion")
    elif "text" in keys:
        prompt, completion = "", _text(value, "text")
    else:
        raise _BadRow("keys", f"has not {KINDS}")
    return {"id": identity, "order": "", "prompt": prompt, "completion": completion}


def _text(value: Json, key: str, needed: bool = True) -> str:
    found = value.get(key)
    if found is None and not needed:
        return ""
    if not isinstance(found, str):
        raise _BadRow("keys", f"{key!r} is no text")
    if needed and not found.strip():
        raise _BadRow("empty", f"{key!r} is empty")
    return found


def texts(record: MixedRecord) -> list[str]:
    """What a record says, without its id."""
    return [str(value) for key, value in record.items() if key not in ("id", "order")]


def screen(
    records: Sequence[MixedRecord], held: Held, known: Collection[str] = ()
) -> dict[str, tuple[str, str]]:
    """Records that must not be mixed in: {id: (reason, detail)}.

    - held_out_question, held_out_passage: holds a validation or test question, or the passage that it is
      about, see `leakage.in_texts`
    - reading_passage, reading_question: holds one of the reading test
    - duplicate: says the same as a record before it, or as one of `known` (see `said`)

    Held-out texts are looked for in the whole record and in each of its lines and sentences alone, since a
    short one is found only where it stands alone.
    """
    found: dict[str, tuple[str, str]] = {}
    before = set(known)
    for record in records:
        if (key := said(record)) in before:
            found[record["id"]] = ("duplicate", "says the same as a row before it")
        before.add(key)
    passages = {question.context: question.id for question in held.reading}
    about = {one.passage: one.id for one in held.questions if one.passage}
    given = [("held_out_question", one.id, one.question) for one in held.questions]
    given += [("held_out_passage", identity, passage) for passage, identity in about.items()]
    given += [("reading_passage", identity, context) for context, identity in passages.items()]
    given += [("reading_question", one.id, one.question) for one in held.reading]
    sought = [_Sought(str(i), text, reason, name) for i, (reason, name, text) in enumerate(given)]
    owners: list[str] = []

    def parts() -> Iterator[str]:
        for record in records:
            whole = "\n".join(texts(record))
            lines = whole.split("\n")
            sentences = (sentence for line in lines for sentence in _SEAMS.split(line))
            for part in dict.fromkeys((whole, *lines, *sentences)):
                owners.append(record["id"])
                yield part

    for place, index in leakage.in_texts(sought, parts()):
        one = sought[int(place)]
        found.setdefault(owners[index], (one.reason, one.named))
    return found


def said(record: MixedRecord) -> str:
    """A hash of what a record says."""
    return hashing.digest(texts(record))


def wanted(shares: Sequence[float], train: int) -> list[int]:
    """How many records of each source make these shares of all training records; at least one each.

    Beside `train` records of questions there are n in all, so that n (1 - sum of shares) = train.
    """
    return [max(1, round(train * share / (1 - sum(shares)))) for share in shares]


def draw(records: Sequence[MixedRecord], count: int, seed: int) -> list[MixedRecord]:
    """At most `count` of the records, drawn by the seed and by what each says, never by their order."""
    return sorted(records, key=lambda record: hashing.digest(seed, "mix", texts(record)))[:count]


class Mixed(NamedTuple):
    records: list[MixedRecord]
    ledger: Json


def mix(sources: Sequence[Source], train: int, held: Held, seed: int, on_bad_row: str = "fail") -> Mixed:
    """What is mixed in with `train` records of questions, and mix_ledger.json.

    Its keys: `train`, `records` (mixed in), `share` of all; `looked_for`, numbers of held-out texts; and of
    each of the `sources` `file`, `sha256`, and rows `read`, which are those `dropped` by reason, `drawn` and
    `left`; the records `wanted`, the share `asked` for and the one that it has, and its dropped `rows` as
    `LedgerEntry`.

    Raises:
        UserError: see `read`; or nothing of a file is left.
    """
    made: list[MixedRecord] = []
    parts: list[Json] = []
    known: set[str] = set()
    counts = wanted([source.share for source in sources], train)
    for source, count in zip(sources, counts, strict=True):
        records, entries = read(source, on_bad_row)
        gone = screen(records, held, known)
        left = [record for record in records if record["id"] not in gone]
        reasons = Counter(reason for reason, _ in gone.values())
        if not left:
            said_so = ", ".join(f"{reason} {number}" for reason, number in sorted(reasons.items()))
            raise UserError(f"{source.path}: nothing is left to mix in ({said_so}); name another file")
        known.update(map(said, left))
        drawn = draw(left, count, seed)
        made += drawn
        entries = [LedgerEntry(*entry[:3], *gone.get(entry.id, entry[3:])) for entry in entries]
        dropped = [entry for entry in entries if entry.reason]
        parts.append(
            {
                "file": source.name,
                "sha256": hashing.sha256(source.path),
                "read": len(entries),
                "dropped": dict(sorted(Counter(entry.reason for entry in dropped).items())),
                "drawn": len(drawn),
                "left": len(left) - len(drawn),
                "wanted": count,
                "asked": source.share,
                "rows": [entry._asdict() for entry in dropped],
            }
        )
    total = train + len(made)
    for part in parts:
        part["share"] = part["drawn"] / total
    looked_for = {
        "questions": len(held.questions),
        "reading_passages": len({question.context for question in held.reading}),
        "reading_questions": len(held.reading),
    }
    if passages := {question.passage for question in held.questions if question.passage}:
        looked_for["passages"] = len(passages)
    counted = {"train": train, "records": len(made), "share": len(made) / total}
    return Mixed(made, counted | {"looked_for": looked_for, "sources": parts})


def shortfalls(ledger: Json) -> Iterator[str]:
    """A line for each source that holds fewer records than its share wants."""
    for part in ledger["sources"]:
        if part["drawn"] < part["wanted"]:
            yield (
                f"train.mix: {part['file']} has {part['drawn']:,} records for the {part['wanted']:,} of a "
                f"share of {part['asked']:g}; all are mixed in, a share of {part['share']:.3f}"
            )
