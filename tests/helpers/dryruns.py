"""Dry runs one after the other in one process, which imports Snakemake and the project once.

`Process` is the tests' end. The other, this file as a program, reads requests from standard input, one per
line, `{"folder", "arguments", "changed"}`, and answers each with a line `[exit code, output]`. `changed` maps
files to what they hold in that run; relative paths are those of the project, of which it has a copy.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests.helpers.runs import PARTS, ROOT, TINY, Completed, environment, jobs

PROCESSES = 4  # of many dry runs, which sleep for most of their time
FEW = 20  # dry runs are worth a process


class DryRun(NamedTuple):
    """A dry run to be made: Snakemake's arguments, and files with other contents, see above."""

    arguments: Sequence[str] = ()
    changed: Mapping[str, str] = {}


class Process:
    """A process for dry runs; a context, which ends it."""

    def __enter__(self) -> Process:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.helpers.dryruns"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment() | {"PYTHONPATH": str(ROOT)},
            cwd=ROOT,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()

    def run(
        self,
        folder: Path,
        *arguments: str,
        configfile: Path | None = TINY,
        changed: Mapping[str, str] | None = None,
    ) -> Completed:
        """As `snakemake(folder, "--dry-run", *arguments)`; all output in one, in `stdout`."""
        overlay = ["--configfile", str(configfile)] if configfile else []
        asked = {"folder": str(folder), "arguments": [*arguments, *overlay], "changed": dict(changed or {})}
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        code, said = json.loads(self.process.stdout.readline())
        return Completed(list(arguments), code, said, "")


def dry_runs(folder: Path, wanted: Sequence[DryRun], configfile: Path = TINY) -> list[set[str]]:
    """The jobs that each of many would run, see `runs.jobs`; by several processes."""

    def some(own: Sequence[DryRun]) -> list[set[str]]:
        with Process() as process:
            return [
                jobs(process.run(folder, *arguments, configfile=configfile, changed=changed))
                for arguments, changed in own
            ]

    size = max(FEW, math.ceil(len(wanted) / PROCESSES))
    with ThreadPoolExecutor() as pool:
        parts = pool.map(some, (wanted[i : i + size] for i in range(0, len(wanted), size)))
        return [found for part in parts for found in part]


def answer(project: Path, folder: str, arguments: list[str], changed: dict[str, str]) -> tuple[int, str]:
    """One dry run; what it prints is caught by the descriptors, for Snakemake's log handlers keep theirs."""
    from snakemake import cli

    os.chdir(folder)
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
            if not isinstance(code, int):  # the interpreter's part
                print(code, file=sys.stderr)
                code = 1
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


def serve() -> None:
    """Answer until standard input ends."""
    with tempfile.TemporaryDirectory() as copy, open(os.dup(1), "w", encoding="utf-8") as answers:
        for part in PARTS:
            duplicate = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
            duplicate(ROOT / part, Path(copy, part))
        for line in sys.stdin:
            print(json.dumps(answer(Path(copy), **json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    serve()
