"""Whether the artefacts of a run are what they would be if they were made now, by their records alone."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mcqlora import files
from mcqlora.errors import UserError
from mcqlora.provenance import fingerprint, record
from mcqlora.provenance.record import lasting, plain, record_path

CURRENT = "current"
KEYS = {"sha256", "code", "software", "params", "inputs"}  # of a record


class Job(NamedTuple):
    """What a job would be given now."""

    rule: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    temporary: Sequence[str]  # of the outputs: what the run removes when it needs them no longer
    params: Mapping[str, Any]  # with `code`: the script's name and the hash of what it means


def states(jobs: Iterable[Job], scripts: Path) -> dict[str, str]:
    """{artefact: "current", or all that is not so, e.g. "changed on disk; input not current: NAME"}.

    A temporary artefact that is gone is told of only when it would be made otherwise now.

    Args:
        jobs: in any order.
        scripts: the folder of the scripts.
    """
    jobs = list(jobs)
    makers = {path: job for job in jobs for path in job.outputs}
    records = {path: _record(path) for path in makers}
    files = {path for job in jobs for path in (*job.inputs, *job.outputs)}
    hashes = record.each(record.sha256, filter(os.path.exists, files))
    gone = {path for job in jobs for path in job.temporary if path not in hashes}
    hashes |= {path: records[path]["sha256"] for path in gone if records[path]}  # as they were
    software = {job.rule: fingerprint.software(scripts / _script(job.params["code"])) for job in jobs}
    found: dict[str, str] = {}

    def state(path: str) -> str:
        if path not in found:
            job = makers[path]
            reasons = _reasons(path, job, records[path], hashes, software[job.rule])
            stale = [name for name in sorted(job.inputs) if name in makers and state(name) != CURRENT]
            if stale:
                others = f" and {len(stale) - 1} more" if len(stale) > 1 else ""
                reasons.append(f"input not current: {stale[0]}{others}")
            found[path] = "; ".join(reasons) or CURRENT
        return found[path]

    return {path: state(path) for path in sorted(makers) if path not in gone or state(path) != CURRENT}


def _reasons(
    path: str,
    job: Job,
    record: Mapping[str, Any] | None,
    hashes: Mapping[str, str],
    software: Mapping[str, str],
) -> list[str]:
    if path not in hashes and path not in job.temporary:
        return ["missing"]
    if record is None:
        return ["no record"]
    now = plain(job.params)
    code = now.pop("code")
    inputs = {name: hashes.get(name) for name in lasting(job.inputs)}
    changed = {
        "made with other parameters": differences(record["params"], now),
        "made by other code": [_script(code)] if record["code"] != code else [],
        "made with other software": differences(record["software"], software),
        "input changed": differences(record["inputs"], inputs),
    }
    reasons = ["changed on disk"] if hashes[path] != record["sha256"] else []
    return reasons + [f"{reason}: {', '.join(names)}" for reason, names in changed.items() if names]


def _record(path: str) -> dict[str, Any] | None:
    """The record of an artefact; None if there is none that can be read."""
    try:
        record = files.read_json(record_path(path))
    except (FileNotFoundError, UserError):
        return None
    return record if isinstance(record, dict) and record.keys() >= KEYS else None


def differences(old: Any, new: Any, place: str = "") -> list[str]:
    """Dotted names of what differs between two JSON values, sorted."""
    if isinstance(old, dict) and isinstance(new, dict):
        names = sorted(old.keys() | new.keys())
        return [
            found
            for name in names
            for found in (
                differences(old[name], new[name], f"{place}.{name}" if place else name)
                if name in old and name in new
                else [f"{place}.{name}" if place else name]
            )
        ]
    return [] if old == new else [place]


def table(found: Mapping[str, str]) -> str:
    """A line an artefact, and how many are current."""
    width = max(map(len, found), default=0)
    lines = [f"{path:<{width}}  {state}" for path, state in found.items()]
    current = sum(state == CURRENT for state in found.values())
    return "\n".join([*lines, "", f"{current} of {len(found)} artefacts are current", ""])


def _script(code: str) -> str:
    return code.split()[0]
