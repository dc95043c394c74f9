"""Rows of token ids in MindRecord shards: the one place where that format is known.

A shard is a pair of files, `x.mindrecord` and its index `x.mindrecord.db`, which holds the data file's name:
move or copy them together and never rename them.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import orjson

from mcqlora import files, hashing
from mcqlora.errors import UserError

BATCH = 128  # rows that are compressed together
COLUMNS = ("input_ids", "labels")
PAGE = 1 << 18  # bytes; the library's 32 MiB make any small shard 50 MB
HEADER = 1 << 22  # bytes; room for about 18,000 pages, some 4 GiB of compressed rows

Columns = Mapping[str, np.ndarray]  # of a row, or of a batch of rows, by name


def write_shard(rows: Iterable[Columns], path: files.PathLike, names: Sequence[str] = COLUMNS) -> int:
    """Stream rows, every column int32[n], into the shard `path`; see `write_batches`."""
    return write_batches(_stacked(iter(rows), names), path, names)


def write_batches(batches: Iterable[Columns], path: files.PathLike, names: Sequence[str] = COLUMNS) -> int:
    """Stream batches of rows into the shard `path`, replacing one that is there; returns the number of rows.

    Every column of a batch is int32[rows, n], n the same for the whole shard (a network takes no other). Both
    files are written to a directory beside `path` and moved into place when complete; the same rows give the
    same bytes, whatever the batches.

    Writes the format itself, byte for byte as `mindspore.mindrecord.FileWriter` does when it gets all rows in
    one call. On real rows that writer takes three times as long (twice for packed rows), and importing it
    costs a process 1.6 CPU seconds and 350 MB.

    Raises:
        UserError: there is no row, the shard is too large, or the disk is full.
        ValueError: a column is missing or not int32[rows, n].
    """
    path, names = Path(path), sorted(names)
    filled = (batch for batch in _checked(batches, names) if len(batch[0]))
    first = next(filled, None)
    if first is None:
        raise UserError(f"{path}: no row falls to this shard; take fewer shards or more questions")
    # A row is stored whole in a page, in no more than its own bytes and a few for each column.
    shard = _Shard(path.name, names, max(PAGE, 2 * sum(column[0].nbytes for column in first)))
    with files.disk_errors(path), _staged(path) as temporary:
        with open(temporary, "wb", files.BUFFER) as file:
            for batch in itertools.chain([first], filled):
                shard.append(file, batch)
            shard.finish(file)
        try:
            _write_index(_index(temporary), path.name, shard.places())
        except sqlite3.Error as error:
            raise UserError(f"{path}: cannot write its index ({error}); free space and run again") from error
    return len(shard.sizes)


def _stacked(rows: Iterator[Columns], names: Sequence[str]) -> Iterator[Columns]:
    """Rows as batches."""
    shape: tuple[int, ...] | None = None
    while batch := list(itertools.islice(rows, BATCH)):
        shape = np.shape(batch[0].get(names[0])) if shape is None else shape
        yield {name: np.stack([_column(row, name, shape) for row in batch]) for name in names}


def _checked(batches: Iterable[Columns], names: Sequence[str]) -> Iterator[list[np.ndarray]]:
    """The columns of batches."""
    length: tuple[int | str, ...] | None = None
    for batch in batches:
        shape = np.shape(batch.get(names[0]))
        if length is None:
            length = shape[1:] if len(shape) == 2 else ("n",)
        yield [_column(batch, name, (*shape[:1], *length)) for name in names]


def _column(columns: Columns, name: str, shape: tuple[int | str, ...]) -> np.ndarray:
    """Raises: ValueError: the column is missing or not int32 of this shape."""
    column = columns.get(name)
    if column is None or column.dtype != np.int32 or column.shape != shape:
        found = "missing" if column is None else f"{column.dtype}{list(column.shape)}"
        raise ValueError(f"column {name}: expected int32[{', '.join(map(str, shape))}], found {found}")
    return column


class _Shard:
    """A data file in the making: a header, pages of blobs (the rows), pages of raw data (their numbers).

    A blob is its length and, for each column by name, the length of the compressed values, their number and
    the values (`_compressed`). A page holds whole blobs. As every row needs raw data and has none, each gets
    the MessagePack of {"id": 0}. Page numbers go through both kinds; a row group is the rows of a blob page.
    """

    RAW = (5).to_bytes(8, "little") + b"\x81\xa2id\x00"

    def __init__(self, name: str, columns: Sequence[str], page_size: int) -> None:
        self.name, self.columns, self.page_size = name, columns, page_size
        self.sizes: list[int] = []  # bytes of each row's blob
        self.saved = 0  # bytes that compression saved
        self.groups = [0]  # the first row of each blob page
        self.raw: list[list[int]] = [[]]  # the row groups of each page of raw data
        self.filled = 0  # bytes of the last blob page

    def append(self, file: IO[bytes], batch: Sequence[np.ndarray]) -> None:
        """Write rows: of each column, int32[rows, n]."""
        for parts in zip(*map(_compressed, batch), strict=True):
            blob = b"".join(parts)
            if self.filled + len(blob) + 8 > self.page_size:
                self.groups.append(len(self.sizes))
                self.filled = 0
            if self.filled == 0:
                file.seek(HEADER + (len(self.groups) - 1) * self.page_size)
            self.filled += file.write(len(blob).to_bytes(8, "little") + blob)
            self.sizes.append(len(blob) + 8)
        count = len(batch[0])
        plain = count * 8 + sum(count * 8 + column.nbytes for column in batch)
        self.saved += plain - sum(self.sizes[-count:])

    def finish(self, file: IO[bytes]) -> None:
        """Write the pages of raw data and the header."""
        ends = [*self.groups[1:], len(self.sizes)]
        pages = [
            _page("BLOB_DATA", number, number, sum(self.sizes[first:end]), first, end, [(0, 0)])
            for number, (first, end) in enumerate(zip(self.groups, ends, strict=True))
        ]
        length = 0
        for group, (first, end) in enumerate(zip(self.groups, ends, strict=True)):
            size = (end - first) * len(self.RAW)
            if length + size > self.page_size:
                self.raw.append([])
                length = 0
            self.raw[-1].append(group)
            length += size
        for number, groups in enumerate(self.raw, len(self.groups)):
            first, end = self.groups[groups[0]], ends[groups[-1]]
            offsets = [(group, (self.groups[group] - first) * len(self.RAW)) for group in groups]
            kind = 0 if number == len(self.groups) else number
            pages.append(_page("RAW_DATA", number, kind, (end - first) * len(self.RAW), 0, 0, offsets))
            file.seek(HEADER + number * self.page_size)
            file.write(self.RAW * (end - first))
        schema = {name: {"shape": [-1], "type": "int32"} for name in self.columns}
        header = {
            "header_size": HEADER,
            "index_fields": None,
            "page": pages,
            "page_size": self.page_size,
            "compression_size": max(0, self.saved),
            "schema": [{"blob_fields": self.columns, "desc": "mcqlora", "schema": schema}],
            "shard_addresses": [self.name],
            "shard_id": 0,
            "statistics": None,
            "version": "3.0",
        }
        data = orjson.dumps(header)
        if len(data) + 8 > HEADER:
            raise UserError(f"{self.name}: too large for one shard; raise encode.shards")
        file.seek(0)
        file.write(len(data).to_bytes(8, "little") + data)

    def places(self) -> Iterator[tuple[int, ...]]:
        """Rows of the index: row, its raw data (page, start, end), its group, its blob (page, start, end)."""
        ends = [*self.groups[1:], len(self.sizes)]
        for number, groups in enumerate(self.raw, len(self.groups)):
            raw = 0
            for group in groups:
                blob = 0
                for row in range(self.groups[group], ends[group]):
                    raw_end, blob_end = raw + len(self.RAW), blob + self.sizes[row]
                    yield row, number, raw, raw_end, group, group, blob, blob_end
                    raw, blob = raw_end, blob_end


def _page(kind: str, number: int, kind_number: int, size: int, first: int, end: int, groups: list) -> dict:
    return {
        "end_row_id": end,
        "page_id": number,
        "page_size": size,
        "page_type": kind,
        "page_type_id": kind_number,
        "row_group_ids": [{"id": group, "offset": offset} for group, offset in groups],
        "shard_id": 0,
        "start_row_id": first,
    }


# A value of code 0, 1 or 2 takes the first 1, 2 or 4 of its bytes: which, as four booleans in a uint32.
TAKEN = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1]], np.uint8).view(np.uint32).ravel()


def _compressed(values: np.ndarray) -> list[bytes]:
    """int32[rows, n] as MindRecord stores each row: its length, n, the codes, the values.

    A value takes 1, 2 or 4 bytes, little-endian; codes are 2 bits each (0, 1, 2), the first one highest. What
    follows a row's last value of more than a byte is padding, and is copied as it is.
    """
    count, n = values.shape
    size = -(-n // 4) * 4  # four codes a byte
    tail = values.astype(np.int8)
    last = int(np.flatnonzero((values != tail).any(0)).max(initial=0))
    width = last // 4 * 4 + 4  # what follows is padding in every row
    filled = np.zeros((count, width), "<i4")
    filled[:, :n] = values[:, :width]
    wide, wider = filled != filled.astype(np.int8), filled != filled.astype(np.int16)
    used = np.where(wide.any(1), -(-(width - wide[:, ::-1].argmax(1)) // 4) * 4, 0)
    lengths = used + np.count_nonzero(wide, axis=1) + 2 * np.count_nonzero(wider, axis=1)
    within = np.arange(width) < used[:, None]
    codes = (wide.view(np.uint8) + wider.view(np.uint8))[within]
    codes_packed = (codes[0::4] << 6 | codes[1::4] << 4 | codes[2::4] << 2 | codes[3::4]).tobytes()
    head = np.compress(TAKEN.take(codes).view(bool), filled[within].view(np.uint8)).tobytes()
    head_row, found, code, start = n.to_bytes(4, "big"), [], 0, 0
    for row, (ids, length) in enumerate(zip(used.tolist(), lengths.tolist(), strict=True)):
        code_end, end = code + ids // 4, start + length
        parts = (
            head_row,
            codes_packed[code:code_end].ljust(size // 4, b"\0"),
            head[start : end - max(0, ids - n)],
            tail[row, ids:].tobytes(),
        )
        data = b"".join(parts)
        found.append(len(data).to_bytes(8, "big") + data)
        code, start = code_end, end
    return found


def _write_index(path: Path, name: str, places: Iterable[tuple[int, ...]]) -> None:
    columns = (
        "ROW_ID PAGE_ID_RAW PAGE_OFFSET_RAW PAGE_OFFSET_RAW_END "
        "ROW_GROUP_ID PAGE_ID_BLOB PAGE_OFFSET_BLOB PAGE_OFFSET_BLOB_END"
    ).split()
    with contextlib.closing(sqlite3.connect(path)) as index, index:
        fields = ", ".join(f"{column} INT NOT NULL" for column in columns)
        index.execute(f"CREATE TABLE INDEXES({fields}, PRIMARY KEY(ROW_ID))")
        index.execute("CREATE TABLE SHARD_NAME(NAME TEXT NOT NULL)")
        index.execute("INSERT INTO SHARD_NAME VALUES (?)", (name,))
        index.executemany(f"INSERT INTO INDEXES VALUES ({', '.join('?' * len(columns))})", places)


def count_rows(paths: Iterable[files.PathLike]) -> int:
    """Number of rows in the shards, from their headers alone (no MindSpore needed).

    Raises:
        UserError: a shard is missing, cut off or no MindRecord file.
    """
    return sum(_header_rows(Path(path)) for path in paths)


def hashes(path: files.PathLike) -> dict[str, str]:
    """Hex SHA-256 of a shard's two files, {"data", "index"}."""
    path = Path(path)
    return {"data": hashing.sha256(path), "index": hashing.sha256(_index(path))}


def verified(paths: Iterable[files.PathLike], written: Iterable[Mapping[str, str]]) -> list[str]:
    """The hashes of the shards' data, when those and their indexes are as `written` (of `hashes`) says.

    MindRecord has no checksum of its own: a changed byte is another id, or another row, without a word.

    Raises:
        UserError: a shard is missing, cut off, or was changed after it was written.
    """
    found = []
    for path, expected in zip(map(Path, paths), written, strict=True):
        _header_rows(path)
        now = hashes(path)
        for part, file in (("data", path), ("index", _index(path))):
            if now[part] != expected[part]:
                raise _corrupt(path, f"{file.name} was changed after it was written (another sha256)")
        found.append(now["data"])
    return found


def read_shard(paths: Iterable[files.PathLike]) -> Iterator[dict[str, np.ndarray]]:
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
