"""Rows of token ids in MindRecord shards: the one place where that format is known.

A shard is a pair of files, `x.mindrecord` and its index `x.mindrecord.db`, which holds the data file's name:
move or copy them together and never rename them.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import orjson

from mcqlora import io
from mcqlora.errors import UserError

ROWS_A_CALL = 1000  # a call costs as much as dozens of rows
PAGE = 1 << 18  # bytes; the library's 32 MiB make any small shard 50 MB
HEADER = 1 << 22  # bytes; room for about 18,000 pages, some 4 GiB of rows


def write_shard(
    rows: Iterable[Mapping[str, np.ndarray]],
    path: io.PathLike,
    columns: Sequence[str] = ("input_ids", "labels"),
) -> int:
    """Stream rows into the shard `path`, replacing one that is there; returns their number.

    Every column of every row is int32[n], n the same for the whole shard (a network takes no other). Both
    files are written to a directory beside `path` and moved into place when complete; the same rows give the
    same bytes.

    Raises:
        UserError: there is no row, or the library cannot write (a full disk, a shard too large).
        ValueError: a column is missing or not int32[n].
    """
    from mindspore.mindrecord import FileWriter

    path = Path(path)
    rows = iter(rows)
    first = next(rows, None)
    if first is None:
        raise UserError(f"{path}: no row falls to this shard; take fewer shards or more questions")
    shape = np.shape(first.get(columns[0]))[:1]
    first = _checked(first, columns, shape)
    rows = itertools.chain([first], (_checked(row, columns, shape) for row in rows))
    count = 0
    with _staged(path) as temporary, _library_errors(path, "cannot be written"):
        writer = FileWriter(str(temporary))
        # A row is stored whole in a page, in no more than its own bytes and a few for each column.
        writer.set_page_size(max(PAGE, 2 * sum(first[name].nbytes for name in columns)))
        writer.set_header_size(HEADER)
        writer.add_schema({name: {"type": "int32", "shape": [-1]} for name in columns}, "mcqlora")
        while batch := list(itertools.islice(rows, ROWS_A_CALL)):
            writer.write_raw_data(batch)
            count += len(batch)
        writer.commit()
    return count


def count_rows(paths: Iterable[io.PathLike]) -> int:
    """Number of rows in the shards, from their headers alone (no MindSpore needed).

    Raises:
        UserError: a shard is missing, cut off or no MindRecord file.
    """
    return sum(_header_rows(Path(path)) for path in paths)


def read_shard(paths: Iterable[io.PathLike]) -> Iterator[dict[str, np.ndarray]]:
    """Yield the rows of the shards in order, as given to `write_shard`; columns come sorted by name.

    Raises:
        UserError: a shard is missing, cut off or corrupt. (The library ends a cut-off file without a word.)
    """
    from mindspore.mindrecord import FileReader

    for path in map(Path, paths):
        expected, count = _header_rows(path), 0
        with (
            _library_errors(path, "is corrupt; delete it and its .db and run again"),
            contextlib.closing(FileReader([str(path)], num_consumer=1)) as reader,
        ):
            for row in reader.get_next():
                count += 1
                yield row
        if count != expected:
            raise _corrupt(path, f"{count} of {expected} rows can be read")


def _checked(
    row: Mapping[str, np.ndarray], columns: Sequence[str], shape: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """The row's columns, checked because the library leaves out a row that it dislikes and only logs it."""
    for name in columns:
        if name not in row or row[name].dtype != np.int32 or row[name].shape != shape:
            found = f"{row[name].dtype}{list(row[name].shape)}" if name in row else "missing"
            raise ValueError(f"column {name}: expected int32{list(shape)}, found {found}")
    return {name: row[name] for name in columns}


@contextlib.contextmanager
def _staged(path: Path) -> Iterator[Path]:
    """A place of the same file name (the index holds it) whose two files move to `path` on success."""
    path.parent.mkdir(parents=True, exist_ok=True)
    directory = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    try:
        yield directory / path.name
        mode = directory.stat().st_mode & 0o666  # the library makes its files private
        for name in (path.name, _index(path).name):
            (directory / name).chmod(mode)
            with open(directory / name, "rb") as file:
                os.fsync(file.fileno())
        path.unlink(missing_ok=True)  # never an old file beside a new index
        os.replace(directory / _index(path).name, _index(path))
        os.replace(directory / path.name, path)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _header_rows(path: Path) -> int:
    """Rows that a shard's header promises.

    The file starts with the length of the header's JSON, 8 bytes little-endian; pages of a fixed size follow
    the header, the last one cut after its data. A page of type BLOB_DATA knows the row after its last.
    """
    try:
        with open(path, "rb") as file:
            header = orjson.loads(file.read(int.from_bytes(file.read(8), "little")))
        pages = header["page"]
        last = max(pages, key=lambda page: page["page_id"])
        end = header["header_size"] + last["page_id"] * header["page_size"] + last["page_size"]
        rows = max(page["end_row_id"] for page in pages if page["page_type"] == "BLOB_DATA")
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such MindRecord shard; run the encoding again") from error
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, MemoryError, OverflowError) as error:
        raise _corrupt(path, "no MindRecord header") from error
    if path.stat().st_size < end:
        raise _corrupt(path, f"cut off at {path.stat().st_size} of {end} bytes")
    if not _index(path).exists():
        raise _corrupt(path, "its index .db is missing")
    return rows


@contextlib.contextmanager
def _library_errors(path: Path, what: str) -> Iterator[None]:
    from mindspore.mindrecord.common.exceptions import MindRecordException

    try:
        yield
    except (RuntimeError, MindRecordException) as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        reason = next((line for line in lines if line.startswith("[ERROR]")), lines[0] if lines else error)
        raise UserError(f"{path}: {what} ({reason})") from error


def _corrupt(path: Path, reason: str) -> UserError:
    return UserError(f"{path}: {reason}; delete it and its .db and run again")


def _index(path: Path) -> Path:
    return path.with_name(path.name + ".db")
