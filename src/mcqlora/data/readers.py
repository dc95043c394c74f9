"""Read multiple-choice benchmarks from CSV and account for every row: kept, or dropped with a reason.

Two layouts are known, both with four options per question and UTF-8 text:

    mmlu    {path}/{dev,val,test}/{subject}_{split}.csv   no header; question, A, B, C, D, answer
    cmmlu   {path}/{dev,test}/{subject}.csv               header; index, Question, A, B, C, D, Answer

The path may also be an archive that holds these folders, see `storage.archives`.

Text is kept as it stands in the file, with outer spaces, embedded newlines and control characters. Only two
things are removed: a byte order mark at the start of a file, and white space around the answer's letter.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mcqlora.data.ledger import LedgerEntry
from mcqlora.data.questions import LETTERS, SPLITS, Question
from mcqlora.errors import UserError
from mcqlora.storage import archives

CELL = 1 << 17  # characters; a longer one is no option but a lost quote

# What pandas' read_csv (2.0 and later) turns into NaN by default, spelled out so that the imitation of the
# reference recipe does not move with pandas' releases.
PANDAS_NA = (
    frozenset({"", "#N/A", "#N/A N/A", "#NA", "N/A", "NA", "n/a", "<NA>", "NULL", "null", "None"})
    | {"NaN", "-NaN", "nan", "-nan"}
    | {"1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"}
)
_END_OF_ROW = re.compile(r',"?\s*[ABCD]\s*"?$')


@dataclass(frozen=True, slots=True)
class Source:
    """A benchmark's place."""

    root: str | Path  # the directory that `path` is relative to
    name: str  # the first part of every id
    layout: str  # "mmlu" or "cmmlu"
    path: str  # a folder, or an archive (.zip, .tar, .tar.gz, .tgz)
    language: str  # "en", "zh" or any other tag; copied to each question
    sha256: str | None = None  # the hex hash that the archive must have, if one is given


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How rows are read.

    `on_bad_row`: "fail" stops at the first bad row, "drop" puts it into the ledger. A file whose rows cannot
    be told apart (not UTF-8, NUL bytes, an open quote) always fails.
    """

    on_bad_row: str = "fail"
    first_row_lost: bool = False  # of every file without a header, as if it were taken for one
    pandas_na: bool = False  # options equal to one of pandas' default NA strings become the text "nan"


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a benchmark's files are and how a row is laid out."""

    ending: str  # of file names, after the subject
    header: tuple[str, ...] | None
    cells: int
    optional: tuple[str, ...] = ()  # of `SPLITS`


LAYOUTS = {
    "mmlu": Layout("_{split}.csv", None, 6),
    "cmmlu": Layout(".csv", ("", "Question", "A", "B", "C", "D", "Answer"), 7, ("val",)),
}


class _BadRow(ValueError):
    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def read_benchmark(source: Source, reading: Reading = Reading()) -> tuple[list[Question], list[LedgerEntry]]:
    """Read one benchmark: dev, then val, then test, files by name, rows as they stand.

    Returns:
        The questions kept and an entry for every row read, both in reading order. Blank lines are not rows.

    Raises:
        UserError: something is missing or malformed; names the file, the row (from 0) and the line.
    """
    name = source.name
    layout = LAYOUTS[source.layout]
    place = Path(source.root) / source.path
    archives.verify(place, source.sha256)
    questions: list[Question] = []
    entries: list[LedgerEntry] = []
    with archives.folder(place, SPLITS) as base:
        for split, subject, file in _files(base, place, source.layout):
            shown = (Path(source.path) / split / file.name).as_posix()
            named = place / split / file.name
            for row, (line, cells) in enumerate(_rows(file, named, layout)):
                entry = LedgerEntry(f"{name}/{subject}/{split}/{row}", shown, row)
                if reading.first_row_lost and layout.header is None and row == 0:
                    entries.append(entry._replace(reason="first_row_lost", detail="taken for a header"))
                    continue
                try:
                    texts = _checked(cells, layout, reading.pandas_na)
                except _BadRow as bad:
                    if reading.on_bad_row == "fail":
                        raise UserError(
                            f"{named}: row {row} (line {line}): {bad}; "
                            "mend the row or set read.on_bad_row: drop"
                        ) from None
                    entries.append(entry._replace(reason=bad.reason, detail=str(bad)))
                    continue
                entries.append(entry)
                questions.append(Question(entry.id, name, subject, split, row, source.language, *texts))
    return questions, entries


