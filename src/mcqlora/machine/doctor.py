"""What this machine can run, in a few lines: `make doctor`, before anything is installed or configured.

Only the standard library is imported here, so that any Python can say what is missing.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from mcqlora.launch.environment import environment

# BAD: no training can run here; NPU: one can on the CPU, but none on the NPUs; LESS: something else cannot
OK, LESS, NPU, BAD = "ok", "less", "NPU", "BAD"

PYTHONS = ((3, 11), (3, 12))
MEMORY_GB = 4.2  # the most that the demo takes: max_rss (MiB) in benchmarks/demo/train.tsv
DISK_GB = 1  # what the demo writes
INSTALLATION_GB = 5  # .venv has 3.5, and pip unpacks beside it
# MindFormers 1.9.0 with MindSpore 2.9.0: its package's own METADATA and VERSION_MAP.json
CANN = "9.0.0"
DRIVER = "26.0.RC1"

PROBE = """
import numpy, sys
import mindspore
mindspore.set_context(device_target=sys.argv[1])
two = mindspore.Tensor(numpy.ones((2, 2), numpy.float32))
assert float(mindspore.ops.matmul(two, two).asnumpy().sum()) == 8
import mindformers
print("versions", mindspore.__version__, mindformers.__version__)
"""


class Check(NamedTuple):
    """One line: what was looked at, how it stands, what was found, and what to do unless it is OK."""

    name: str
    state: str
    found: str
    remedy: str = ""


def checks(project: Path, folder: Path) -> Iterator[Check]:
    """Look at this machine: `project` is the checkout, `folder` the one that results will be written to."""
    yield checkout(project)
    yield python(sys.version_info[:3])
    locks = {device: (project / "envs" / f"{device}.lock").read_text() for device in ("cpu", "ascend")}
    there = packages(locks, installed())  # of two that fit, the first is named
    yield there
    yield mindspore("CPU")
    npus = len(list(Path("/dev").glob("davinci[0-9]*")))
    yield devices(npus)
    if npus:
        yield from ascend(Path("/usr/local/Ascend"), os.environ.get("ASCEND_OPP_PATH"))
        yield mindspore("Ascend")
    yield msrun(Path(sys.executable).with_name("msrun"))
    yield memory(Path("/proc/meminfo").read_text(), os.cpu_count() or 1)
    yield disk(folder, shutil.disk_usage(folder).free, there.state != BAD)
    yield loopback()
    yield fonts(_output(["fc-list", ":lang=zh", "family"]))


def checkout(project: Path) -> Check:
    """Snakemake takes braces for wildcards, PATH is divided by colons, and pip's scripts name their Python in
    double quotes, for a shell."""
    found = sorted({repr(letter)[1:-1] for letter in str(project) if letter in '{}:"$`\\' or letter < " "})
    if not found:
        return Check("checkout", OK, str(project))
    remedy = "rename the folder, or clone elsewhere; spaces and brackets do no harm"
    return Check("checkout", BAD, f"{str(project)!a} has {' '.join(found)} in its path", remedy)


def python(version: Sequence[int]) -> Check:
    found = ".".join(map(str, version))
    if tuple(version[:2]) in PYTHONS:
        return Check("Python", OK, found)
    remedy = "install Python 3.11 or 3.12, or name it: make PYTHON=/path/to/python3.11"
    return Check("Python", BAD, found, remedy)


def installed() -> dict[str, str]:
    """Version by normalised name of every package that this Python finds."""
    found: dict[str, str] = {}
    for distribution in metadata.distributions():
        if name := distribution.metadata["Name"]:
            found.setdefault(normal(name), distribution.version)
    return found


def normal(name: str) -> str:
    """A package's name as lock files write it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(lock: str) -> dict[str, str]:
    """Version by name of a lock file's text."""
    return dict(re.findall(r"^([A-Za-z0-9][\w.-]*)==([^\s\\]+)", lock, re.MULTILINE))


