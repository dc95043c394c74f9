"""What `make run` writes: to a terminal, to a pipe, at the end, and of a run that fails or is stopped."""

from __future__ import annotations

import re
import shutil

import pytest

from tests.helpers.processes import on_terminal, run
from tests.helpers.runs import only_line, setting

pytestmark = pytest.mark.integration

QUESTIONS = "results/tiny/questions.jsonl"
PROFILE = "Using workflow specific profile"  # Snakemake's own line, before any logger


def lines(said):
    """Lines as they are left on a terminal without its moving line, or in a file."""
    shown = said.replace("\r\n", "\n").removesuffix("\n").split("\n")
    return [line.rpartition("\r")[2] for line in shown if not line.startswith(PROFILE)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with questions, and what a terminal was shown while they were made."""
    folder = tmp_path_factory.mktemp("terminal").resolve()
    code, said = on_terminal(folder, QUESTIONS)
    assert code == 0, said
    return folder, said


def test_a_terminal_shows_where_a_run_is(made):
    folder, said = made
    first, *rules, last = lines(said)
    assert first == "2 jobs; how long is known after a first run"
    assert [line.split()[0] for line in rules] == ["demo", "read"]
    assert re.fullmatch(r"2 jobs done in \d+ s\.", last)
    moving = re.findall(r"\r[^\r\n]*?(\d of 2 jobs \| (?:demo|read) \d+ s)", said)
    assert moving and "rule read:" not in said and "\x1b" not in said.replace("\x1b[A", "")
    (log,) = folder.glob(".snakemake/log/*.snakemake.log")
    assert "rule read:" in log.read_text() and "2 of 2 steps (100%) done" in log.read_text()


@pytest.mark.slow
def test_a_narrow_terminal_keeps_the_moving_line_on_one(made, tmp_path):
    shutil.copytree(made[0], tmp_path, dirs_exist_ok=True)
    code, said = on_terminal(tmp_path, QUESTIONS, "--forceall", columns=30)
    assert code == 0 and "of 2 jobs" in said
    assert max(map(len, re.findall(r"\r([^\r\n]*)(?=\r)", said))) < 30


def test_a_pipe_gets_the_last_line_alone(made, tmp_path):
    shutil.copytree(made[0], tmp_path, dirs_exist_ok=True)
    done = run(tmp_path, QUESTIONS, "--forceall")
    assert done.returncode == 0 and done.stdout == ""
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", done.stderr)
    (only,) = lines(done.stderr)
    assert re.fullmatch(r"2 jobs done in \d+ s\.", only)


def test_a_second_run_has_an_estimate_and_says_when_there_is_nothing_to_do(made, tmp_path):
    shutil.copytree(made[0], tmp_path, dirs_exist_ok=True)
    _, said = on_terminal(tmp_path, QUESTIONS, "--forceall")
    assert lines(said)[0] == "2 jobs, about 10 s by the times of earlier runs"
    (only,) = lines(run(tmp_path, QUESTIONS).stderr)
    assert only.startswith("Nothing to be done")


def test_a_dry_run_is_snakemake_s(made):
    done = run(made[0], QUESTIONS, "--dry-run", "--forceall")
    assert "This was a dry-run" in done.stdout and "rule read:" in done.stdout
    assert "jobs done" not in done.stdout + done.stderr


@pytest.mark.slow
def test_a_switch_that_asks_for_more_gets_it(made, tmp_path):
    shutil.copytree(made[0], tmp_path, dirs_exist_ok=True)
    said = run(tmp_path, QUESTIONS, "--forceall", "--verbose").stderr
    assert "rule read:" in said and "Full Traceback" not in said
    assert run(tmp_path, QUESTIONS, "--forceall", "--quiet", "all").stderr.count("\n") == 1  # the profile's


def test_a_failed_job_leaves_its_line_and_where_the_logs_are(made, tmp_path):
    shutil.copytree(made[0], tmp_path, dirs_exist_ok=True)
    target = ("results/tiny/splits/test.json", "--config", setting("holdout.test=100000"))
    done = run(tmp_path, *target)
    told = only_line(done)
    assert told.startswith("mcqlora: split: of 1620 questions none is left")
    error, failed, last = lines(done.stderr)
    assert error == told and re.fullmatch(r"split failed after \d+ s; its log: logs/tiny/split\.log", failed)
    assert last.startswith("Failed after 2 of 3 jobs; the same command goes on from here.")
    log = tmp_path / last.partition("Snakemake's log: ")[2]
    assert "Error in rule split" in log.read_text()
    assert told.removeprefix("mcqlora: ") in (tmp_path / "logs/tiny/split.log").read_text()

    code, said = on_terminal(tmp_path, *target)
    first, *told = lines(said)
    assert code == 1 and first.startswith("1 job")
    assert [told[0], told[1][:19], told[2][:23]] == [error, "split failed after ", "Failed after 0 of 1 job"]


def test_a_job_that_is_killed_is_named(made, tmp_path, monkeypatch):
    shutil.copytree(made[0], tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("MCQLORA_MASTER", "4194304")  # there is none of that number, so jobs end themselves
    done = run(tmp_path, QUESTIONS, "--forceall")
    assert done.returncode == 1
    assert (
        lines(done.stderr)[0].startswith("A job was ended by SIGKILL, as the kernel does")
        and "demo failed after" in done.stderr
    )


def test_ctrl_c_is_no_failure(tmp_path):
    code, said = on_terminal(tmp_path, "results/tiny/summary.json", stop_at="1 of ")
    assert code != 0 and "failed" not in said
    assert re.match(r"Stopped after \d+ of \d+ jobs; the same command goes on from here\.", lines(said)[-1])


@pytest.mark.parametrize("arguments", [("nothere",), ("--report", "report.html")], ids=["target", "report"])
def test_what_cannot_begin_says_why_in_few_lines(tmp_path, arguments):
    done = run(tmp_path, *arguments)
    assert done.returncode == 1 and 1 <= len(lines(done.stderr)) <= 2
    assert ("make run first" in only_line(done)) if "--report" in arguments else ("nothere" in done.stderr)


def test_the_end_of_a_whole_run(finished):
    done = run(finished)
    assert done.returncode == 0
    nothing, space, learnt, leak, retained, report, following = lines(done.stderr)
    assert nothing.startswith("Nothing to be done") and space == ""
    assert learnt.startswith("Learnt: ") and leak.startswith("Leak: ") and retained.startswith("Retained")
    assert report == f"Report: {finished.resolve() / 'results/tiny/report.md'}"
    assert following.startswith("Next: make report, with the same RUN")
    assert "Learnt" not in run(finished, "data").stderr  # which has no report


def test_the_page_is_opened_by_its_path(finished, tmp_path):
    page = tmp_path / "report.html"
    done = run(finished, "--report", str(page))
    assert done.returncode == 0 and lines(done.stderr) == [page.resolve().as_uri()]
    figures = sorted((finished / "results" / "tiny" / "figures").glob("*.svg"))
    assert len(figures) == 7
    for name in ("summary.json", "report.md", *(path.name for path in figures)):
        assert name in page.read_text()