def _files(base: Path, place: Path, name: str) -> Iterator[tuple[str, str, Path]]:
    """Yield (split, subject, file); messages name `place`; `base` may be an unpacked copy of it."""
    if not base.is_dir():
        raise UserError(f"{place}: no such directory; point the benchmark's path at the CSV files")
    layout, found = LAYOUTS[name], False
    for split in SPLITS:
        directory = base / split
        if not directory.is_dir():
            if split in layout.optional:
                continue
            raise UserError(
                f"{place / split}: no such directory; layout {name} needs it, "
                "make it and leave it empty if the set has no such part"
            )
        ending = layout.ending.format(split=split)
        for file in sorted(directory.glob("*.csv"), key=lambda file: file.name):
            if file.name.startswith("."):
                continue  # a desktop's own litter, for instance "._anatomy.csv"
            subject = file.name.removesuffix(ending)
            if subject in (file.name, ""):
                raise UserError(
                    f"{place / split / file.name}: layout {name} expects a name that ends in {ending}; "
                    "rename or remove it"
                )
            if not subject.isprintable():  # nor are bytes that are no UTF-8
                raise UserError(f"{place / split!s}/{file.name!a}: its name is no line of text; rename it")
            found = True
            yield split, subject, file
    if not found:
        raise UserError(f"{place}: no CSV files in {', '.join(SPLITS)}; point the path at the CSV files")


def _rows(file: Path, named: Path, layout: Layout) -> Iterator[tuple[int, list[str]]]:
    """Yield (first line, cells) of every data row; the layout's header is checked and skipped."""
    text = _text(file, named)
    csv.field_size_limit(CELL)  # a limit of the whole process, which other code may have raised
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header = layout.header  # until it is read
    line, row = 1, 0
    try:
        for cells in reader:
            if cells and header:
                if tuple(cells[1:]) != header[1:]:
                    raise UserError(
                        f"{named}: the header is {','.join(cells)[:80]!r}, not {','.join(header)!r}; "
                        "add the header or choose layout mmlu for files without one"
                    )
                header = None
            elif cells:
                yield line, cells
                row += 1
            line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(
            f"{named}: row {row} (from line {line}): not valid CSV ({error}); "
            "mend the quotes: a cell with a quote in it doubles that quote and stands in quotes"
        ) from error
    if header:
        raise UserError(f"{named}: the file has no header; copy it again or remove it")


def _text(file: Path, named: Path) -> str:
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise UserError(f"{named}: cannot read ({error.strerror}); mend permissions or remove it") from error
    if not raw:
        raise UserError(f"{named}: the file is empty; copy it again or remove it")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{named}: line {line}: not UTF-8 ({error.reason}); convert the file to UTF-8"
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise UserError(
            f"{named}: line {line}: a NUL byte; the file is damaged or UTF-16: copy it again as UTF-8"
        )
    return text


def _checked(cells: list[str], layout: Layout, pandas_na: bool) -> tuple[str, list[str], str]:
    if len(cells) != layout.cells:
        raise _BadRow("cells", f"{len(cells)} cells instead of {layout.cells}")
    question, *options, answer = cells[-6:]
    if pandas_na:
        options = ["nan" if option in PANDAS_NA else option for option in options]
    answer = answer.strip()
    if len(answer) != 1 or answer not in LETTERS[:4]:
        raise _BadRow("answer", f"the answer is {answer[:20]!r}, not A, B, C or D")
    if not question.strip():
        raise _BadRow("empty_question", "the question is empty")
    broken = [(cell, 5 - place) for place, cell in enumerate(cells[-6:]) if "\n" in cell or "\r" in cell]
    if any(_holds_a_row(cell, after) for cell, after in broken):
        raise _BadRow("swallowed", "a cell holds a line that ends as a row does: a quote lacks its pair")
    for letter, option in zip(LETTERS, options, strict=False):
        if not option.strip():
            raise _BadRow("empty_option", f"option {letter} is empty")
    return question, options, answer


def _holds_a_row(cell: str, after: int) -> bool:
    """Whether a line inside a cell of several lines looks like a row: two stray quotes join several rows.

    The first line would be the rest of a row of which `after` cells follow, any other a row of its own.
    """
    return any(
        line.count(",") >= (5 if number else max(1, after)) and _END_OF_ROW.search(line)
        for number, line in enumerate(cell.splitlines()[:-1])
    )
