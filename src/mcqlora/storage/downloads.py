"""Inputs by address: a file from `https://` or `s3://` is there whole, with the right hash, or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from mcqlora import files, hashing
from mcqlora.errors import UserError
from mcqlora.model import tensorfiles
from mcqlora.storage import addresses, archives, s3
from mcqlora.storage.addresses import join, without_secrets
from mcqlora.storage.s3 import NoSuchObject, client, download

_PIECE = 1 << 20
_TIMEOUT = (10, 60)  # seconds to connect, and between two pieces


def fetch(
    address: str,
    path: files.PathLike,
    sha256: str | None = None,
    s3: Mapping[str, Any] | None = None,
    limit: int | None = None,
) -> None:
    """Download `address` to `path`, which appears only when every byte has come and is the right one.

    What counts as every byte: the length that the server told, the end mark of a chunked transfer, or
    `sha256` (hex). A server that tells none of these needs the hash. An archive must be one.

    Args:
        s3: arguments of `buckets.client`, for an `s3://` address.
        limit: most bytes that are taken; of an archive `archives.TOTAL_BYTES`.

    Raises:
        buckets.NoSuchObject: there is no such file.
        UserError: no connection, a cut transfer, a wrong hash, no archive, or too many bytes.
    """
    shown, ending = without_secrets(address), addresses.suffix(address)
    limit = archives.TOTAL_BYTES if ending and limit is None else limit
    with files.atomic(path) as file:
        if addresses.ADDRESS.match(address):
            download(client(**s3), addresses.place(address), file, limit)
        else:
            _download(address, shown, file, sha256, limit)
        file.flush()
        archives.compare(hashing.sha256(file.name), sha256, shown)
        if ending and not archives.opens(file.name, ending):
            raise UserError(
                f"{shown}: what came is no {ending} archive; open the address and see what it gives"
            )


def _download(url: str, shown: str, file: IO[bytes], sha256: str | None, limit: int | None) -> None:
    import requests
    import urllib3

    size, headers = 0, {"Accept-Encoding": "identity"}
    try:
        with requests.get(url, stream=True, timeout=_TIMEOUT, headers=headers) as response:
            if response.status_code in (404, 410):
                raise s3.NoSuchObject(f"{shown}: the server answers {response.status_code}; mend the URL")
            if response.status_code != 200:
                raise UserError(f"{shown}: the server answers {response.status_code}; mend the URL")
            told = response.headers.get("Content-Length")
            if not (told or response.raw.chunked or sha256):
                raise UserError(f"{shown}: the server tells no length; give the sha256 of the file")
            for piece in response.raw.stream(_PIECE, decode_content=False):
                size += len(piece)
                if limit is not None and size > limit:
                    raise UserError(f"{shown}: more than the {limit} bytes that it should have at most")
                file.write(piece)
            if told and str(size) != told.strip():
                raise UserError(f"{shown}: cut off after {size} of {told} bytes; run again")
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise UserError(
            f"{shown}: the download failed after {size} bytes ({type(error).__name__}); "
            "look at the URL and the network, and run again"
        ) from error


def fetch_network(
    address: str, folder: Path, sha256: Mapping[str, str] | None = None, s3: Mapping[str, Any] | None = None
) -> None:
    """Download a Hugging Face folder's config.json and weights, which an index may divide into many files.

    Args:
        sha256: the hash (hex) of some or all of its files, by name.

    Raises:
        UserError: a download failed, there are no weights, or `sha256` names a file that is not among them.
    """
    sha256 = dict(sha256 or {})

    def get(name: str) -> None:
        fetch(join(address, name), folder / name, sha256.get(name), s3)
        names.append(name)

    names: list[str] = []
    get("config.json")
    for name in tensorfiles.NAMES:
        for first in (name + tensorfiles.INDEX, name):
            try:
                get(first)
            except NoSuchObject:
                continue
            for shard in tensorfiles.shards(folder / first) if first != name else ():
                get(shard)
            unknown = sorted(set(sha256) - {*names, "tokenizer.model"})
            if unknown:
                raise UserError(
                    f"base.sha256: {unknown[0]} is not among the files of {without_secrets(address)}"
                )
            return
    wanted = " or ".join(tensorfiles.NAMES)
    raise UserError(
        f"{without_secrets(address)}: no {wanted}, nor an index of one; give a Hugging Face folder"
    )
