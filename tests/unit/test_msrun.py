"""A training on several machines: from Slurm's variables to msrun's command line. No Slurm is needed."""

import os
import sys
from pathlib import Path

import pytest

from mcqlora.errors import UserError
from mcqlora.launch import environment, msrun
from mcqlora.launch.msrun import Workers

FIXTURES = Path(__file__).parents[1] / "fixtures"
BIN = Path(sys.executable).parent


def launched(workers):
    return Workers(Path("/run/worker.py"), Path("/run/config.yaml"), workers, Path("/run/logs"), 300)


@pytest.fixture
def slurm(monkeypatch):
    """A job of two machines, as the plugin's step sees it: all but the job's number is that step's."""
    monkeypatch.setenv("PATH", f"{FIXTURES}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_JOB_NODELIST", "npu07")
    monkeypatch.setenv("SLURM_NNODES", "1")
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "24")


def test_one_machine_needs_no_address_and_no_srun():
    assert launched(4).command(8118) == [
        str(BIN / "msrun"),
        *(
            "--worker_num=4",
            "--local_worker_num=4",
            "--master_port=8118",
            "--log_dir=/run/logs",
            "--join=True",
        ),
        *("--tail_worker_log=4", "--cluster_time_out=300", "/run/worker.py", "/run/config.yaml"),
    ]
    assert launched(4).command(8118, ["npu07"], "24") == launched(4).command(8118)


def test_one_worker_needs_no_msrun():
    assert launched(1).command(8118) == [sys.executable, "/run/worker.py", "/run/config.yaml"]


def test_several_machines_get_an_msrun_each_and_the_first_ones_address():
    assert launched(8).command(8118, ["npu07", "npu08"], "24") == [
        *("srun", "--ntasks-per-node=1", "--overlap", "--kill-on-bad-exit=1", "--nodes=2", "--ntasks=2"),
        *("--cpus-per-task=24", "sh", "-c", 'exec "$0" --node_rank="$SLURM_NODEID" "$@"', str(BIN / "msrun")),
        *("--worker_num=8", "--local_worker_num=4", "--master_addr=npu07", "--master_port=8118"),
        *("--log_dir=/run/logs", "--join=True", "--tail_worker_log=8", "--cluster_time_out=300"),
        *("/run/worker.py", "/run/config.yaml"),
    ]


def test_the_machines_of_a_job(slurm):
    assert msrun.hosts(os.environ) == ["npu07", "npu08"]
    assert msrun.hosts({}) == []
    with pytest.raises(UserError, match=r"^scontrol show job 8: Invalid job id specified$"):
        msrun.hosts({"SLURM_JOB_ID": "8"})


def test_a_job_without_slurms_commands(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(
        UserError, match=r"^scontrol: no such program; a Slurm job needs Slurm's commands in PATH$"
    ):
        msrun.hosts({"SLURM_JOB_ID": "7"})


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a worker, its configuration and a Python beside which msrun is the fake one."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    (tmp_path / "bin" / "msrun").symlink_to(FIXTURES / "msrun")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    (tmp_path / "config.yaml").touch()
    (tmp_path / "worker.py").write_text("import os\nopen('rank-' + os.environ['RANK_ID'], 'w')")
    return tmp_path


def run(place, workers, nodes):
    Workers(place / "worker.py", place / "config.yaml", workers, place / "logs", 60, nodes).run()


def test_each_machine_starts_its_own_ranks(slurm, place):
    run(place, 4, 2)
    assert sorted(path.name for path in place.glob("rank-*")) == ["rank-0", "rank-1", "rank-2", "rank-3"]
    said = (place / "logs" / "msrun.log").read_text()
    for node in (0, 1):
        assert f"msrun --node_rank={node} --worker_num=4 --local_worker_num=2 --master_addr=npu07" in said


def test_a_failure_on_one_machine_fails_all(slurm, place):
    (place / "worker.py").write_text(
        "import os\nif os.environ['RANK_ID'] == '3': raise ValueError('loss is nan')"
    )
    with pytest.raises(UserError, match=r"loss is nan \(see .*worker_3\.log\)$"):
        run(place, 4, 2)


@pytest.mark.parametrize(("nodes", "has"), [(3, 2), (2, 1)])
def test_a_job_of_another_size(request, monkeypatch, place, nodes, has):
    if has == 2:
        request.getfixturevalue("slurm")
    else:
        monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(UserError) as error:
        run(place, 6, nodes)
    assert str(error.value) == (
        f"train.nodes is {nodes}, but this job has {has}; "
        "run with --workflow-profile profiles/slurm, or set train.nodes: 1"
    )
    assert not (place / "logs").exists()


@pytest.mark.parametrize("home", ["/dev/null", "/proc/nonexistent", "/proc", "", "relative", None])
def test_workers_get_a_home_where_there_is_none(place, monkeypatch, home):
    monkeypatch.chdir(place)
    if home is None:
        monkeypatch.delenv("HOME")
    else:
        monkeypatch.setenv("HOME", home)
    (place / "worker.py").write_text("import os; open(os.path.expanduser('~/kept'), 'w')")
    run(place, 1, 1)
    assert (place / "logs" / "home" / "kept").is_file()
    assert not (place / ".cache").exists() and not (place / "relative").exists()


def test_a_home_of_somebody_elses_is_none(place, monkeypatch):
    monkeypatch.setenv("HOME", str(place))
    assert environment.home(place / "other") == str(place)
    monkeypatch.setattr(os, "geteuid", lambda: place.stat().st_uid + 1)
    assert environment.home(place / "other") == str(place / "other")


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_see_what_was_in_pythonpath(place, monkeypatch, workers):
    """CANN's set_env.sh puts CANN's packages there."""
    (place / "cann").mkdir()
    (place / "cann" / "te.py").write_text("version = '9.0.0'")
    monkeypatch.setenv("PYTHONPATH", str(place / "cann"))
    (place / "worker.py").write_text("import te, mcqlora.errors; open('seen', 'w').write(te.version)")
    run(place, workers, 1)
    assert (place / "seen").read_text() == "9.0.0"
    monkeypatch.delenv("PYTHONPATH")
    with pytest.raises(UserError, match="No module named 'te'"):
        run(place, workers, 1)
