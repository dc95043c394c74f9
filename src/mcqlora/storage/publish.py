"""A run in a bucket, with a manifest of what it holds; and the way back, with every hash compared.

The manifest is the last file to come and the first to go: whoever sees one sees all files that it names.
"""

from __future__ import annotations

import contextlib
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
from typing import NamedTuple

import orjson

from mcqlora import files, hashing
from mcqlora.errors import UserError
from mcqlora.files import Json
from mcqlora.storage import addresses, downloads, s3
from mcqlora.storage.downloads import Source

FORMAT = "mcqlora-run/1"
NAME = "manifest.json"
LARGEST = 1 << 26  # bytes of a manifest
PACKAGES = ("snakemake", "mindspore", "mindformers", "sentencepiece", "numpy", "pandas")

_ROOT = Path(__file__).parents[3]

Progress = Callable[[str], None]  # called with the name of each file before it is uploaded or fetched


class Published(NamedTuple):
    """Where a run is, and what had to be done for it."""

    address: str  # of the manifest
    endpoint: str
    sha256: str  # of the manifest
    manifest: Json
    uploaded: list[str]


def local_files(paths: Iterable[files.PathLike], root: Path) -> dict[str, Path]:
    """The files at or below `paths`, by their names relative to `root`, sorted."""
    found = {}
    for path in map(Path, paths):
        for file in [path] if path.is_file() else filter(Path.is_file, path.rglob("*")):
            if not file.name.startswith("."):  # Snakemake's stamp in an output folder
                found[file.relative_to(root).as_posix()] = file
    return dict(sorted(found.items()))


def manifest(run: str, paths: Mapping[str, Path], config: Json, versions: Json) -> Json:
    """The manifest of a run: `format`, `run`, `versions`, `config`, `files` (`size`, `sha256` by name).

    It has no time and no place, so that the same run has the same manifest. The files of `paths` (see
    `local_files`) are read for their hashes; `config` must have no passwords in addresses.
    """
    listed = {n: {"size": path.stat().st_size, "sha256": hashing.sha256(path)} for n, path in paths.items()}
    return {"format": FORMAT, "run": run, "versions": versions, "config": config, "files": listed}


def versions() -> Json:
    """Of this project, its commit (None without git), Python and the packages that make results."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    git = ["git", "-C", str(_ROOT), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        commit = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = None
    made: Json = {project["name"]: project["version"], "commit": commit, "python": platform.python_version()}
    for name in PACKAGES:
        made[name] = None
        with contextlib.suppress(metadata.PackageNotFoundError):
            made[name] = metadata.version(name)
    return made


def publish(
    paths: Mapping[str, Path], to: str, made: Json, service: s3.Service, progress: Progress = print
) -> Published:
    """Bring the bucket to what the manifest `made` says: files first, the manifest last.

    What the bucket holds with the right hash stays; unfinished uploads of an earlier attempt are aborted.
    Before a file is replaced, the manifest that names its old bytes is removed. Nothing else is deleted.

    Args:
        paths: by name, those of the manifest.
        to: `s3://bucket/prefix`; the run lands below it in a folder of its name.

    Raises:
        UserError: no credentials, no such bucket, or no connection. Then the bucket has no manifest.
    """
    bucket, prefix = addresses.place(to)
    base = addresses.Place(bucket, f"{prefix}/{made['run']}".lstrip("/"))
    address = base._replace(key=f"{base.key}/{NAME}")
    data = orjson.dumps(made, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_INDENT_2)
    digest = hashlib.sha256(data).hexdigest()
    s3.abort_uploads(service, base)
    places = {name: base._replace(key=f"{base.key}/{name}") for name in paths}
    there = {name: s3.holds(service, places[name], **made["files"][name]) for name in paths}
    if False in there.values():
        s3.remove(service, address)
    wanted = [name for name in paths if not there[name]]
    for name in wanted:
        progress(name)
        with open(paths[name], "rb") as file:
            s3.upload(service, file, places[name], made["files"][name]["sha256"])
    if not s3.holds(service, address, len(data), digest):
        progress(NAME)
        s3.upload(service, BytesIO(data), address, digest)
        wanted.append(NAME)
    endpoint = addresses.without_secrets(s3.client(service).meta.endpoint_url)
    return Published(str(address), endpoint, digest, made, wanted)


def fetch_run(
    source: Source, folder: Path, patterns: Sequence[str] = ("*",), progress: Progress = print
) -> list[str]:
    """Download files of a published run into `folder`, by the manifest's hashes; returns their names.

    The manifest comes last.

    Args:
        source: the manifest.
        patterns: of names, such as `export/peft/*`; `*` also stands for `/`.

    Raises:
        UserError: a download failed, a hash is wrong, it is no manifest, or nothing in it fits a pattern.
    """
    shown = addresses.without_secrets(source.address)
    first = folder / f".{NAME}"  # under its own name it says that the files are there
    downloads.fetch(source, first, LARGEST)
    listed = read_manifest(first, shown)
    names = [name for name in listed if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise UserError(f"fetch_run.files: nothing in {shown} is called {pattern}; it lists the names")
    for name in names:
        progress(name)
        there = Source(addresses.beside(source.address, name), listed[name]["sha256"], source.service)
        downloads.fetch(there, folder / name, listed[name]["size"])
    os.replace(first, folder / NAME)
    return names


def read_manifest(path: Path, shown: str) -> dict[str, Json]:
    """The files that a manifest lists, by name; `shown` names it in errors.

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
        plain = all(0 < len(part.encode()) < 256 and part[0] != "." and "\\" not in part for part in parts)
        if name == NAME or not name.isprintable() or not plain:
            raise UserError(f"{shown}: lists {name[:80]!r}, which is no path below it; do not trust it")
        size, sha256 = (entry.get("size"), entry.get("sha256")) if isinstance(entry, dict) else (None, None)
        if (
            not isinstance(size, int)
            or not isinstance(sha256, str)
            or not re.fullmatch("[0-9a-f]{64}", sha256)
        ):
            raise UserError(f"{shown}: {name[:80]!r} has no size and sha256; do not trust it")
    return listed
