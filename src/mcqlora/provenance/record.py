"""What each artefact was made of: a record beside the results, written by the job that made it.

The record of `results/<run>/NAME` is `results/<run>/provenance/NAME.json`. It holds no time, so that two runs
write the same records. Those of the summary and the report differ, since these two artefacts hold seconds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from mcqlora import files, hashing
from mcqlora.provenance import fingerprint
from mcqlora.storage import addresses

# Of the JSON of a record: `software` is versions by distribution, `inputs` hashes by path.
KEYS = ("sha256", "rule", "code", "software", "params", "inputs")
FOLDER = "provenance"
STAMP = ".snakemake_timestamp"  # Snakemake's own file in a folder that a job has made


@dataclass(frozen=True, slots=True)
class Job:
    """What Snakemake gives to the script of a rule."""

    rule: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    params: Mapping[str, Any]  # with `code`: the script's name and the hash of what it means
    temporary: Sequence[str] = ()  # those of the outputs that the run removes when it needs them no longer


def write(job: Job, scripts: Path) -> None:
    """Write the record of every output of `job`; `scripts` is the folder of the scripts."""
    outputs = set(job.outputs)
    if not outputs:
        return
    params, inputs = plain(job.params), each(known, lasting(job.inputs))
    code = params.pop("code")
    software = fingerprint.software(scripts / script(code))
    made = {"rule": job.rule, "code": code, "software": software, "params": params, "inputs": inputs}
    for path, found in each(sha256, outputs).items():
        files.write_json(record_path(path), {"sha256": found} | made, indent=True)


def script(code: str) -> str:
    """The name of the script in a rule's parameter `code`."""
    return code.split()[0]


def lasting(inputs: Iterable[str]) -> set[str]:
    """`inputs` without the seconds that Snakemake measured, which differ in every run."""
    return {path for path in inputs if Path(path).suffix != ".tsv"}


def record_path(artefact: str) -> Path:
    """Where the record of `results/<run>/NAME` stands; before `results/` may be a module's prefix."""
    *folders, name = Path(artefact).parts
    runs = [place + 2 for place, folder in enumerate(folders[:-1]) if folder == "results"]
    root = max(runs, default=len(folders))  # of another file: beside it
    return Path(*folders[:root], FOLDER, *folders[root:], f"{name}.json")


def known(path: str) -> str:
    """`sha256` of `path`, read from the record of the job that made it if the record is the younger one.

    So large weights are hashed once, by the job that writes them, not by every job that reads them.
    """
    if (record := record_path(path)).is_file():
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
    """{path: `function(path)`}, sorted, on all cores: hashing releases Python's lock."""
    paths = sorted(paths)
    with ThreadPoolExecutor() as pool:
        return dict(zip(paths, pool.map(function, paths), strict=True))


def plain(params: Mapping[str, Any]) -> files.Json:
    """Parameters as JSON has them: tuples become lists, paths become texts, addresses lose their secrets."""
    text = orjson.dumps(dict(params), default=str, option=orjson.OPT_NON_STR_KEYS)
    return addresses.shown(orjson.loads(text))
