import json
import os
import shutil
import subprocess
import sys
import venv
from importlib import metadata
from pathlib import Path

import pytest

from mcqlora.machine import doctor
from mcqlora.machine.doctor import BAD, LESS, NPU, OK

ROOT = Path(__file__).parents[2]
LOCK = "mindspore==2.9.0 \\\n    --hash=sha256:00\nruamel-yaml==1.0 \\\n    --hash=sha256:11\n"
HAVE = {"mindspore": "2.9.0", "ruamel-yaml": "1.0", "other": "9"}
MEMINFO = "MemTotal:       24000000 kB\nMemFree:  1 kB\nMemAvailable:   {} kB\n"


def state(check):
    return check.state


def test_python_3_11_or_3_12_will_do():
    assert state(doctor.python((3, 11, 9))) == state(doctor.python((3, 12, 1))) == OK
    for version in ((3, 10, 4), (3, 13, 1), (2, 7, 18)):
        check = doctor.python(version)
        assert check.state == BAD and "make PYTHON=" in check.remedy


@pytest.mark.parametrize("name", ["my project (1)", "b[ra]ck*?", "l'île 中文", "100%#&;,=@", "a\u3000b"])
def test_a_checkout_may_have_a_name_of_many_letters(name):
    assert doctor.checkout(Path("/home", name)).state == OK


@pytest.mark.parametrize("letter", ["{", "}", ":", '"', "$", "`", "\\", "\n", "\t"])
def test_letters_that_keep_the_installation_or_snakemake_from_working_are_named(letter):
    check = doctor.checkout(Path(f"/home/p{letter}q/mcqlora"))
    assert check.state == BAD and f" has {repr(letter)[1:-1]} in its path" in check.found
    assert "\n" not in doctor.line(check).removesuffix("\n") and "rename the folder" in check.remedy


def test_packages_are_compared_with_the_nearest_lock():
    texts = {"cpu": LOCK, "ascend": LOCK.replace("1.0", "0.9") + "tornado==6 \\\n"}
    assert doctor.packages(texts, HAVE).found == "2, as envs/cpu.lock has them"
    assert doctor.packages(texts, HAVE | {"ruamel-yaml": "0.9", "tornado": "6"}).found == (
        "3, as envs/ascend.lock has them"
    )


def test_a_missing_package_is_bad_and_another_version_is_less():
    other = doctor.packages({"cpu": LOCK}, HAVE | {"mindspore": "2.6.0"})
    assert (other.state, other.found) == (LESS, "not envs/cpu.lock: mindspore 2.6.0 for 2.9.0")
    missing = doctor.packages({"cpu": LOCK}, {"mindspore": "2.6.0"})
    assert (missing.state, missing.found) == (BAD, "1 of 2 missing (ruamel-yaml)")
    assert missing.remedy.endswith("pip install --require-hashes -r envs/cpu.lock")


def test_names_are_compared_as_lock_files_write_them():
    assert doctor.normal("Ruamel.yaml") == doctor.normal("ruamel_yaml") == "ruamel-yaml"
    assert doctor.installed()["pytest"] == pytest.__version__


@pytest.mark.parametrize(("free", "said"), [(8_000_000, OK), (2_000_000, BAD)])
def test_memory_is_what_can_be_had(free, said):
    check = doctor.memory(MEMINFO.format(free), 2)
    assert check.state == said
    assert check.found == f"2 cores, {free * 1024 / 1e9:.1f} of 24.6 GB free"


def test_disk(tmp_path, monkeypatch):
    assert state(doctor.disk(tmp_path, 10**12, installed=True)) == OK
    assert state(doctor.disk(tmp_path, 10**8, installed=True)) == BAD
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    check = doctor.disk(tmp_path, 10**12, installed=True)
    assert check.state == BAD and str(tmp_path) in check.found


