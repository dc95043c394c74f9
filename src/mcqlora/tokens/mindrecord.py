"""Rows of token ids to MindRecord shards, and shards counted and verified, without MindSpore.

A shard is a pair of files, `x.mindrecord` and its index `x.mindrecord.db`. The index holds the data file's
name: move or copy them together and never rename them.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import orjson

from mcqlora import files, hashing
from mcqlora.errors import UserError
from mcqlora.tokens.layout import COLUMNS, HEADER, PAGE

Columns = Mapping[str, np.ndarray]  # of a batch of rows, by name


def write_batches(
    batches: Iterable[Columns], path: files.PathLike, names: Sequence[str] = COLUMNS["padded"]
) -> int:
    """Stream batches of rows into the shard `path`, replacing one that is there; returns the number of rows.

    Every column of a batch is int32[rows, n], with the same n for the whole shard. Both files are written to
    a directory beside `path` and moved into place when complete. The same rows give the same bytes, whatever
    the batches.

    The bytes are those of `mindspore.mindrecord.FileWriter` when it gets all rows in one call. On real rows
    that writer takes three times as long (twice for packed rows), and importing it costs a process 1.6 CPU
    seconds and 350 MB.

    Raises:
        UserError: there is no row, the shard is too large, or the disk is full.
        ValueError: a column is missing or not int32[rows, n].
    """
    path, names = Path(path), sorted(names)
    filled = (batch for batch in _checked(batches, names) if len(batch[0]))
    first = next(filled, None)
    if first is None:
        raise UserError(f"{path}: no row falls to this shard; take fewer shards or more questions")
    shard = _Shard(path.name, names, sum(column[0].nbytes for column in first))
    with files.disk_errors(path), _staged(path) as temporary:
        with open(temporary, "wb", files.BUFFER) as file:
            for batch in itertools.chain([first], filled):
                shard.append(file, batch)
            shard.finish(file)
        try:
            _write_index(index_of(temporary), path.name, shard.places())
        except sqlite3.Error as error:
            raise UserError(f"{path}: cannot write its index ({error}); free space and run again") from error
    return len(shard.sizes)


def _checked(batches: Iterable[Columns], names: Sequence[str]) -> Iterator[list[np.ndarray]]:
    """The columns of batches, in the order of `names`."""
    length: tuple[int | str, ...] = ()
    for batch in batches:
        first = batch[names[0]].shape if names[0] in batch else ()
        length = length or (first[1:] if len(first) == 2 else ("n",))
        shape = (*first[:1], *length)
        for name in names:
            column = batch.get(name)
            if column is None or column.dtype != np.int32 or column.shape != shape:
                found = "missing" if column is None else f"{column.dtype}{list(column.shape)}"
                raise ValueError(
                    f"column {name}: expected int32[{', '.join(map(str, shape))}], found {found}"
                )
        yield [batch[name] for name in names]


class _Shard:
    """A data file in the making: a header, pages of blobs (the rows), pages of raw data (their numbers).

    A blob is its length and, for each column by name, the length of the compressed values, their number and
    the values (`_compressed`). A page holds whole blobs. Every row needs raw data and has none, so each gets
    the MessagePack of {"id": 0}. Both kinds of pages share one numbering; a row group is the rows of a blob
    page.
    """

    RAW = (5).to_bytes(8, "little") + b"\x81\xa2id\x00"

    def __init__(self, name: str, columns: Sequence[str], row: int) -> None:
        self.name, self.columns, self.row = name, columns, row  # bytes of a row's values
        # A row is stored whole in a page, in no more than its own bytes and a few for each column.
        self.page_size = max(PAGE, 2 * row)
        self.sizes: list[int] = []  # bytes of each row's blob
        self.groups: list[int] = []  # the first row of each blob page
        self.raw: list[list[int]] = []  # the row groups of each page of raw data
        self.filled = 0  # bytes of the last blob page

    def append(self, file: IO[bytes], batch: Sequence[np.ndarray]) -> None:
        """Write rows: of each column, int32[rows, n]."""
        for parts in zip(*map(_compressed, batch), strict=True):
            blob = b"".join(parts)
            if not self.groups or self.filled + len(blob) + 8 > self.page_size:
                file.seek(HEADER + len(self.groups) * self.page_size)
                self.groups.append(len(self.sizes))
                self.filled = 0
            self.filled += file.write(len(blob).to_bytes(8, "little") + blob)
            self.sizes.append(len(blob) + 8)

    def finish(self, file: IO[bytes]) -> None:
        """Write the pages of raw data and the header."""
        ends = [*self.groups[1:], len(self.sizes)]
        pages = [
            _page("BLOB_DATA", number, number, sum(self.sizes[first:end]), first, end, [(0, 0)])
            for number, (first, end) in enumerate(zip(self.groups, ends, strict=True))
        ]
        for group, end in enumerate(ends):
            if not self.raw or (end - self.groups[self.raw[-1][0]]) * len(self.RAW) > self.page_size:
                self.raw.append([])
            self.raw[-1].append(group)
        for number, groups in enumerate(self.raw, len(self.groups)):
            first, end = self.groups[groups[0]], ends[groups[-1]]
            offsets = [(group, (self.groups[group] - first) * len(self.RAW)) for group in groups]
            kind = 0 if number == len(self.groups) else number
            pages.append(_page("RAW_DATA", number, kind, (end - first) * len(self.RAW), 0, 0, offsets))
            file.seek(HEADER + number * self.page_size)
            file.write(self.RAW * (end - first))
        plain = len(self.sizes) * (8 + 8 * len(self.columns) + self.row)
        schema = {name: {"shape": [-1], "type": "int32"} for name in self.columns}
        header = {
            "header_size": HEADER,
            "index_fields": None,
            "page": pages,
            "page_size": self.page_size,
            "compression_size": max(0, plain - sum(self.sizes)),
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
    size = -(-n // 4) * 4  # four codes per byte
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
    raw, blob = (f"PAGE_ID_{page} PAGE_OFFSET_{page} PAGE_OFFSET_{page}_END" for page in ("RAW", "BLOB"))
    columns = f"ROW_ID {raw} ROW_GROUP_ID {blob}".split()
    with contextlib.closing(sqlite3.connect(path)) as index, index:
        fields = ", ".join(f"{column} INT NOT NULL" for column in columns)
        index.execute(f"CREATE TABLE INDEXES({fields}, PRIMARY KEY(ROW_ID))")
        index.execute("CREATE TABLE SHARD_NAME(NAME TEXT NOT NULL)")
        index.execute("INSERT INTO SHARD_NAME VALUES (?)", (name,))
        index.executemany(f"INSERT INTO INDEXES VALUES ({', '.join('?' * len(columns))})", places)


@contextlib.contextmanager
def _staged(path: Path) -> Iterator[Path]:
    """A place of the same file name (the index holds it) whose two files move to `path` on success."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as directory:
        made = Path(directory, path.name)
        yield made
        index_of(made).chmod(made.stat().st_mode)  # SQLite gives the group no right to write
        for part in (made, index_of(made)):
            with open(part, "rb") as file:
                os.fsync(file.fileno())
        path.unlink(missing_ok=True)  # never an old file beside a new index
        os.replace(index_of(made), index_of(path))
        os.replace(made, path)


