"""The finished run is the same as the workflow tests'; the last line counts what was survived."""

from tests.workflow.conftest import finished

__all__ = ["finished"]


def pytest_terminal_summary(terminalreporter, config):
    if config.getoption("-m") != "faults":
        return
    counts = {name: len(terminalreporter.getreports(name)) for name in ("passed", "failed", "error")}
    terminalreporter.write_line(f"faults: {sum(counts.values())} tried, {counts['passed']} survived")
