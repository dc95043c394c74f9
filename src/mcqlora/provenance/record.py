"""What each artefact was made of: a record beside the results, written by the job that made it.

The record of `results/<run>/NAME` is `results/<run>/provenance/NAME.json`. It holds no time, so that two runs
write the same, but for those of the summary and the report: these hold seconds themselves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson

from mcqlora import files, hashing
from mcqlora.provenance import fingerprint
from mcqlora.storage import addresses

Json = dict[str, Any]

FOLDER = "provenance"
TIMES = "benchmarks"
STAMP = ".snakemake_timestamp"  # Snakemake's own file in a folder that a job has made


def write(
    *,
    outputs: Iterable[str],
    inputs: Iterable[str],
    rule: str,
    params: Mapping[str, Any],
    scripts: Path,
) -> None:
    """Write the record of every one of a job's `outputs`.

    Args:
        params: what the rule gave to its script; `code` is the script's name and the hash of what it means.
        scripts: the folder of the scripts.
    """
    outputs = set(outputs)
    if not outputs:
        return
    params = plain(params)
    code = params.pop("code")
    made = {
        "rule": rule,
        "code": code,
        "software": fingerprint.software(scripts / code.split()[0]),
        "params": params,
        "inputs": each(known, lasting(inputs)),
    }
    for path, found in each(sha256, outputs).items():
        files.write_json(record_path(path), {"sha256": found} | made, indent=True)


def lasting(inputs: Iterable[str]) -> set[str]:
    """Without the seconds that Snakemake measured, which differ in every run."""
    return {path for path in inputs if Path(path).parts[0] != TIMES}


def record_path(artefact: str) -> Path:
    """Where the record of `results/<run>/NAME` stands."""
    results, run, *name = Path(artefact).parts
    return Path(results, run, FOLDER, *name[:-1], f"{name[-1]}.json")


def known(path: str) -> str:
    """`sha256`, from the record of the job that made `path` where that is younger than what it speaks of.

    Large weights are thus read when they are written, and not by every job that takes them.
    """
    if len(Path(path).parts) > 2 and (record := record_path(path)).is_file():
        made = record.stat().st_mtime_ns
        if all(file.stat().st_mtime_ns <= made for file in _files(Path(path))):
            return files.read_json(record)["sha256"]
    return sha256(path)


def sha256(path: str) -> str:
    """Hex SHA-256 of a file's bytes; of a folder, of its files' names and hashes."""
    root = Path(path)
    if not root.is_dir():
        return hashing.sha256(root)
    lines = "".join(f"{hashing.sha256(file)}  {file.relative_to(root)}\n" for file in _files(root))
    return hashlib.sha256(lines.encode()).hexdigest()


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.rglob("*") if file.is_file() and file.name != STAMP)


def each(function: Callable[[str], str], paths: Iterable[str]) -> dict[str, str]:
    """{path: its hash by `function`}, on all cores: hashing lets other threads run."""
    paths = sorted(paths)
    with ThreadPoolExecutor() as pool:
        return dict(zip(paths, pool.map(function, paths), strict=True))


def plain(params: Mapping[str, Any]) -> Json:
    """Parameters as JSON has them: tuples become lists, paths texts; addresses lose their secrets."""
    text = orjson.dumps(dict(params), default=str, option=orjson.OPT_NON_STR_KEYS)
    return addresses.shown(orjson.loads(text))
