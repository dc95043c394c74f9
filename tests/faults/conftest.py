"""Runs and data to be harmed; the last lines say what was tried and survived."""

import contextlib
import shutil
import subprocess

import pytest

from tests.helpers.data_folder import write_data


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of the finished run, to be harmed."""
    folder = tmp_path.resolve() / "run"
    shutil.copytree(finished, folder)
    return folder


@pytest.fixture(scope="session")
def demo_data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("demo"))


@pytest.fixture
def csv_data(demo_data, tmp_path):
    """A data folder as a user has one, to be harmed: CSV files, a reading test, a tokenizer."""
    folder = tmp_path / "data"
    shutil.copytree(demo_data, folder)
    return folder


@pytest.fixture
def mounted():
    """A function that mounts, by the arguments of mount(8) of which the last is the folder, for one test."""
    with contextlib.ExitStack() as stack:

        def mount(*arguments):
            try:
                subprocess.run(["mount", *map(str, arguments)], check=True, capture_output=True, text=True)
            except (OSError, subprocess.CalledProcessError) as error:
                said = getattr(error, "stderr", None) or str(error)
                pytest.skip(f"this test must mount, for which it needs to be root: {said.strip()}")
            if "remount" not in str(arguments):
                stack.callback(subprocess.run, ["umount", "--lazy", str(arguments[-1])], check=True)
            return arguments[-1]

        yield mount


@pytest.fixture
def read_only(mounted):
    """A function that makes a folder read-only, for root as well."""

    def mount(folder):
        mounted("--bind", folder, folder)
        mounted("-o", "remount,ro,bind", folder)

    return mount


def pytest_terminal_summary(terminalreporter, config):
    if config.getoption("-m") != "faults":
        return
    counts = {
        name: len(terminalreporter.getreports(name)) for name in ("passed", "failed", "error", "skipped")
    }
    skipped = counts.pop("skipped")
    for report in terminalreporter.getreports("passed"):
        for what, said in report.user_properties:
            terminalreporter.write_line(f"{what}: {said}")
    terminalreporter.write_line(
        f"faults: {sum(counts.values())} tried, {counts['passed']} survived"
        + (f" ({skipped} not tried, see above)" if skipped else "")
    )
