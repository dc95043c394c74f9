"""A run in a bucket, with a manifest of what it holds; and the way back, hash by hash.

The manifest is the last file to come and the first to go: whoever sees one sees a complete set below it.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import platform
import re
import subprocess
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from mcqlora import files, hashing
from mcqlora.errors import UserError
from mcqlora.storage import addresses, downloads
from mcqlora.storage.s3 import abort_uploads, client, holds, remove, upload

FORMAT = "mcqlora-run/1"
NAME = "manifest.json"
LARGEST = 1 << 26  # bytes of a manifest
PACKAGES = ("snakemake", "mindspore", "mindformers", "sentencepiece", "numpy", "pandas")

_ROOT = Path(__file__).parents[3]
_HASH = re.compile(r"[0-9a-f]{64}")

Json = dict[str, Any]


class Published(NamedTuple):
    """Where a run is, and what had to be done for it."""

    address: str  # of the manifest
    endpoint: str
    sha256: str  # of the manifest
    manifest: Json
    uploaded: list[str]


def local_files(paths: Iterable[files.PathLike], root: Path) -> dict[str, Path]:
    """The files at or below `paths`, by their name relative to `root`, sorted."""
    found = {}
    for path in map(Path, paths):
        for file in [path] if path.is_file() else filter(Path.is_file, path.rglob("*")):
            if not file.name.startswith("."):  # Snakemake's mark in an output folder
                found[file.relative_to(root).as_posix()] = file
    return dict(sorted(found.items()))


def manifest(
    run: str, files: Mapping[str, Path], config: Mapping[str, Any], versions: Mapping[str, Any]
) -> Json:
    """What `manifest.json` says: no time and no place, so the same run has the same manifest.

    Args:
        files: by name; their size (bytes) and SHA-256 (hex) are read.
        config: without passwords in addresses.
    """
    return {
        "format": FORMAT,
        "run": run,
        "versions": dict(versions),
        "config": dict(config),
        "files": {
            name: {"size": path.stat().st_size, "sha256": hashing.sha256(path)}
            for name, path in files.items()
        },
    }


def versions() -> Json:
    """Of this project, its commit if git knows one, Python and the packages that make results."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    git = ["git", "-C", str(_ROOT), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        commit = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = None
    made: Json = {project["name"]: project["version"], "commit": commit, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            made[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            made[name] = None
    return made


def publish(
    files: Mapping[str, Path],
    to: str,
    made: Json,
    s3: Mapping[str, Any],
    progress: Callable[[str], None] = lambda name: None,
) -> Published:
    """Bring the bucket to what the manifest `made` says: files first, the manifest last.

    What the bucket holds with the right hash stays; unfinished uploads of an earlier attempt are given up.
    Before a file is replaced the manifest that names its old bytes is removed. Nothing else is deleted.

    Args:
        to: `s3://bucket/prefix`; the run lands below it in a folder of its name.
        s3: arguments of `buckets.client`.
        progress: called with the name of each file before it is uploaded.

    Raises:
        UserError: no credentials, no such bucket, or no connection; then no manifest says that all is there.
    """
    service = client(**s3)
    bucket, prefix = addresses.place(to)
    base = addresses.Place(bucket, f"{prefix}/{made['run']}".lstrip("/"))
    address = base._replace(key=f"{base.key}/{NAME}")
    data = orjson.dumps(made, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_INDENT_2)
    digest = hashlib.sha256(data).hexdigest()
    abort_uploads(service, base)
    there = {
        name: holds(service, base._replace(key=f"{base.key}/{name}"), **made["files"][name]) for name in files
    }
    if False in there.values():
        remove(service, address)
    wanted = [name for name in files if not there[name]]
    for name in wanted:
        progress(name)
        with open(files[name], "rb") as file:
            place = base._replace(key=f"{base.key}/{name}")
            upload(service, file, place, made["files"][name]["sha256"])
    if not holds(service, address, len(data), digest):
        progress(NAME)
        upload(service, BytesIO(data), address, digest)
        wanted.append(NAME)
    endpoint = addresses.without_secrets(service.meta.endpoint_url)
    return Published(str(address), endpoint, digest, made, wanted)


def fetch_run(
    manifest: str,
    folder: Path,
    s3: Mapping[str, Any],
    sha256: str | None = None,
    files: Sequence[str] = ("*",),
    progress: Callable[[str], None] = lambda name: None,
) -> list[str]:
    """Download files of a published run into `folder`, with the manifest's hashes; the manifest comes last.

    Args:
        manifest: its address, `s3://` or `https://`.
        sha256: hash (hex) of the manifest; None takes any.
        files: patterns of names, such as `export/peft/*`; `*` also stands for `/`.

    Returns:
        The names of the files.

    Raises:
        UserError: a download failed, a hash is wrong, the manifest is none, or nothing in it fits a pattern.
    """
    shown = addresses.without_secrets(manifest)
    first = folder / f".{NAME}"  # its own name says that the files are there
    downloads.fetch(manifest, first, sha256, s3, LARGEST)
    listed = read_manifest(first, shown)
    names = [name for name in listed if any(fnmatch.fnmatchcase(name, pattern) for pattern in files)]
    for pattern in files:
        if not fnmatch.filter(names, pattern):
            raise UserError(f"fetch_run.files: nothing in {shown} is called {pattern}; it lists the names")
    for name in names:
        progress(name)
        entry = listed[name]
        downloads.fetch(addresses.beside(manifest, name), folder / name, entry["sha256"], s3, entry["size"])
    os.replace(first, folder / NAME)
    return names


def read_manifest(path: Path, shown: str) -> dict[str, Json]:
    """The files that a manifest lists: `{name: {"size": bytes, "sha256": hex}}`.

    Raises:
        UserError: it is no manifest, or a name leads out of the folder.
    """
    try:
        made = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError:
        made = None
    listed = made.get("files") if isinstance(made, dict) and made.get("format") == FORMAT else None
    if not isinstance(listed, dict):
        raise UserError(f"{shown}: no manifest of a published run; give the address of a {NAME}")
    for name, entry in listed.items():
        parts = name.split("/")  # an absolute path begins with an empty one
        if name == NAME or not name.isprintable() or not all(map(_is_file_name, parts)):
            raise UserError(f"{shown}: lists {name[:80]!r}, which is no path below it; do not trust it")
        size, sha256 = (entry.get("size"), entry.get("sha256")) if isinstance(entry, dict) else (None, None)
        if not isinstance(size, int) or not isinstance(sha256, str) or not _HASH.fullmatch(sha256):
            raise UserError(f"{shown}: {name[:80]!r} has no size and sha256; do not trust it")
    return listed


def _is_file_name(part: str) -> bool:
    return 0 < len(part.encode()) < 256 and not part.startswith(".") and "\\" not in part
