"""Benchmarks that come as a folder or an archive: which files they hold; archives are verified and unpacked.

Nothing of an archive is trusted: a member that would land outside, a link, or a size that no benchmark has is
refused before anything is written. Members are copied in pieces, so memory does not grow with the archive.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import io
import os
import re
import shutil
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from mcqlora import hashing
from mcqlora.errors import UserError
from mcqlora.files import PathLike
from mcqlora.storage.addresses import suffix

MEMBER_BYTES = 1 << 30  # of the largest member; that of MMLU has 2 MB
TOTAL_BYTES = 1 << 32  # of all members together, and of a download
NAME_BYTES = 255  # longest name of a file that Linux' file systems take
MEMBERS = 10_000  # files and folders; MMLU has 178
HEADER_BYTES = 1 << 13  # of one header in a tar; a name has up to 4096
TABLE_BYTES = MEMBERS << 11  # of all headers of a tar, or of a zip's table; 2 KiB a member
_PIECE = 1 << 20

_DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
    RuntimeError,  # an encrypted member, or a compression that zipfile lacks
    *(IndexError, ValueError, OverflowError, struct.error),  # zipfile's, where lengths or dates are nonsense
)


class Member(NamedTuple):
    """A member of an archive: `size` in bytes, `plain` unless it is a link or a device."""

    name: str
    folder: bool
    size: int
    plain: bool
    open: Callable[[], IO[bytes]]


def verify(path: PathLike, sha256: str | None, shown: str = "") -> None:
    """Raises: UserError: the file's hash is not `sha256` (hex); None takes any. Errors say `shown`."""
    if sha256 and (found := hashing.sha256(path)) != sha256.lower():
        said = f"its sha256 is {found}, not {sha256.lower()}"
        raise UserError(f"{shown or path}: {said}; mend the key or get the file anew")


@contextlib.contextmanager
def folder(path: Path, wanted: Callable[[str], bool]) -> Iterator[dict[str, Path]]:
    """Yield {name below `path`: file} of a folder, of an archive, or of `path` itself if it is another file.

    Of a folder and of an archive these are the files that are `wanted` by their own names, hidden ones left
    out; those of an archive are unpacked for as long as this is open.

    Raises:
        UserError: there is nothing, a file in it cannot be read, or the archive is damaged or not safe.
    """
    if path.is_dir():
        yield {place.relative_to(path).as_posix(): place for place in walk(path) if wanted(place.name)}
    elif not path.is_file():
        raise UserError(f"{path}: no such file or directory; give its path below data, or its URL")
    elif suffix(path.name):
        with tempfile.TemporaryDirectory(prefix="mcqlora-") as temporary:
            yield _unpack(path, Path(temporary), wanted)
    else:
        yield {path.name: path}


def walk(folder: Path, check: Callable[[Path], None] = lambda place: None) -> Iterator[Path]:
    """Yield all files below a folder, sorted, links followed, hidden ones left out; each place is checked."""
    seen = set[str]()
    for around, folders, names in os.walk(folder, followlinks=True):
        check(Path(around))
        if (real := os.path.realpath(around)) in seen:  # a link to a folder around it
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if name[0] != "." and name != "__MACOSX")
        for place in (Path(around, name) for name in sorted(names) if name[0] != "."):
            check(place)
            yield place


def _unpack(archive: Path, target: Path, wanted: Callable[[str], bool]) -> dict[str, Path]:
    """{member: its file in `target`}; these have numbers for names, so that none can do harm."""
    total, taken = 0, dict[str, Path]()
    with _members(archive) as members:
        for number, member in enumerate(members, 1):
            if number > MEMBERS:
                raise _too_many(archive)
            if member.folder:
                continue
            total += member.size
            _refuse_unsafe(archive, member, total)
            path = PurePosixPath(member.name)
            hidden = any(part[0] == "." or part == "__MACOSX" for part in path.parts)
            if hidden or not wanted(path.name):
                continue
            if str(path) in taken:
                raise UserError(f"{archive}: {member.name} is in it twice; pack it again")
            taken[str(path)] = target / str(number)
            with member.open() as source, open(taken[str(path)], "wb") as file:
                shutil.copyfileobj(source, file, _PIECE)
    return taken