def test_before_the_installation_its_space_is_asked_for_too(tmp_path, monkeypatch):
    """The README's 6 GB, which `make` asks for as well."""
    needed = doctor.INSTALLATION_GB + doctor.DISK_GB
    assert f" {needed} GB of disk " in (ROOT / "README.md").read_text()
    usage, free = shutil.disk_usage(tmp_path), needed * 10**9
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage._replace(free=free - 1))
    monkeypatch.setattr(doctor, "mindspore", lambda device: doctor.Check(device, OK, ""))
    for have, said in (({}, BAD), (doctor.installed(), OK)):
        monkeypatch.setattr(doctor, "installed", lambda have=have: have)
        (check,) = (check for check in doctor.checks(ROOT, tmp_path) if check.name == "disk")
        assert check.state == said
    assert state(doctor.disk(tmp_path, free, installed=False)) == OK
    assert f"up to {needed} GB" in doctor.disk(tmp_path, free - 1, installed=False).remedy


def test_make_asks_for_the_same_space(tmp_path):
    """scripts/check-machine, in a folder whose src/ has a smaller disk."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src/sitecustomize.py").write_text(
        f"import shutil, sys\nsys.path.append({str(ROOT / 'src')!r})\n"
        "usage = shutil.disk_usage\nshutil.disk_usage = lambda path: usage(path)._replace(free=5 * 10**9)\n"
    )
    command = [ROOT / "scripts" / "check-machine", sys.executable]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    said = "5.0 GB free here; installation and demo write up to 6 GB; free some, or clone elsewhere"
    assert (done.returncode, done.stderr) == (1, f"mcqlora: {said}\n")


def test_two_processes_can_meet_here_or_it_is_said_why(monkeypatch):
    assert state(doctor.loopback()) == OK

    def refuse(*_, **__):
        raise OSError("no loopback")

    monkeypatch.setattr("socket.create_server", refuse)
    check = doctor.loopback()
    assert check.state == BAD and check.found == "no loopback" and "train.workers" in check.remedy


def test_msrun_stands_beside_python(tmp_path):
    assert state(doctor.msrun(tmp_path / "msrun")) == BAD
    (tmp_path / "msrun").write_text("#!/bin/sh\n")
    (tmp_path / "msrun").chmod(0o755)
    assert state(doctor.msrun(tmp_path / "msrun")) == OK


def test_fonts():
    assert doctor.fonts("Noto Sans CJK SC,Noto\nWenQuanYi\n").found == "Chinese: Noto Sans CJK SC"
    assert state(doctor.fonts("")) == state(doctor.fonts(None)) == LESS


def test_a_machine_without_npus_can_do_less_and_one_with_them_is_ok():
    assert state(doctor.devices(0)) == LESS
    assert doctor.devices(4).found == "4 Ascend NPUs"


@pytest.fixture
def ascend(tmp_path):
    """The two version files that MindSpore and the driver keep."""
    for place, version in (("driver", "26.0.RC1"), ("toolkit/compiler", "9.0.T12.0.B070")):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "version.info").write_text(f"Version={version}\ntimestamp=1\n")
    return tmp_path


def test_driver_and_cann_of_this_mindspore(ascend):
    driver, cann, _ = doctor.ascend(ascend, str(ascend / "toolkit" / "opp"))
    assert driver == ("driver", OK, "26.0.RC1", driver.remedy)
    assert cann == ("CANN", OK, "9.0.T12.0.B070", cann.remedy)


def test_another_cann_or_driver_is_named(ascend):
    (ascend / "driver" / "version.info").write_text("Version=23.0.3\n")
    (ascend / "toolkit" / "compiler" / "version.info").write_text("Version=7.3.0.1\n")
    driver, cann, _ = doctor.ascend(ascend, str(ascend / "toolkit" / "opp"))
    assert (driver.state, driver.found) == (LESS, "23.0.3") and "26.0.RC1" in driver.remedy
    assert (cann.state, cann.found) == (LESS, "7.3.0.1") and "CANN 9.0.0" in cann.remedy


def test_cann_s_packages_are_looked_for_as_a_training_would(ascend, monkeypatch):
    """MindSpore's check_deps_version (run_check/_check_version.py) imports te, which PYTHONPATH leads to."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    *_, missing = doctor.ascend(ascend, str(ascend / "toolkit" / "opp"))
    assert (missing.state, missing.found) == (NPU, "a training would not find te")
    assert missing.remedy == f"source {ascend}/ascend-toolkit/set_env.sh, which sets PYTHONPATH"
    packages = ascend / "toolkit/opp/built-in/op_impl/ai_core/tbe"
    (packages / "te").mkdir(parents=True)
    (packages / "te" / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(packages))
    *_, seen = doctor.ascend(ascend, str(ascend / "toolkit" / "opp"))
    assert (seen.state, seen.found) == (OK, str(packages / "te" / "__init__.py"))
    told = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    monkeypatch.setattr(doctor, "environment", lambda folder: told)  # a launch that forgets it
    *_, forgotten = doctor.ascend(ascend, str(ascend / "toolkit" / "opp"))
    assert forgotten.state == NPU


