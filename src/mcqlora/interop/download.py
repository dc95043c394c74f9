"""A Hugging Face folder by its address."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mcqlora.errors import UserError
from mcqlora.model import tensorfiles
from mcqlora.storage import addresses, downloads, s3


def fetch_folder(
    address: str, folder: Path, sha256: Mapping[str, str], service: s3.Service = s3.ENVIRONMENT
) -> None:
    """Download config.json and the weights, which an index may divide among many files, into `folder`.

    Args:
        sha256: the hash (hex) of some or all of the files, by name.
        service: of an `s3://` address.

    Raises:
        UserError: a download failed, there are no weights, or `sha256` names a file that is not among them.
    """

    def get(name: str) -> None:
        source = downloads.Source(addresses.join(address, name), sha256.get(name), service)
        downloads.fetch(source, folder / name)
        names.append(name)

    names: list[str] = []
    shown, wanted = addresses.without_secrets(address), " or ".join(tensorfiles.NAMES)
    get("config.json")
    for name in tensorfiles.NAMES:
        for first in (name + tensorfiles.INDEX, name):
            try:
                get(first)
            except s3.NoSuchObject:
                continue
            for shard in sorted({*tensorfiles.weight_map(folder / first).values()}) if first != name else ():
                get(shard)
            by_themselves = {"tokenizer.model", "tokenizer.json", "tokenizer_config.json"}
            unknown = sorted(set(sha256) - {*names, *by_themselves})
            if unknown:
                raise UserError(f"base.sha256: {unknown[0]} is not among the files of {shown}")
            return
    raise UserError(f"{shown}: no {wanted}, nor an index of one; give a Hugging Face folder")