def _too_many(archive: Path) -> UserError:
    said = f"more than {MEMBERS} members, or {TABLE_BYTES} bytes of their names and times"
    return UserError(f"{archive}: {said}; pack the benchmark's CSV files alone")


def _refuse_unsafe(archive: Path, member: Member, total: int) -> None:
    path = PurePosixPath(member.name.replace("\\", "/"))
    problem = (
        (path.is_absolute() or re.match(r"[A-Za-z]:", member.name)) and "an absolute path",
        ".." in path.parts and "a path that leaves the archive",
        not member.plain and "a link or a device",
        any(len(part.encode(errors="replace")) > NAME_BYTES for part in path.parts) and "a name too long",
        member.size > MEMBER_BYTES and f"{member.size} bytes, more than {MEMBER_BYTES}",
        total > TOTAL_BYTES and f"the one that makes {total} bytes in all, more than {TOTAL_BYTES}",
    )
    for found in filter(None, problem):
        raise UserError(f"{archive}: member {member.name[:80]!r} is {found}; pack plain CSV files")


@contextlib.contextmanager
def _members(archive: Path) -> Iterator[Iterator[Member]]:
    """`_opened`; what is damaged is a UserError."""
    try:
        with _opened(archive, suffix(archive.name)) as members:
            yield members
    except (*_DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise  # of the disk; a wrong offset in a zip is an invalid argument of seek
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise UserError(f"{archive}: damaged or no archive ({reason}); copy it again") from error


@contextlib.contextmanager
def _opened(archive: Path, ending: str) -> Iterator[Iterator[Member]]:
    """Yield the members of an archive in its own order, each to be opened before the next is asked for."""
    if ending == ".zip":
        with open(archive, "rb") as file:  # the table is read at once, by its length in the end record
            end = zipfile._EndRecData(file)  # type: ignore[attr-defined]
        if end and end[zipfile._ECD_SIZE] > TABLE_BYTES:  # type: ignore[attr-defined]
            raise _too_many(archive)
        with zipfile.ZipFile(archive) as opened:
            yield _zipped(opened)
        return
    with (
        open(archive, "rb") as plain,
        gzip.GzipFile(fileobj=plain) if plain.peek(2)[:2] == b"\x1f\x8b" else plain as stream,
        tarfile.TarFile(fileobj=(pieces := _Pieces(archive, stream))) as tar,
    ):
        yield _tarred(tar, pieces)


class _Pieces(io.RawIOBase):
    """A tar of which only so much is read as one has: tarfile reads any headers, however long and many.

    `content` is set before a member's content is read, to its bytes, and else 0.
    """

    content = 0

    def __init__(self, archive: Path, file: io.BufferedIOBase) -> None:
        self._archive, self._file, self._left = archive, file, TABLE_BYTES

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def read(self, size: int = -1) -> bytes:
        if self.content:
            self.content -= size
            return self._file.read(size)
        if not 0 <= size <= HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size} bytes")
        if size > self._left:
            raise _too_many(self._archive)
        self._left -= size
        found = self._file.read(size)
        if any(len(run) > NAME_BYTES for run in re.findall(rb"\d+", found)):
            raise tarfile.ReadError("a number too long")  # in square time up to Python 3.11.9 (CVE-2024-6232)
        return found


def _zipped(opened: zipfile.ZipFile) -> Iterator[Member]:
    for info in opened.infolist():
        plain = stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG)
        yield Member(info.filename, info.is_dir(), info.file_size, plain, partial(opened.open, info))


def _tarred(opened: tarfile.TarFile, pieces: _Pieces) -> Iterator[Member]:
    def content(info: tarfile.TarInfo) -> IO[bytes]:
        found = opened.extractfile(info)
        if found is None:
            raise tarfile.ReadError(f"{info.name} is not a file")
        pieces.content = info.size
        return found

    for info in opened:
        yield Member(info.name, info.isdir(), info.size, info.isreg(), partial(content, info))
        pieces.content = 0
    opened.fileobj.seek(opened.offset)
    if opened.fileobj.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
        raise EOFError("no end mark")  # tarfile takes a cut between two members for the end


def opens(path: str, ending: str) -> bool:
    """Is the file `path` an archive of the kind that `ending` says? Its first member is read."""
    try:
        with _opened(Path(path), ending) as members:
            next(members, None)
    except _DAMAGED:
        return False
    except UserError:  # too much of one: `folder` says so
        return True
    return True
