"""Lock files and conda YAMLs: one set of packages, pinned with hashes, from no named registry."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from mcqlora.machine import doctor

ROOT = Path(__file__).parents[2]
ENVS = ROOT / "envs"
DEVICES = ("cpu", "ascend")
REGISTRIES = (
    r"(?:pypi|pythonhosted|anaconda|npmjs|debian|tsinghua|aliyun|ustc|\b(?:repo|mirrors)\.huaweicloud)"
    r"\.(?:org|com|net|edu|cn)"
)


def lock(name):
    return (ENVS / f"{name}.lock").read_text()


def requirements(text):
    """{name==version: hashes} of a requirements file's text."""
    joined = re.sub(r"\s*\\\n\s*", " ", text).splitlines()
    entries = [line.split() for line in joined if line and not line.startswith("#")]
    return {entry[0]: set(entry[1:]) for entry in entries}


@pytest.mark.parametrize("name", [path.stem for path in sorted(ENVS.glob("*.lock"))])
def test_every_package_is_pinned_with_hashes(name):
    for pin, hashes in requirements(lock(name)).items():
        assert re.fullmatch(r"[a-z0-9.-]+==\S+", pin), pin
        assert hashes and all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", one) for one in hashes), pin


@pytest.mark.parametrize("device", DEVICES)
def test_conda_installs_what_the_lock_says(device):
    """Each item of conda's pip list becomes a line of the requirements file that it hands to pip."""
    made = yaml.safe_load((ENVS / f"{device}.yaml").read_text())
    python, pip, items = made["dependencies"]
    assert (python, pip) == ("python=3.11", "pip")
    assert items["pip"][0] == "--require-hashes"
    assert requirements("\n".join(items["pip"][1:])) == requirements(lock(device))


@pytest.mark.parametrize("device", DEVICES)
def test_the_conda_file_is_the_one_that_make_lock_writes(device):
    made = subprocess.run(
        ["scripts/conda-yaml", f"envs/{device}.lock"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert made.stdout == (ENVS / f"{device}.yaml").read_text()


def test_ascend_has_cpu_s_packages_and_those_that_cann_imports():
    """At the same versions, but for protobuf: CANN asks for 3.20."""
    cpu, ascend = doctor.pins(lock("cpu")), doctor.pins(lock("ascend"))
    assert cpu.keys() <= ascend.keys()
    assert [name for name in cpu if cpu[name] != ascend[name]] == ["protobuf"]
    assert ascend["protobuf"].startswith("3.20.")
    asked = {
        line.split("=")[0] for line in (ENVS / "ascend.in").read_text().splitlines() if line[:1].isalpha()
    }
    assert asked <= ascend.keys()


@pytest.mark.parametrize("name", DEVICES)
def test_what_is_asked_for_is_locked(name):
    locked = doctor.pins(lock(name))
    for line in (ENVS / "cpu.in").read_text().splitlines():
        if line[:1].isalpha():
            package, _, version = line.partition("#")[0].strip().partition("==")
            assert version in ("", locked[doctor.normal(package)]), line


def test_no_file_names_a_registry():
    """Whoever installs says which registry, by pip's and conda's own configuration."""
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    named = [
        name
        for name in filter(None, files.stdout.split("\0"))
        if (ROOT / name).is_file()
        and re.search(REGISTRIES, (ROOT / name).read_bytes().decode("utf-8", "replace"))
    ]
    assert named == []
