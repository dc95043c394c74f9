"""Rows of a file: CSV and its like, JSON, JSON Lines, Parquet, Arrow, Excel, plain or packed with gzip.

All are read in pieces. Text stays as it stands: "None", "007", outer spaces, embedded newlines and control
characters; a number of JSON keeps its digits. Only a byte order mark at the start of a file is removed.

`csv` and `json` of the standard library read text, since they know where a row stands and refuse a stray
quote; pyarrow reads Parquet and Arrow, openpyxl reads Excel.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from mcqlora.data.layouts import Layout, ending
from mcqlora.data.questions import LETTERS
from mcqlora.errors import UserError

CELL = 1 << 17  # characters; a longer one is no option but a lost quote
LINE = 1 << 24  # characters of a line, and of an element of a JSON array
OBJECT = 1 << 26  # characters of a file that is one JSON object
UNPACKED = 1 << 30  # bytes of a file that must be unpacked as a whole
ROWS = 1024  # of Parquet and Arrow at a time
DELIMITERS = ",;\t|"
_PIECE = 1 << 16
_HEAD = 1 << 16
_DECODER = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str)
_SPACE = " \t\r\n"
_MAGIC = (
    (b"version https://git-lfs", "a pointer of git-lfs; get the file itself: git lfs pull"),
    (b"<!doctype html", "an HTML page; get the file itself, for instance by its download button"),
    (b"<!DOCTYPE html", "an HTML page; get the file itself, for instance by its download button"),
    (b"<html", "an HTML page; get the file itself, for instance by its download button"),
    (b"PAR1", "Parquet; call it .parquet"),
    (b"ARROW1", "Arrow; call it .arrow"),
    (b"PK\3\4", "an Excel file or an archive; call it .xlsx or .zip"),
    (b"\x1f\x8b", "packed with gzip; call it .gz"),
    (b"\xd0\xcf\x11\xe0", "an old Excel file; save it as .xlsx"),
)


class Fault(NamedTuple):
    """What is wrong with a row: the reason for the ledger, and a remedy if one is better than to mend it."""

    reason: str
    detail: str
    remedy: str = ""


class Row(NamedTuple):
    """`line` counts from 1, 0 where there are no lines; values by column, or what is wrong."""

    line: int
    values: Mapping[str, Any]
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """`names` of the columns, None where each row has its own; `rows` are read as they are asked for."""

    names: list[str] | None
    rows: Iterator[Row]
    delimiter: str = ""  # of text


Open = Callable[[], IO[bytes]]
Fits = Callable[[list[str]], bool]  # whether a first row is as the layout says


@contextmanager
def opened(file: Path, named: Path, layout: Layout, fits: Fits, needed: Iterable[str]) -> Iterator[Table]:
    """The rows of `file`, of the kind that `named`, its name in messages, ends in.

    `fits` finds the delimiter; of Parquet and Arrow only the columns that are `needed` are read.

    Raises:
        UserError: the file cannot be read, is empty, or is of another kind; later, its rows cannot be told
            apart, for instance since it is damaged, not UTF-8, or has a quote that is not closed.
    """
    kind = ending(named.name)
    packed = named.name.lower().endswith(".gz")
    try:
        _refuse_other(file, kind, packed, named)
        with ExitStack() as stack:
            if kind in (".parquet", ".arrow", ".xlsx"):
                source = _unpacked(file) if packed else open(file, "rb")  # noqa: SIM115 (the stack closes it)
                binary = stack.enter_context(source)
                read = {".parquet": _parquet, ".arrow": _arrow, ".xlsx": _excel}[kind]
                table = read(
                    binary, named, {one.casefold() for name in needed for one in (name, name.split(".")[0])}
                )
            else:

                def start() -> IO[bytes]:
                    raw = stack.enter_context(open(file, "rb"))
                    return cast("IO[bytes]", gzip.GzipFile(fileobj=raw)) if packed else raw

                if "json" in kind:
                    table = _json(start, named, layout)
                else:
                    table = _delimited(start, named, kind, layout, fits)
            yield replace(table, rows=_guarded(table.rows, named))
    except UserError:
        raise
    except _broken() as error:
        raise _damaged(named, error) from error


def _broken() -> tuple[type[BaseException], ...]:
    """What libraries raise on bytes that are not of their format."""
    return (OSError, EOFError, zlib.error, ValueError, ArithmeticError, MemoryError, RecursionError)


def _guarded(rows: Iterator[Row], named: Path) -> Iterator[Row]:
    try:
        yield from rows
    except _broken() as error:
        raise _damaged(named, error) from error


def _damaged(named: Path, error: BaseException) -> UserError:
    if isinstance(error, OSError) and error.errno and error.strerror:
        return UserError(f"{named}: cannot read ({error.strerror}); mend permissions or remove it")
    reason = " ".join(str(error).split())[:100] or type(error).__name__
    return UserError(f"{named}: damaged ({reason}); get the file again or remove it")


def _refuse_other(file: Path, kind: str, packed: bool, named: Path) -> None:
    with gzip.open(file) if packed else open(file, "rb") as raw:
        head = raw.read(64)
    if not head:
        raise UserError(f"{named}: the file is empty; copy it again or remove it")
    own = {".parquet": b"PAR1", ".arrow": b"ARROW1", ".xlsx": b"PK\3\4"}.get(kind)
    for magic, what in _MAGIC:
        if magic != own and head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(magic):
            raise UserError(f"{named}: is {what}")


@contextmanager
def _unpacked(file: Path) -> Iterator[IO[bytes]]:
    with gzip.open(file) as packed, tempfile.TemporaryFile() as plain:
        for _ in range(UNPACKED // _PIECE):
            if not (piece := packed.read(_PIECE)):
                break
            plain.write(piece)
        else:
            raise ValueError(f"more than {UNPACKED} bytes")
        plain.seek(0)
        yield plain


def _delimited(start: Open, named: Path, kind: str, layout: Layout, fits: Fits) -> Table:
    csv.field_size_limit(CELL)  # a limit of the whole process, which other code may have raised
    delimiter = layout.delimiter or _delimiter(start, kind, layout, fits)
    rows = _cells(start, named, delimiter)
    names = layout.columns
    if not names:
        try:
            _, names = next(rows)
        except StopIteration:
            raise UserError(f"{named}: the file has no header; copy it again or remove it") from None
    return Table(names, _named_cells(rows, names, bool(layout.columns)), delimiter)


def _named_cells(rows: Iterator[tuple[int, list[str]]], names: list[str], given: bool) -> Iterator[Row]:
    """Rows by name; `given` says that the layout names the cells, not a header."""
    count = len(names)
    for line, cells in rows:
        if len(cells) == count:
            yield Row(line, dict(zip(names, cells, strict=True)))
        else:
            said = f"{len(cells)} cells instead of {count}"
            yield Row(line, {}, Fault("cells", said, _names_wanted(len(cells)) if given else ""))


def _names_wanted(count: int) -> str:
    """How to declare headerless rows of so many cells, as MMLU's with another number of options."""
    example = ["question", *LETTERS[: max(2, count - 2)], "answer"]
    return f"if the others have {count} too, name them in their order, as columns: [{', '.join(example)}]"


