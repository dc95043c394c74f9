#!/usr/bin/env python3
"""Whether two checkouts make the same artefacts, byte for byte.

    .venv/bin/python tests/identity.py OLD > old.json # run one checkout's workflow, print hashes
    .venv/bin/python tests/identity.py . --against old.json  # run another's, print what differs, exit with 1

Four runs: the tiny one from end to end, the demo's data half, and, where ../shared/data is, the data half of
both recipes on the real files. Weights depend on the kind of processor: run both sides on one machine.
Left out are provenance, temporary files, and the seconds in summary.json and report.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
TINY = HERE / "tests/workflow/config/tiny.yaml"
REAL = HERE.parent / "shared/data"
RUNS = {
    "tiny": ["all", "results/tiny/plan.json", "--configfile", str(TINY)],
    "demo": ["data"],
}
if REAL.is_dir():
    RUNS |= {
        overlay: [
            "data",
            "--resources",
            "npu=4",
            "--configfile",
            f"config/{overlay}.yaml",
            "--config",
            f"data={REAL}",
        ]
        for overlay in ("reference-4npu", "internlm-7b-4npu")
    }


def hashes(checkout: Path, name: str) -> dict[str, str]:
    """{artefact below results/<run>/: hex SHA-256} of one run in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "snakemake",
            "--snakefile",
            str(checkout / "Snakefile"),
            "--cores",
            "2",
        ]
        arguments = [str(checkout / part) if part.startswith("config/") else part for part in RUNS[name]]
        environment = {key: value for key, value in os.environ.items() if key != "MCQLORA_MASTER"}
        done = subprocess.run(
            [*command, "--directory", folder, *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            sys.exit(
                f"{checkout}, {name}: exit code {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
            )
        (run,) = Path(folder, "results").iterdir()
        files = (
            file for file in sorted(run.rglob("*")) if file.is_file() and file.name != ".snakemake_timestamp"
        )
        names = {file: str(file.relative_to(run)) for file in files}
        return {
            f"{name}/{shown}": hashlib.sha256(_lasting(file)).hexdigest()
            for file, shown in names.items()
            if not shown.startswith("provenance/")
        }


def _lasting(file: Path) -> bytes:
    """A file's bytes, without the seconds that its run took."""
    if file.name == "summary.json":
        return json.dumps({**json.loads(file.read_bytes()), "seconds": None}).encode()
    if file.name == "report.md":
        return re.sub(rb"\n\| seconds .*", b"", file.read_bytes())
    return file.read_bytes()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--against", type=Path, metavar="HASHES")
    parser.add_argument("--only", choices=RUNS, action="append")
    chosen = parser.parse_args()
    found: dict[str, str] = {}
    for name in chosen.only or RUNS:
        found |= hashes(chosen.checkout.resolve(), name)
    if not chosen.against:
        print(json.dumps(found, indent=1))
        return
    before = json.loads(chosen.against.read_text())
    before = {key: value for key, value in before.items() if key.split("/")[0] in (chosen.only or RUNS)}
    changed = sorted(key for key in before.keys() | found.keys() if before.get(key) != found.get(key))
    print("\n".join(changed))
    print(f"{len(before.keys() | found.keys()) - len(changed)} the same, {len(changed)} differ")
    sys.exit(bool(changed))


if __name__ == "__main__":
    main()