def hashes(path: files.PathLike) -> dict[str, str]:
    """Hex SHA-256 of a shard's two files, {"data", "index"}."""
    path = Path(path)
    return {"data": hashing.sha256(path), "index": hashing.sha256(index_of(path))}


def index_of(path: Path) -> Path:
    """The index file of a shard."""
    return path.with_name(path.name + ".db")


def count_rows(paths: Iterable[files.PathLike]) -> int:
    """Number of rows in the shards, from their headers alone.

    Raises:
        UserError: a shard is missing, cut off or no MindRecord file.
    """
    return sum(_header_rows(Path(path)) for path in paths)


def verified(paths: Iterable[files.PathLike], written: Iterable[Mapping[str, str]]) -> list[str]:
    """The hashes of the shards' data, if data and indexes still have the hashes `written` (of `hashes`).

    MindRecord has no checksum of its own: a changed byte would silently be another id or another row.

    Raises:
        UserError: a shard is missing, cut off, or was changed after it was written.
    """
    found: list[str] = []
    for path, expected in zip(map(Path, paths), written, strict=True):
        _header_rows(path)
        now = hashes(path)
        for part, file in (("data", path), ("index", index_of(path))):
            if now[part] != expected[part]:
                raise _corrupt(path, f"{file.name} was changed after it was written (another sha256)")
        found.append(now["data"])
    return found


def _header_rows(path: Path) -> int:
    """Number of rows by a shard's header.

    The file starts with the length of the header's JSON, 8 bytes little-endian. Pages of a fixed size follow
    the header, the last one cut after its data. A page of type BLOB_DATA has the row after its last.
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
    if not index_of(path).exists():
        raise _corrupt(path, "its index .db is missing")
    return rows


def _corrupt(path: Path, reason: str) -> UserError:
    return UserError(f"{path}: {reason}; delete it and its .db and run again")