def _delimiter(start: Open, kind: str, layout: Layout, fits: Fits) -> str:
    """The one with which the first row is as the layout says; else the one that the file's ending means."""
    usual = "\t" if kind == ".tsv" else ","
    with start() as raw:
        head = raw.read(_HEAD).decode("utf-8-sig", "replace")
    for one in (usual, *DELIMITERS):
        try:
            rows = csv.reader(io.StringIO(head, newline=""), strict=True, delimiter=one)
            first = next((cells for cells in rows if cells), [])
        except csv.Error:
            continue
        if len(first) == len(layout.columns) if layout.columns else fits(first):
            return one
    return usual


def _cells(start: Open, named: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (first line, cells) of every row; blank lines are none."""
    text = io.TextIOWrapper(start(), "utf-8-sig", newline="")
    reader = csv.reader(_lines(text, named), strict=True, delimiter=delimiter)
    line, row = 1, -1
    try:
        for cells in reader:
            if cells:
                row += 1
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(
            f"{named}: row {row + 1} (from line {line}): not valid CSV ({error}); "
            "mend the quotes: a cell with a quote in it doubles that quote and stands in quotes"
        ) from error
    except UnicodeDecodeError as error:
        raise _not_utf8(start, named, error) from error


def _lines(text: io.TextIOWrapper, named: Path) -> Iterator[str]:
    for number in itertools.count(1):
        if not (line := text.readline(LINE)):
            return
        if "\0" in line:
            raise UserError(
                f"{named}: line {number}: a NUL byte; the file is damaged or UTF-16: copy it again as UTF-8"
            )
        yield line
        if len(line) == LINE:
            raise csv.Error(f"a line of more than {LINE} characters")


def _not_utf8(start: Open, named: Path, error: UnicodeDecodeError) -> UserError:
    """Which line it is: found anew, since text is decoded in pieces."""
    with start() as raw:
        for number, line in enumerate(raw, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as found:
                return UserError(
                    f"{named}: line {number}: not UTF-8 ({found.reason}); convert the file to UTF-8"
                )
    return UserError(f"{named}: not UTF-8 ({error.reason}); convert the file to UTF-8")


def _json(start: Open, named: Path, layout: Layout) -> Table:
    """An array of objects, an object per line, or one object, no row itself, with one list of objects."""
    row = (layout.column("question") or "").split(".")[0].casefold()

    def rows() -> Iterator[Row]:
        text = io.TextIOWrapper(start(), "utf-8-sig", newline="\n")
        try:
            first = text.readline(LINE)
            while first and not first.strip(_SPACE):
                first = text.readline(LINE)
            if first.lstrip(_SPACE).startswith("["):
                yield from _array(first, text, named)
            elif (found := _whole(first, text, row)) is not None:
                yield from (_object(0, one) for one in found)
            else:
                text = io.TextIOWrapper(start(), "utf-8-sig", newline="\n")
                for number, line in enumerate(iter(lambda: text.readline(LINE), ""), 1):
                    if len(line) == LINE:
                        raise ValueError(f"line {number} has more than {LINE} characters")
                    if line.strip(_SPACE):
                        yield _json_line(number, line)
        except UnicodeDecodeError as error:
            raise _not_utf8(start, named, error) from error

    return Table(None, rows())


def _json_line(number: int, line: str) -> Row:
    try:
        return _object(number, _DECODER.decode(line.strip(_SPACE)))
    except (ValueError, RecursionError) as error:
        return Row(number, {}, Fault("json", f"not valid JSON ({error})"))


def _object(line: int, value: object) -> Row:
    if isinstance(value, dict):
        return Row(line, value)
    return Row(line, {}, Fault("json", "no JSON object with keys"))


def _whole(first: str, text: IO[str], row: str) -> list[Any] | None:
    """The rows of a file that is one object, no row itself, with lists of objects; None if it is not."""
    try:
        _DECODER.decode(first.strip(_SPACE))
        if text.read(1):
            return None  # JSON Lines
    except (ValueError, RecursionError):
        first += text.read(OBJECT)
    try:
        value = _DECODER.decode(first.strip(_SPACE))
        if not isinstance(value, dict) or row in (name.strip().casefold() for name in value):
            return None
        return _within(value, {})
    except (ValueError, RecursionError):
        return None


def _within(value: dict[str, Any], around: dict[str, Any]) -> list[Any]:
    """The rows of the one list in an object, or of those in its objects, with what stands around them.

    Raises:
        ValueError: it has no list, or several, of which nothing says what they are.
    """
    around = around | {key: one for key, one in value.items() if not isinstance(one, dict | list)}
    lists = [one for one in value.values() if isinstance(one, list)]
    inner = [one for one in value.values() if isinstance(one, dict)]
    if len(lists) == 1 and not inner:
        return [around | one if isinstance(one, dict) else one for one in lists[0]]
    if lists or not inner:
        raise ValueError("no rows")
    return [row for one in inner for row in _within(one, around)]


def _array(first: str, text: IO[str], named: Path) -> Iterator[Row]:
    """The elements of an array, each decoded as soon as it is there."""
    buffer, at, row = first.lstrip(_SPACE), 1, 0

    def more() -> bool:
        nonlocal buffer, at
        piece = text.read(max(_PIECE, len(buffer) - at))  # twice as much each time: linear in all
        buffer, at = buffer[at:] + piece, 0
        return bool(piece)

    def next_character() -> str:
        nonlocal at
        while True:
            while at < len(buffer) and buffer[at] in _SPACE:
                at += 1
            if at < len(buffer) or not more():
                return buffer[at : at + 1]

    if next_character() == "]":
        at += 1
    else:
        while True:
            if not next_character():
                raise _cut(named, row, "it ends in the middle")
            while True:
                try:
                    value, end = _DECODER.raw_decode(buffer, at)
                except (ValueError, RecursionError) as error:
                    if len(buffer) - at > LINE or not more():
                        raise _cut(named, row, str(error)) from error
                    continue
                if end < len(buffer):
                    break
                if not more():  # else a number may go on
                    end = len(buffer)
                    break
            at = end
            yield _object(0, value)
            row += 1
            if (mark := next_character()) not in ("]", ","):
                raise _cut(
                    named, row, f"{mark!r} where , or ] has to be" if mark else "it ends in the middle"
                )
            at += 1
            if mark == "]":
                break
    if next_character():
        raise _cut(named, row, "something stands after its end")


def _cut(named: Path, row: int, reason: str) -> UserError:
    return UserError(f"{named}: row {row}: not valid JSON ({reason}); mend it or get the file again")


def _parquet(binary: IO[bytes], named: Path, needed: set[str]) -> Table:
    import pyarrow.parquet as parquet

    file = parquet.ParquetFile(binary, buffer_size=_PIECE, pre_buffer=False)
    names = file.schema_arrow.names
    wanted = [name for name in names if name.strip().casefold() in needed]
    return Table(names, _batches(file.iter_batches(ROWS, columns=wanted, use_threads=False)))


def _arrow(binary: IO[bytes], named: Path, needed: set[str]) -> Table:
    import pyarrow

    random_access = binary.read(6) == b"ARROW1"
    binary.seek(0)
    if random_access:
        file = pyarrow.ipc.open_file(binary)
        batches = (file.get_batch(number) for number in range(file.num_record_batches))
    else:
        file = batches = pyarrow.ipc.open_stream(binary)
    wanted = [name for name in file.schema.names if name.strip().casefold() in needed]

    def cut() -> Iterator[Any]:
        for batch in batches:
            kept = batch.select(wanted)
            kept.validate(full=True)  # offsets of a damaged file would lead out of its memory
            yield from (kept.slice(at, ROWS) for at in range(0, kept.num_rows, ROWS))

    return Table(file.schema.names, _batches(cut()))


def _batches(batches: Iterable[Any]) -> Iterator[Row]:
    for batch in batches:
        for values in batch.to_pylist():
            yield Row(0, values)


def _excel(binary: IO[bytes], named: Path, needed: set[str]) -> Table:
    import openpyxl

    try:
        book = openpyxl.load_workbook(binary, read_only=True, data_only=True)
        sheets = [(sheet.title, _sheet(sheet)) for sheet in book.worksheets]
        found = [(title, first, rows) for title, rows in sheets if (first := next(rows, None))]
    except Exception as error:  # it raises what its XML and zip readers raise, of a dozen kinds
        raise _damaged(named, error) from error
    if not found:
        raise UserError(f"{named}: no sheet has a row; save it again or remove it")
    if len(found) > 1:
        said = " and ".join(title for title, _, _ in found[:2])
        raise UserError(f"{named}: the sheets {said} both have rows; save each as a file of its own")
    _, (_, cells), rows = found[0]
    names = ["" if cell is None else str(cell) for cell in cells]
    while names and not names[-1]:
        names.pop()

    def named_rows() -> Iterator[Row]:
        try:
            for line, cells in rows:
                more = [cell for cell in cells[len(names) :] if cell is not None]
                values = dict(itertools.zip_longest(names, cells[: len(names)]))
                fault = Fault("cells", f"{len(names) + len(more)} cells instead of {len(names)}")
                yield Row(line, values, fault if more else None)
        except Exception as error:
            raise _damaged(named, error) from error

    return Table(names, named_rows())


def _sheet(sheet: Any) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """(line, cells) of every row that has any."""
    for line, cells in enumerate(sheet.iter_rows(values_only=True), 1):
        if any(cell is not None for cell in cells):
            yield line, cells
