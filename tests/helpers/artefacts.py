"""What a run has made, by its hashes."""

from __future__ import annotations

from pathlib import Path

from mcqlora import files, hashing

KINDS = (".json", ".jsonl", ".mindrecord", ".db", ".safetensors", ".model", ".csv", ".yaml", ".svg", ".md")


def hashes(folder: Path, run: str = "tiny") -> dict[str, str]:
    """Hash of every artefact that must not differ between runs.

    Not of the summary and the report, which hold seconds, nor of temporary files, nor of the plan, which only
    those runs have that were asked for it.
    """
    results = folder / "results" / run
    files = (path for path in sorted(results.rglob("*")) if path.suffix in KINDS)
    names = {path: str(path.relative_to(results)) for path in files}
    others = ("summary.json", "report.md", "encoded/", "plan.json")
    kept = {
        name: path for path, name in names.items() if not name.removeprefix("provenance/").startswith(others)
    }
    # A kill leaves hidden temporary files and folders of writes that had not ended.
    return {name: hashing.sha256(path) for name, path in kept.items() if not f"/{name}".count("/.")}


def summary(folder: Path, run: str = "tiny") -> dict:
    """summary.json without its seconds."""
    found = files.read_json(folder / "results" / run / "summary.json")
    del found["seconds"]
    return found
