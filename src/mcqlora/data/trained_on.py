"""What another tool trained on: which held-out questions stand in it, in whatever form its rows have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from mcqlora import hashing
from mcqlora.data import duplicates, pieces
from mcqlora.data.leakage import TELLING, Sought
from mcqlora.data.questions import LETTERS, Question
from mcqlora.errors import UserError
from mcqlora.files import Json

# How a question is found in a row, in a reader's words, the surest first; see `look`.
DEFINITIONS = {
    "question_and_options": "its text and options, of which one may differ",
    "question_and_answer": "its text and its right option",
    "question_text": "its text, which is no general stem",
}


@dataclass(frozen=True, slots=True)
class Known:
    """What of a held-out question is looked for, folded."""

    text: str
    options: frozenset[str]
    right: str
    stem: bool  # the text says nothing of its own, see `duplicates.keys`


def read(path: Path) -> Iterator[Any]:
    """The rows of a training file: a JSON array, a JSON value per line, or Parquet.

    Of a JSON object its lists are taken for the rows.

    Raises:
        UserError: no such file, or a line or the whole is in no such form; names it.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(4)
    except OSError as error:
        raise UserError(f"{path}: cannot read ({error.strerror}); correct trained_on") from error
    if start == b"PAR1":
        yield from _parquet(path)
        return
    data = path.read_bytes()
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        if data.lstrip()[:1] == b"[":
            raise UserError(f"{path}: not valid JSON ({error}); fetch the file again") from error
        yield from _lines(path, data)
        return
    if isinstance(document, dict):
        lists = [part for part in document.values() if isinstance(part, list)]
        document = [row for part in lists for row in part] or [document]
    yield from document if isinstance(document, list) else [document]


def _lines(path: Path, data: bytes) -> Iterator[Any]:
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.strip():
            try:
                yield orjson.loads(line)
            except orjson.JSONDecodeError as error:
                kinds = "give JSON, JSONL or Parquet, or mend the line"
                raise UserError(f"{path}: line {number} is not valid JSON ({error}); {kinds}") from error


def _parquet(path: Path) -> Iterator[Any]:
    from pyarrow import ArrowException, parquet

    try:
        for batch in parquet.ParquetFile(path).iter_batches():
            yield from batch.to_pylist()
    except ArrowException as error:
        raise UserError(f"{path}: cannot read this Parquet file ({error}); fetch it again") from error


def known(questions: Sequence[Question]) -> dict[str, Known]:
    """{id: what is looked for} of `questions`, all of the run's: general stems are told by counting."""
    texts = duplicates.keys(questions)["question_text"]
    found = {}
    for question, text in zip(questions, texts, strict=True):
        options = [duplicates.fold(option) for option in question.options]
        right = options[LETTERS.index(question.answer)]
        whole = duplicates.fold(question.question)
        found[question.id] = Known(whole, frozenset(options), right, text is None)
    return found


def look(
    rows: Iterable[Any], parts: Mapping[str, Sequence[Question]], sought: Mapping[str, Known]
) -> tuple[int, dict[str, list[Json]]]:
    """How many rows there are, and the questions of each part that stand in one: {part: [{id, by, row}]}.

    A row says what all its texts say, so that Alpaca, messages and any other form are looked through alike.
    A question's text is looked for as `leakage.Sought` does, in the whole row and in each of its `pieces`.
    Where it stands, the row also needs all but one of the options, or the right one, as pieces of their own.
    The text alone does if it is long and no general stem. `row` counts from 0, the first in which it stands;
    `by` is a key of `DEFINITIONS`.
    """
    texts = Sought(question for questions in parts.values() for question in questions)
    place: dict[str, tuple[int, str]] = {}
    number = -1
    for number, row in enumerate(rows):
        said = list(pieces.strings(row))
        split = list(dict.fromkeys(("\n".join(said), *pieces.pieces(said))))
        ids = dict.fromkeys(one for piece in split for one in texts.within(piece) if one not in place)
        if ids:
            whole = {duplicates.fold(piece) for piece in split}
            place |= {one: (number, by) for one in ids if (by := _by(sought[one], whole))}
    return number + 1, {
        part: [
            {"id": question.id, "by": place[question.id][1], "row": place[question.id][0]}
            for question in questions
            if question.id in place
        ]
        for part, questions in parts.items()
    }


def _by(one: Known, whole: set[str]) -> str | None:
    if len(one.options & whole) >= max(2, len(one.options) - 1):
        return "question_and_options"
    if one.right in whole:
        return "question_and_answer"
    telling = len(one.text.encode()) >= TELLING and not one.stem
    return "question_text" if telling else None


def leaks(
    paths: Sequence[str | Path], parts: Mapping[str, Sequence[Question]], questions: Sequence[Question]
) -> Json:
    """What of the held-out `parts` stands in the training files of a model.

    Returns:
        `files`: of each file `file`, `sha256`, `rows` and the found of each part, see `look`; of each part
        `questions`, `found` and `found_by` {definition: count} over all files; `ids` of all that were found.
    """
    sought = known(questions)
    made: list[Json] = []
    for path in paths:
        rows, found = look(read(Path(path)), parts, sought)
        made.append({"file": str(path), "sha256": hashing.sha256(path), "rows": rows, **found})
    result: Json = {"files": made}
    for part, asked in parts.items():
        by = {one["id"]: one["by"] for file in reversed(made) for one in file[part]}
        counts = Counter(by.values())
        numbers = {name: counts[name] for name in DEFINITIONS}
        result[part] = {"questions": len(asked), "found": len(by), "found_by": numbers}
        result.setdefault("ids", []).extend(sorted(by))
    return result


def said(model: str, found: Json) -> Iterator[str]:
    """A line for each part: how many of its questions stand in what the model was trained on."""
    rows = sum(file["rows"] for file in found["files"])
    for part in ("test", "valid"):
        counts = found[part]
        by = ", ".join(f"{name} {count}" for name, count in counts["found_by"].items() if count)
        of = f"{counts['found']} of {counts['questions']} {part} questions stand in the {rows:,} rows"
        yield f"{model}: {of} that it was trained on{f' (by {by})' if by else ''}"