def packages(texts: Mapping[str, str], found: Mapping[str, str]) -> Check:
    """Compare what is installed with the nearest lock file; `texts` are those of the lock files, by name."""

    def differing(name: str) -> list[str]:
        return [package for package, version in pins(texts[name]).items() if found.get(package) != version]

    name = min(texts, key=lambda one: len(differing(one)))
    wanted, wrong = pins(texts[name]), differing(name)
    if not wrong:
        return Check("packages", OK, f"{len(wanted)}, as envs/{name}.lock has them")
    remedy = f"make, or pip install --require-hashes -r envs/{name}.lock"
    if missing := [package for package in wrong if package not in found]:
        shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        return Check("packages", BAD, f"{len(missing)} of {len(wanted)} missing ({shown})", remedy)
    shown = ", ".join(f"{package} {found[package]} for {wanted[package]}" for package in wrong[:3])
    more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    return Check("packages", LESS, f"not envs/{name}.lock: {shown}{more}", remedy)


def mindspore(device: str, timeout: int = 600) -> Check:
    """Can MindSpore multiply on `device`, and can MindFormers be imported? In a process of its own."""
    name = f"MindSpore on {device}"
    state, remedy = BAD, "see packages; MindSpore has wheels for Linux on x86_64 and aarch64"
    if device == "Ascend":
        state, remedy = NPU, "see docs/devices.md for driver, CANN and their Python packages"
    with tempfile.TemporaryDirectory() as folder:  # MindFormers writes ./output wherever it is imported
        command, told = [sys.executable, "-c", PROBE, device], {**environment(Path(folder)), "GLOG_v": "4"}
        try:
            done = subprocess.run(
                command, cwd=folder, env=told, capture_output=True, text=True, timeout=timeout
            )
        except subprocess.TimeoutExpired:
            return Check(name, state, f"no answer in {timeout} s", remedy)
    if said := re.findall(r"^versions (\S+) (\S+)$", done.stdout, re.MULTILINE):
        return Check(name, OK, "MindSpore {}, MindFormers {}".format(*said[-1]))
    errors = re.findall(r"^\w*(?:Error|Exception)\b.*", done.stderr, re.MULTILINE)
    return Check(name, state, (errors[-1] if errors else f"exit code {done.returncode}")[:120], remedy)


def devices(npus: int) -> Check:
    if npus:
        return Check("devices", OK, f"{npus} Ascend NPU" + "s" * (npus > 1))
    return Check("devices", LESS, "no Ascend NPU", "trainings run on the CPU: small networks only")


def ascend(root: Path, opp: str | None) -> Iterator[Check]:
    """Driver below `root`, and CANN by `opp`, its variable ASCEND_OPP_PATH, as MindSpore finds it."""

    def version(file: Path) -> str:
        found = re.search(r"^Version=(\S+)", file.read_text(), re.MULTILINE) if file.is_file() else None
        return found[1] if found else ""

    driver = version(root / "driver" / "version.info")
    state = OK if driver.startswith(DRIVER) else LESS
    yield Check("driver", state, driver or "none found", f"CANN {CANN} needs driver {DRIVER}")
    if opp:
        cann = version(Path(opp).parent / "compiler" / "version.info")
        state = OK if cann.split(".")[:2] == CANN.split(".")[:2] else LESS
        yield Check("CANN", state, cann or f"no version beside {opp}", f"install CANN {CANN}")
    else:
        yield Check("CANN", NPU, "ASCEND_OPP_PATH is not set", f"source {root}/ascend-toolkit/set_env.sh")
    yield cann_packages(root)


