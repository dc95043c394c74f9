"""Inputs by address: a file from `https://` or `s3://` is there whole, with the right hash, or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO

from mcqlora import files
from mcqlora.errors import UserError
from mcqlora.storage import addresses, archives, s3

_NETRC = "~/.netrc, or as ${NAME} in the address with NAME in the environment"
_TIMEOUT = (10, 60)  # seconds to connect, and between two pieces


@dataclass(frozen=True, slots=True)
class Source:
    """A file elsewhere."""

    address: str
    sha256: str | None = None  # hex; None takes any
    service: s3.Service = s3.ENVIRONMENT  # of an `s3://` address


def fetch(source: Source, path: files.PathLike, limit: int | None = None) -> None:
    """Download a file to `path`, which appears only when every byte has come and is the right one.

    That is known by the server's length, by the end mark of a chunked transfer, or by the hash, which has to
    be given where there is neither. An archive must be one. `limit` is the most bytes that are taken; None
    takes all, of an archive `archives.TOTAL_BYTES`.

    Raises:
        s3.NoSuchObject: there is no such file.
        UserError: no connection, a cut transfer, a wrong hash, no archive, or too many bytes.
    """
    shown, ending = addresses.without_secrets(source.address), addresses.suffix(source.address)
    limit = archives.TOTAL_BYTES if ending and limit is None else limit
    with files.atomic(path) as file:
        if addresses.ADDRESS.match(source.address):
            s3.download(source.service, addresses.place(source.address), file, limit)
        else:
            _download(source, shown, file, limit)
        file.flush()
        archives.verify(file.name, source.sha256, shown)
        if ending and not archives.opens(file.name, ending):
            said = f"what came is no {ending} archive"
            raise UserError(f"{shown}: {said}; open the address and see what it gives")


def _download(source: Source, shown: str, file: IO[bytes], limit: int | None) -> None:
    import requests
    import urllib3

    size, headers = 0, {"Accept-Encoding": "identity"}
    try:
        address = addresses.filled(source.address)
        own = requests.utils.get_auth_from_url(address)  # else those of ~/.netrc would win
        auth = own if any(own) else None
        with requests.get(address, auth=auth, stream=True, timeout=_TIMEOUT, headers=headers) as response:
            if (code := response.status_code) != 200:
                kind = s3.NoSuchObject if code in (404, 410) else UserError
                remedy = f"give user and password in {_NETRC}" if code in (401, 403) else "mend the URL"
                raise kind(f"{shown}: the server answers {code}; {remedy}")
            told = response.headers.get("Content-Length")
            if not (told or response.raw.chunked or source.sha256):
                raise UserError(f"{shown}: the server tells no length; give the sha256 of the file")
            for piece in response.raw.stream(1 << 20, decode_content=False):
                size += len(piece)
                if limit is not None and size > limit:
                    raise UserError(f"{shown}: more than the {limit} bytes that it should have at most")
                file.write(piece)
            if told and str(size) != told.strip():
                raise UserError(f"{shown}: cut off after {size} of {told} bytes; run again")
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        said = f"the download failed after {size} bytes ({type(error).__name__})"
        raise UserError(f"{shown}: {said}; look at the URL and the network, and run again") from error
