"""Read multiple-choice benchmarks from CSV and account for every row: kept, or dropped with a reason.

Two layouts are known, both of four options a question and UTF-8 text:

    mmlu    {path}/{dev,val,test}/{subject}_{split}.csv   no header; question, A, B, C, D, answer
    cmmlu   {path}/{dev,test}/{subject}.csv               header; index, Question, A, B, C, D, Answer

The path may also be an archive that holds these folders, see `archives`.

Text is kept as it stands in the file, outer spaces, embedded newlines and control characters included; only a
byte order mark at the start of a file and white space around the answer's letter are taken away.
"""

from __future__ import annotations

import csv
import io as text_io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mcqlora.data.ledger import LedgerEntry
from mcqlora.data.questions import LETTERS, SPLITS
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


class Layout(NamedTuple):
    """Where a benchmark's files are and how a row is laid out."""

    splits: tuple[str, ...]
    optional: tuple[str, ...]
    suffix: bool
    header: tuple[str, ...] | None

    @property
    def cells(self) -> int:
        return 6 if self.header is None else len(self.header)


LAYOUTS = {
    "mmlu": Layout(splits=SPLITS, optional=(), suffix=True, header=None),
    "cmmlu": Layout(
        splits=SPLITS, optional=("val",), suffix=False, header=("", "Question", "A", "B", "C", "D", "Answer")
    ),
}


class _BadRow(ValueError):
    def __init__(self, reason: str, detail: str):
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def read_benchmark(
    root: Path,
    name: str,
    layout: str,
    path: str,
    language: str,
    *,
    sha256: str | None = None,
    first_row_lost: bool = False,
    pandas_na: bool = False,
    on_bad_row: str = "fail",
) -> tuple[list[dict], list[LedgerEntry]]:
    """Read one benchmark: dev, then val, then test, files by name, rows as they stand.

    Args:
        root: directory that `path` is relative to.
        name: the benchmark's name, the first part of every id.
        layout: "mmlu" or "cmmlu".
        path: a folder, or an archive (.zip, .tar, .tar.gz, .tgz).
        language: "en", "zh" or any other tag; copied to each question.
        sha256: hex hash that the archive must have.
        first_row_lost: drop the first row of every headerless file, as if it were taken for a header.
        pandas_na: options equal to one of pandas' default NA strings become the text "nan".
        on_bad_row: "fail" stops at the first bad row, "drop" puts it into the ledger. A file whose rows
            cannot be told apart (not UTF-8, NUL bytes, an open quote) always fails.

    Returns:
        The questions kept and an entry for every row read, both in reading order. Blank lines are not rows.

    Raises:
        UserError: something is missing or malformed; names the file, the zero-based data row and the line.
    """
    if layout not in LAYOUTS:
        raise UserError(f"benchmark {name}: unknown layout {layout!r}; choose one of {', '.join(LAYOUTS)}")
    if on_bad_row not in ("fail", "drop"):
        raise UserError(f"benchmark {name}: on_bad_row is {on_bad_row!r}; choose fail or drop")
    shape = LAYOUTS[layout]
    place = Path(root) / path
    archives.verify(place, sha256)
    questions, entries = [], []
    with archives.folder(place, shape.splits) as base:
        for split, subject, file in _files(base, place, shape, layout):
            shown = (Path(path) / split / file.name).as_posix()
            named = place / split / file.name
            for row, (line, cells) in enumerate(_rows(file, named, shape)):
                identity = f"{name}/{subject}/{split}/{row}"
                if first_row_lost and shape.header is None and row == 0:
                    entries.append(LedgerEntry(identity, shown, row, "first_row_lost", "taken for a header"))
                    continue
                try:
                    question, options, answer = _checked(cells, shape, pandas_na)
                except _BadRow as bad:
                    if on_bad_row == "fail":
                        raise UserError(
                            f"{named}: row {row} (line {line}): {bad.detail}; "
                            "mend the row or set read.on_bad_row: drop"
                        ) from None
                    entries.append(LedgerEntry(identity, shown, row, bad.reason, bad.detail))
                    continue
                entries.append(LedgerEntry(identity, shown, row))
                questions.append(
                    {
                        "id": identity,
                        "benchmark": name,
                        "subject": subject,
                        "split": split,
                        "row": row,
                        "language": language,
                        "question": question,
                        "options": options,
                        "answer": answer,
                    }
                )
    return questions, entries


