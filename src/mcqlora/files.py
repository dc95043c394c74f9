"""Atomic writes, JSON and arrays: what every stage needs to read and write files."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import numpy as np
import orjson

from mcqlora.errors import UserError

Json = dict[str, Any]  # a JSON document; the function that makes one says its keys
PathLike = str | os.PathLike[str]
BUFFER = 1 << 20  # bytes of an open file
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # only writing ends so, and the user can mend it


@contextlib.contextmanager
def atomic(path: PathLike) -> Iterator[IO[bytes]]:
    """Open a temporary file beside `path`; on success fsync it and rename it over `path`.

    A crash at any moment leaves the old file or the new one, never a part of one.

    Raises:
        UserError: the disk is full or the place is not writable.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "wb", BUFFER) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def disk_errors(path: PathLike) -> Iterator[None]:
    """Raises: UserError: the disk is full or the place is not writable, while `path` is written inside."""
    try:
        yield
    except OSError as error:
        if error.errno in (*FULL, errno.EACCES):
            raise unwritable(path, error) from error
        raise


def unwritable(path: PathLike, error: OSError) -> UserError:
    """What the user is told when `path` could not be written."""
    return UserError(f"{path}: cannot write ({error.strerror}); free space or mend permissions")


def write_bytes(path: PathLike, data: bytes) -> None:
    with atomic(path) as file:
        file.write(data)


def write_text(path: PathLike, text: str) -> None:
    write_bytes(path, text.encode("utf-8"))


def write_array(path: PathLike, array: np.ndarray) -> None:
    """Write an array of any shape and dtype as `np.load` reads it.

    Raises:
        UserError: the disk is full.
    """
    with atomic(path) as file:
        np.save(SimpleNamespace(write=file.write), array)  # given the file itself, numpy forgets the reason


def write_json(path: PathLike, value: Any, indent: bool = False) -> None:
    """Write `value` as UTF-8 JSON with a final newline; `indent` is for files that people read."""
    option = orjson.OPT_APPEND_NEWLINE | (orjson.OPT_INDENT_2 if indent else 0)
    write_bytes(path, orjson.dumps(value, option=option | orjson.OPT_SERIALIZE_NUMPY))


def read_json(path: PathLike) -> Any:
    """Raises: UserError: the file is not JSON (for instance cut off)."""
    try:
        return orjson.loads(Path(path).read_bytes())
    except orjson.JSONDecodeError as error:
        raise _not_json(str(path), error) from error


def write_jsonl(path: PathLike, rows: Iterable[Any]) -> None:
    """Write one JSON value per line, streaming."""
    with atomic(path) as file:
        for row in rows:
            file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY))


def read_jsonl(path: PathLike) -> Iterator[Any]:
    """Yield one value per line, streaming.

    Raises:
        UserError: a line is not JSON; names the line.
    """
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise _not_json(f"{path}:{number}", error) from error


def append_jsonl(path: PathLike, row: Any) -> None:
    """Add a line, on disk before this returns; a kill leaves at worst a last line that is cut off."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as file:
        file.write(orjson.dumps(row) + b"\n")
        file.flush()
        os.fsync(file.fileno())


def end_last_line(path: PathLike) -> None:
    """End a line that a kill has cut off, so that the next one is not joined to it."""
    if not Path(path).exists():
        return
    with open(path, "r+b") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read() != b"\n":
                file.write(b"\n")


def read_appended_jsonl(path: PathLike) -> Iterator[Any]:
    """Yield the rows that `append_jsonl` completed, not those cut off; none if there is no file."""
    if not Path(path).exists():
        return
    with open(path, "rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                with contextlib.suppress(orjson.JSONDecodeError):
                    yield orjson.loads(line)


@contextlib.contextmanager
def json_array(path: PathLike) -> Iterator[Callable[[Any], None]]:
    """Yield a function that appends an element to the JSON array `path`, one per line; atomic."""
    with atomic(path) as file:
        before = b"[\n"

        def append(element: Any) -> None:
            nonlocal before
            file.write(before + orjson.dumps(element))
            before = b",\n"

        yield append
        file.write(b"\n]\n" if before == b",\n" else b"[]\n")


def write_json_array(path: PathLike, elements: Iterable[Any]) -> int:
    """Write a JSON array with one element per line, streaming; returns the number of elements."""
    count = 0
    with json_array(path) as append:
        for element in elements:
            append(element)
            count += 1
    return count


def read_json_array(path: PathLike) -> Iterator[Any]:
    """Yield the elements of a file that `json_array` made, streaming.

    Raises:
        UserError: a line is not JSON, or the file is cut off; names the line.
    """
    for index, line in enumerate(json_array_lines(path)):
        yield json_array_element(path, index, line)


def json_array_lines(path: PathLike) -> Iterator[bytes]:
    """Yield the elements as they stand in the file, one line each: parsing is for those who need it.

    Raises:
        UserError: the file is cut off.
    """
    number = 1
    with open(path, "rb") as file:
        first = file.readline()
        if first == b"[]\n":
            return
        if first != b"[\n":
            raise _not_json(f"{path}:1", "not an array of one element per line")
        for number, line in enumerate(file, 2):  # noqa: B007 (the error below has it)
            if line == b"]\n":
                return
            yield line
    raise _not_json(f"{path}:{number}", "cut off: its last line is not ]")


def json_array_element(path: PathLike, index: int, line: bytes) -> Any:
    """The element on `line`, which is number `index` (zero-based) of `json_array_lines`.

    Raises:
        UserError: the line is not JSON; names it.
    """
    try:
        return orjson.loads(line.rstrip().removesuffix(b","))
    except orjson.JSONDecodeError as error:
        raise _not_json(f"{path}:{index + 2}", error) from error


def _not_json(place: str, error: object) -> UserError:
    return UserError(f"{place}: not valid JSON ({error}); delete it and run again")