def cann_packages(root: Path) -> Check:
    """Would a training see the package te, which MindSpore takes from CANN? In a process like its own."""
    name, ask = "CANN's packages", "import te; print(te.__file__)"
    with tempfile.TemporaryDirectory() as folder:
        command, told = [sys.executable, "-c", ask], environment(Path(folder))
        done = subprocess.run(command, cwd=folder, env=told, capture_output=True, text=True)
    if done.returncode == 0:
        return Check(name, OK, done.stdout.splitlines()[-1])
    remedy = f"source {root}/ascend-toolkit/set_env.sh, which sets PYTHONPATH"
    return Check(name, NPU, "a training would not find te", remedy)


def msrun(path: Path) -> Check:
    if os.access(path, os.X_OK):
        return Check("msrun", OK, "starts several workers")
    return Check("msrun", BAD, f"no {path.name} beside this Python", "see packages, or train.workers: 1")


def memory(meminfo: str, cores: int) -> Check:
    """`meminfo` is the text of /proc/meminfo, in kB."""
    kilobytes = {key: int(value) for key, value in re.findall(r"^(\w+):\s+(\d+) kB", meminfo, re.MULTILINE)}
    free, total = (kilobytes[key] * 1024 / 1e9 for key in ("MemAvailable", "MemTotal"))
    found = f"{cores} cores, {free:.1f} of {total:.1f} GB free"
    if free >= MEMORY_GB:
        return Check("memory", OK, found)
    return Check("memory", BAD, found, f"the demo takes {MEMORY_GB} GB; end something else")


def disk(folder: Path, free_bytes: int, installed: bool) -> Check:
    found = f"{free_bytes / 1e9:.1f} GB free here"
    if not os.access(folder, os.W_OK):
        return Check("disk", BAD, f"{folder} cannot be written", "change to a folder of your own")
    needed = DISK_GB if installed else INSTALLATION_GB + DISK_GB
    if free_bytes < needed * 1e9:
        what = "the demo writes" if installed else "installation and demo write"
        return Check("disk", BAD, found, f"{what} up to {needed} GB; free some, or clone elsewhere")
    return Check("disk", OK, found)


def loopback() -> Check:
    """Can two processes of this machine meet on a TCP port, as msrun's workers do?"""
    try:
        with (
            socket.create_server(("127.0.0.1", 0)) as server,
            socket.create_connection(server.getsockname(), timeout=5),
        ):
            return Check("ports", OK, "a free one for msrun")
    except OSError as error:
        remedy = "msrun's workers meet on 127.0.0.1: allow it, or train.workers: 1"
        return Check("ports", BAD, str(error), remedy)


def fonts(listing: str | None) -> Check:
    """`listing` is what `fc-list :lang=zh family` prints, None if there is no fontconfig."""
    families = sorted({line.split(",")[0] for line in (listing or "").splitlines() if line.strip()})
    if families:
        return Check("fonts", OK, f"Chinese: {families[0]}")
    remedy = "figures are SVG: whoever views Chinese labels needs one, such as fonts-noto-cjk"
    return Check("fonts", LESS, "none with Chinese", remedy)


def _output(command: list[str]) -> str | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None


def line(check: Check) -> str:
    remedy = f"; {check.remedy}" if check.state != OK and check.remedy else ""
    return f"{check.state:4}  {check.name:19}  {check.found}{remedy}\n"


def verdict(found: Sequence[Check]) -> str:
    """The last line."""
    bad, npu = (", ".join(check.name for check in found if check.state == state) for state in (BAD, NPU))
    if bad:
        return f"No training can run: {bad}"
    if npu:
        return f"No training can run on the NPUs: {npu}; on the CPU the demo can: make run"
    return "The demo can run: make run"


def ready(found: Sequence[Check]) -> bool:
    """Whether trainings can run here: where there are NPUs, on these too."""
    return not any(check.state in (NPU, BAD) for check in found)


def main() -> int:
    """Print one line per check as it is made; returns 1 unless this machine is `ready`."""
    found = []
    for check in checks(Path(__file__).parents[3], Path.cwd()):
        print(line(check), end="", flush=True)
        found.append(check)
    print(verdict(found))
    return not ready(found)


if __name__ == "__main__":
    sys.exit(main())