def _files(base: Path, place: Path, shape: Layout, layout: str) -> Iterator[tuple[str, str, Path]]:
    """Yield (split, subject, file); messages name `place`, of which `base` may be an unpacked copy."""
    if not base.is_dir():
        raise UserError(f"{place}: no such directory; point the benchmark's path at the CSV files")
    found = False
    for split in shape.splits:
        directory = base / split
        if not directory.is_dir():
            if split in shape.optional:
                continue
            raise UserError(
                f"{place / split}: no such directory; layout {layout} needs it, "
                "make it and leave it empty if the set has no such part"
            )
        ending = f"_{split}.csv" if shape.suffix else ".csv"
        for file in sorted(directory.glob("*.csv"), key=lambda file: file.name):
            if file.name.startswith("."):
                continue  # a desktop's own litter, for instance "._anatomy.csv"
            subject = file.name.removesuffix(ending)
            if subject in (file.name, ""):
                raise UserError(
                    f"{place / split / file.name}: layout {layout} expects a name that ends in {ending}; "
                    "rename or remove it"
                )
            if not subject.isprintable():  # nor are bytes that are no UTF-8
                raise UserError(f"{place / split!s}/{file.name!a}: its name is no line of text; rename it")
            found = True
            yield split, subject, file
    if not found:
        raise UserError(
            f"{place}: no CSV files in {', '.join(shape.splits)}; point the path at the CSV files"
        )


def _rows(file: Path, named: Path, shape: Layout) -> Iterator[tuple[int, list[str]]]:
    """Yield (first line, cells) of every data row; the layout's header is checked and skipped."""
    text = _text(file, named)
    csv.field_size_limit(CELL)  # a limit of the whole process, which others raise
    reader = csv.reader(text_io.StringIO(text, newline=""), strict=True)
    header_due = shape.header is not None
    row = 0
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise UserError(
                f"{named}: row {row} (from line {line}): not valid CSV ({error}); "
                "mend the quotes: a cell that holds one doubles it and stands in quotes"
            ) from error
        if cells is None:
            break
        if not cells:
            continue
        if header_due:
            header_due = False
            if tuple(cells[1:]) != shape.header[1:]:
                raise UserError(
                    f"{named}: the header is {','.join(cells)[:80]!r}, not {','.join(shape.header)!r}; "
                    "add the header or choose layout mmlu for files without one"
                )
            continue
        yield line, cells
        row += 1
    if header_due:
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


def _checked(cells: list[str], shape: Layout, pandas_na: bool) -> tuple[str, list[str], str]:
    if len(cells) != shape.cells:
        raise _BadRow("cells", f"{len(cells)} cells instead of {shape.cells}")
    question, *options, answer = cells[-6:]
    if pandas_na:
        options = ["nan" if option in PANDAS_NA else option for option in options]
    answer = answer.strip()
    if len(answer) != 1 or answer not in LETTERS:
        raise _BadRow("answer", f"the answer is {answer[:20]!r}, not A, B, C or D")
    if not question.strip():
        raise _BadRow("empty_question", "the question is empty")
    broken = [(cell, 5 - place) for place, cell in enumerate(cells[-6:]) if "\n" in cell or "\r" in cell]
    if any(_holds_a_row(cell, after) for cell, after in broken):
        raise _BadRow("swallowed", "a cell holds a line that ends as a row does: a quote lacks its pair")
    for letter, option in zip(LETTERS, options, strict=True):
        if not option.strip():
            raise _BadRow("empty_option", f"option {letter} is empty")
    return question, options, answer


def _holds_a_row(cell: str, after: int) -> bool:
    """Whether a line inside a cell of several lines looks like a row: two stray quotes make one of several.

    The first line is the rest of a row of which `after` cells follow; any other is a row of its own.
    """
    inner = cell.splitlines()[:-1]
    commas = [max(1, after), *[5] * len(inner)]
    return any(
        line.count(",") >= least and _END_OF_ROW.search(line)
        for line, least in zip(inner, commas, strict=False)
    )
