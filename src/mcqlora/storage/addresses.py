"""Addresses of files elsewhere, by http, https or s3: their kinds, their parts, and how they are shown."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit, urlunsplit

from mcqlora.errors import UserError

ADDRESS = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?", re.IGNORECASE | re.DOTALL)
SUFFIXES = (".zip", ".tar.gz", ".tgz", ".tar")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SECRET = re.compile(  # names of a query's parts, such as X-Amz-Signature, access_token, sig, apiKey
    "(?:signature|token|secret|password|passwd|api[-_]?key)$|(?:^|[-_.])(?:sig|key|auth|pwd|pass|jwt)$",
    re.IGNORECASE,
)


def join(folder: str, name: str) -> str:
    """The address of a file in the folder that an address names; a query stays at the end."""
    if ADDRESS.match(folder):
        return f"{folder.rstrip('/')}/{name}"
    parts = urlsplit(folder)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{quote(name)}"))


def beside(address: str, name: str) -> str:
    """The address of a file in the folder of the file `address`; a query stays at the end."""
    if ADDRESS.match(address):
        return join(address.rpartition("/")[0], name)
    parts = urlsplit(address)
    return join(urlunsplit(parts._replace(path=parts.path.rpartition("/")[0])), name)


def filled(address: str) -> str:
    """The address with the environment's variables in place of each `${NAME}`; for whoever opens it, alone.

    Raises:
        UserError: a variable is not set.
    """

    def value(found: re.Match[str]) -> str:
        if not (said := os.environ.get(found[1], "").strip()):
            raise UserError(
                f"{without_secrets(address)}: {found[1]} is not set in the environment; export it"
            )
        return said

    return _VARIABLE.sub(value, address)


def plain_secret(address: str) -> str:
    """What of an http address is a secret that stands there as it is, not as `${NAME}`; "" if nothing."""
    if not is_address(address) or ADDRESS.match(address):
        return ""
    parts = urlsplit(address)
    user, at, _ = parts.netloc.rpartition("@")
    if at and not _VARIABLE.fullmatch(user.rpartition(":")[2]):  # alone it may be a token
        return "a password"
    for pair in re.split("[&;]", parts.query):
        name, _, value = pair.partition("=")
        if value and _SECRET.search(name) and not _VARIABLE.fullmatch(value):
            return f"a secret, {name}"
    return ""


def without_secrets(address: str) -> str:
    """The address without user, password and query, as it may stand in a message."""
    if ADDRESS.match(address):
        return address
    parts = urlsplit(address)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def shown(value: Any) -> Any:
    """Settings or parameters, with every address in them `without_secrets`."""
    if isinstance(value, Mapping):
        return {key: shown(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shown(item) for item in value]
    return without_secrets(value) if isinstance(value, str) and is_address(value) else value


def plain(path: str) -> str:
    """A path, or an address without what follows its path."""
    return re.split("[?#]", path)[0] if is_address(path) else path


def suffix(path: str) -> str:
    """The ending of an archive's path or address, one of `SUFFIXES`; "" if it is not an archive."""
    return next((ending for ending in SUFFIXES if plain(path).lower().endswith(ending)), "")


def is_address(path: str) -> bool:
    """Does `path` name something elsewhere, rather than a file of this machine?"""
    return re.match(r"(https?|s3)://", path, re.IGNORECASE) is not None


class Place(NamedTuple):
    """Where an object of a bucket is, or a prefix of several."""

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


def place(address: str) -> Place:
    """Bucket and key. Raises: UserError: `address` is not of the form `s3://bucket/key`."""
    found = ADDRESS.fullmatch(address)
    if not found:
        secretless = re.sub(r"//[^/]*@", "//", address)  # a password must not get into a message
        raise UserError(f"{secretless}: no address of a bucket; write s3://bucket/key")
    return Place(found[1].lower(), (found[2] or "").strip("/"))
