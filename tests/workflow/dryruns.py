"""Dry runs one after the other in one process, which imports Snakemake and the project once.

Reads a JSON list of runs from standard input, `{"arguments", "changed"}`, and writes the list of their
`[exit code, output]`; the working directory is theirs. `changed` maps files to what they hold in that run;
relative paths are those of the project, of which the runs have a copy.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from snakemake import cli

ROOT = Path(__file__).parents[2]
PARTS = ("Snakefile", "config.yaml", "envs", "profiles", "src", "workflow")


def run(project: Path, arguments: list[str], changed: dict[str, str]) -> tuple[int, str]:
    before = {name: ((project / name).read_bytes(), (project / name).stat().st_mtime_ns) for name in changed}
    for name, text in changed.items():
        rewrite(project / name, text.encode("utf-8", "surrogateescape"))
    with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
        try:
            cli.main(["--snakefile", str(project / "Snakefile"), "--directory", ".", "--dry-run", *arguments])
            code = 0
        except SystemExit as error:
            code = error.code or 0
        sys.stdout.flush()
        sys.stderr.flush()
        said.seek(0)
        output = said.read()
    for name, (data, time) in before.items():
        rewrite(project / name, data)
        os.utime(project / name, ns=(time, time))
    return code, output


def rewrite(path: Path, data: bytes) -> None:
    """Write a file, and let the Snakefile import it anew if it is a module of ours."""
    path.write_bytes(data)
    if "mcqlora" in path.parts and path.suffix == ".py":
        for name in [name for name in sys.modules if name.split(".")[0] == "mcqlora"]:
            del sys.modules[name]


if __name__ == "__main__":
    results = os.dup(1)
    with tempfile.TemporaryDirectory() as folder:
        for part in PARTS:
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
            copy(ROOT / part, Path(folder, part))
        done = [run(Path(folder), **asked) for asked in json.load(sys.stdin)]
    with open(results, "w", encoding="utf-8") as file:
        json.dump(done, file)
