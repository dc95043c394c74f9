"""What a run has made, by its hashes."""

from __future__ import annotations

from pathlib import Path

from mcqlora import io

KINDS = (".json", ".jsonl", ".mindrecord", ".db", ".safetensors", ".model", ".csv", ".yaml", ".svg", ".md")


def hashes(folder: Path) -> dict[str, str]:
    """Hash of every artefact that must not differ between runs: all but the seconds in summary and report."""
    results = folder / "results" / "tiny"
    files = (path for path in sorted(results.rglob("*")) if path.suffix in KINDS)
    names = {str(path.relative_to(results)): path for path in files if not path.name.startswith(".")}
    for name in ("summary.json", "report.md"):
        names.pop(name, None)
    return {name: io.sha256(path) for name, path in names.items()}


def summary(folder: Path) -> dict:
    """summary.json without its seconds."""
    found = io.read_json(folder / "results/tiny/summary.json")
    del found["seconds"]
    return found
