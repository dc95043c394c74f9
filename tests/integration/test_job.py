import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from mcqlora import files, hashing
from mcqlora.job import MASTER

SOURCE = Path(__file__).parents[2] / "src"
LIMIT = 60  # seconds until a hanging test fails


def start(body, folder, master=None):
    """A Python process that runs `body` as a job: given -> results/run/made, logs/job.log."""
    code = (
        "import os, sys, time\nfrom mcqlora.job import job\nfrom mcqlora.errors import UserError\n"
        "from types import SimpleNamespace\n"
        "snakemake = SimpleNamespace(log=['logs/job.log'], output=['results/run/made'], input=['given'],"
        " rule='rule', params={'code': 'job.py 1'}, scriptdir='.')\n"
        "print('before', flush=True)\nwith job(snakemake):\n" + textwrap.indent(body, "    ")
    )
    for name in ("results/run/made", "given", "job.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    environment = {key: value for key, value in os.environ.items() if key != MASTER}
    environment |= {"PYTHONPATH": str(SOURCE)} | ({MASTER: str(master)} if master else {})
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(body, folder):
    process = start(body, folder)
    out, err = process.communicate(timeout=LIMIT)
    log = folder / "logs" / "job.log"
    return process.returncode, out, err, log.read_text()


def test_all_that_a_job_prints_is_in_its_log(tmp_path):
    body = "print('said')\nprint('warned', file=sys.stderr)\nos.system('echo child; echo grumble >&2')"
    code, out, err, log = run(body, tmp_path)
    assert code == 0
    assert out == "before\n"
    assert err == ""
    assert sorted(log.split()) == ["child", "grumble", "said", "warned"]


def test_a_job_that_ended_well_is_recorded_and_no_other(tmp_path):
    record = tmp_path / "results/run/provenance/made.json"
    run("raise UserError('no')", tmp_path)
    assert not record.exists()
    assert run("open('results/run/made', 'w').write('made')", tmp_path)[0] == 0
    found = files.read_json(record)
    assert found["sha256"] == hashing.sha256(tmp_path / "results/run/made") and found["code"] == "job.py 1"


def test_a_user_error_is_one_line_and_exit_1(tmp_path):
    code, _, err, log = run("raise UserError('mmlu/x_dev.csv: row 3: two cells; mend it')", tmp_path)
    assert code == 1
    assert err == "mcqlora: mmlu/x_dev.csv: row 3: two cells; mend it\n"
    assert log == err
    assert "Traceback" not in log


def test_a_user_error_of_two_lines_is_one_line(tmp_path):
    _, _, err, _ = run("raise UserError('one\\ntwo')", tmp_path)
    assert err == "mcqlora: one two\n"


def test_any_other_error_is_one_line_that_names_the_log_with_the_traceback(tmp_path):
    code, _, err, log = run("value = {'a': 1}\nvalue['b\\nc']", tmp_path)
    assert code == 1
    assert err.count("\n") == 1
    assert err.startswith("mcqlora: KeyError: ")
    assert err.endswith("(traceback in logs/job.log)\n")
    assert "Traceback (most recent call last)" in log
    assert "KeyError" in log.splitlines()[-2]


def test_a_full_disk_is_named_without_a_traceback_on_the_terminal(tmp_path):
    _, _, err, _ = run("with open('/dev/full', 'w') as file:\n    file.write('x')", tmp_path)
    assert err == (
        "mcqlora: logs/job.log: cannot write (No space left on device); free space or mend permissions\n"
    )


def test_a_full_disk_of_the_log_hides_no_message(tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/job.log").symlink_to("/dev/full")
    for body, said in (("raise UserError('x')", "x"), ("raise ValueError('y')", "ValueError: y ")):
        process = start(body, tmp_path)
        _, err = process.communicate(timeout=LIMIT)
        assert process.returncode == 1
        assert err.startswith(f"mcqlora: {said}") and err.count("\n") == 1


def test_a_log_that_cannot_be_opened_is_one_line(tmp_path):
    (tmp_path / "logs").write_text("")
    process = start("open('late', 'w').close()", tmp_path)
    _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 1 and "Traceback" not in err
    assert err.startswith("mcqlora: logs/job.log: cannot write (") and err.count("\n") == 1
    assert not (tmp_path / "late").exists()


def test_a_long_message_is_cut(tmp_path):
    _, _, err, log = run("raise ValueError('x' * 5000)", tmp_path)
    assert len(err) < 500
    assert "x" * 5000 in log


def test_a_log_is_appended_to(tmp_path):
    run("print('first')", tmp_path)
    assert run("print('second')", tmp_path)[-1].split() == ["first", "second"]


def test_a_job_that_exits_by_itself_keeps_its_code(tmp_path):
    assert run("sys.exit(3)", tmp_path)[0] == 3


@pytest.fixture
def master():
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


def test_a_job_ends_with_its_master(tmp_path, master):
    body = (
        "print('working', flush=True)\nopen('ready', 'w').close()\ntime.sleep(600)\nopen('late', 'w').close()"
    )
    job = start(body, tmp_path, master.pid)
    try:
        assert job.stdout.readline() == "before\n"
        while not (tmp_path / "ready").exists():
            assert job.poll() is None
        master.kill()
        master.wait()
        assert job.wait(timeout=LIMIT) == -signal.SIGKILL
        assert not (tmp_path / "late").exists()
    finally:
        job.kill()
        job.communicate()


def test_a_job_whose_master_lives_ends_by_itself(tmp_path, master):
    job = start("pass", tmp_path, master.pid)
    job.communicate(timeout=LIMIT)
    assert job.returncode == 0


def test_a_job_whose_master_is_gone_does_not_begin(tmp_path, master):
    master.kill()
    master.wait()
    job = start("open('late', 'w').close()", tmp_path, master.pid)
    job.communicate(timeout=LIMIT)
    assert job.returncode == -signal.SIGKILL
    assert not (tmp_path / "late").exists()
