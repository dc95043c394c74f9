"""Whether the artefacts of a run are what they would be if they were made now, judged by their records."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mcqlora import files
from mcqlora.errors import UserError
from mcqlora.provenance import fingerprint, record
from mcqlora.provenance.record import Job, lasting, plain, record_path, script

CURRENT = "current"


def states(jobs: Iterable[Job], scripts: Path) -> dict[str, str]:
    """{artefact: CURRENT, or all that is wrong with it, e.g. "changed on disk; input not current: NAME"}.

    A temporary artefact that is gone is listed only if it would come out otherwise now. `jobs` are as a run
    would make them now, in any order; `scripts` is the folder of the scripts.
    """
    jobs = list(jobs)
    makers = {path: job for job in jobs for path in job.outputs}
    records = {path: _record(path) for path in makers}
    named = {path for job in jobs for path in (*job.inputs, *job.outputs)}
    hashes = record.each(record.sha256, filter(os.path.exists, named))
    gone = {path for job in jobs for path in job.temporary if path not in hashes}
    hashes |= {path: made["sha256"] for path in gone if (made := records[path])}  # as they were
    software = {job.rule: fingerprint.software(scripts / script(job.params["code"])) for job in jobs}
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
    path: str, job: Job, made: files.Json | None, hashes: Mapping[str, str], software: dict[str, str]
) -> list[str]:
    """All that is wrong with an artefact itself; nothing of what it was made of."""
    if path not in hashes and path not in job.temporary:
        return ["missing"]
    if made is None:
        return ["no record"]
    now = plain(job.params)
    code = now.pop("code")
    inputs = {name: hashes.get(name) for name in lasting(job.inputs)}
    changed = {
        "made with other parameters": [
            name.removeprefix("chosen.") for name in differences(made["params"], now)
        ],
        "made by other code": [script(code)] if made["code"] != code else [],
        "made with other software": differences(made["software"], software),
        "input changed": differences(made["inputs"], inputs),
    }
    reasons = ["changed on disk"] if hashes[path] != made["sha256"] else []
    return reasons + [f"{reason}: {', '.join(names)}" for reason, names in changed.items() if names]


def _record(path: str) -> files.Json | None:
    """The record of an artefact; None if there is none that can be read."""
    try:
        made = files.read_json(record_path(path))
    except (FileNotFoundError, UserError):
        return None
    return made if isinstance(made, dict) and made.keys() >= set(record.KEYS) else None


def differences(old: Any, new: Any, place: str = "") -> list[str]:
    """Dotted names of what differs between two JSON values, sorted."""
    if isinstance(old, dict) and isinstance(new, dict):
        absent = object()
        return [
            found
            for name in sorted(old.keys() | new.keys())
            for found in differences(
                old.get(name, absent), new.get(name, absent), f"{place}.{name}" if place else name
            )
        ]
    return [] if old == new else [place]


def table(found: Mapping[str, str]) -> str:
    """One line per artefact, then how many are current."""
    width = max(map(len, found), default=0)
    lines = [f"{path:<{width}}  {state}" for path, state in found.items()]
    current = sum(state == CURRENT for state in found.values())
    return "\n".join([*lines, "", f"{current} of {len(found)} artefacts are current", ""])