def test_cann_s_environment_is_not_loaded(tmp_path, monkeypatch):
    """Its packages are looked for all the same: set_env.sh, which is to be sourced, leads to them."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    driver, cann, packages = doctor.ascend(tmp_path, None)
    assert (driver.state, driver.found) == (LESS, "none found")
    assert cann.remedy == f"source {tmp_path}/ascend-toolkit/set_env.sh"
    assert cann.state == packages.state == NPU


def test_what_cann_belongs_to_this_mindspore_is_what_its_wheel_was_built_with():
    import importlib.util

    wheel = Path(importlib.util.find_spec("mindspore").origin).parent
    built = (wheel / "lib/plugin/ascend/custom_ascendc_910b/version.info").read_text()
    assert built.strip() == f"custom_opp_compiler_version={doctor.CANN}"


def test_cann_and_driver_are_those_that_mindformers_names():
    import importlib.util

    package = Path(importlib.util.find_spec("mindformers").origin).parent
    versions = json.loads((package / "VERSION_MAP.json").read_text())
    mindspore, cann = metadata.version("mindspore"), doctor.CANN
    assert versions["ms"][mindspore]["prefer"] == cann and versions["cann"][cann]["prefer"] == doctor.DRIVER


@pytest.mark.integration
def test_mindspore_needs_no_home(monkeypatch):
    monkeypatch.setenv("HOME", "/dev/null")
    assert doctor.mindspore("CPU").state == OK


def test_a_probe_that_fails_says_its_last_error(monkeypatch):
    monkeypatch.setattr(doctor, "PROBE", "raise ImportError('libc is too old')")
    check = doctor.mindspore("CPU")
    assert (check.state, check.found) == (BAD, "ImportError: libc is too old")
    monkeypatch.setattr(doctor, "PROBE", "import os; os._exit(7)")
    assert doctor.mindspore("Ascend")[1:3] == (NPU, "exit code 7")
    monkeypatch.setattr(doctor, "PROBE", "import time; time.sleep(60)")
    assert doctor.mindspore("CPU", timeout=1).found == "no answer in 1 s"


@pytest.mark.parametrize(
    ("states", "said", "code"),
    [
        ((OK, LESS), "The demo can run: make run", 0),
        ((LESS, NPU), "No training can run on the NPUs: 1; on the CPU the demo can: make run", 1),
        ((NPU, NPU), "No training can run on the NPUs: 0, 1; on the CPU the demo can: make run", 1),
        ((BAD, LESS), "No training can run: 0", 1),
        ((NPU, BAD), "No training can run: 1", 1),
    ],
)
def test_verdict_and_exit_code_say_what_can_run(states, said, code, monkeypatch, capsys):
    checks = [doctor.Check(str(number), state, "") for number, state in enumerate(states)]
    monkeypatch.setattr(doctor, "checks", lambda project, folder: checks)
    assert doctor.main() == code
    assert capsys.readouterr().out.splitlines()[-1] == said


def test_a_line():
    assert doctor.line(doctor.Check("a", OK, "b", "c")) == f"ok    a{' ' * 20}b\n"


def test_a_python_without_any_package_is_told_what_to_do(tmp_path):
    """Before the installation: no package is imported, no traceback is shown, and the exit code is 1."""
    venv.create(tmp_path / "venv", symlinks=True)
    done = subprocess.run(
        [tmp_path / "venv" / "bin" / "python", "-m", "mcqlora.machine.doctor"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[-1].startswith("No training can run: packages, MindSpore on CPU, msrun")
    assert any(line.startswith("BAD   packages") and "make" in line for line in lines)
    assert [path.name for path in tmp_path.iterdir()] == ["venv"]
