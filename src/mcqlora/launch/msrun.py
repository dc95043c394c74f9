"""Several processes under msrun: `launch` starts them; `run_worker` is what happens in each of a training.

On several machines of a Slurm job, srun starts one msrun on each of them.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mcqlora.errors import UserError
from mcqlora.launch.processes import die_with_parent

# A task on each machine, beside this process: a step of the same job, which holds all that the job has.
SRUN = ("srun", "--ntasks-per-node=1", "--overlap", "--kill-on-bad-exit=1")
ERROR = re.compile(r"^[\w.]*(?:Error|Exception|Interrupt)\b: .*", re.MULTILINE)  # a traceback's last line
OURS = "mcqlora.errors.UserError: "  # which needs no name
WAITED = "Failed to initialize distributed job cluster"  # MindSpore, where others never came
UNJOINED = "not all workers joined in time; see what kept one, or raise train.rendezvous_timeout"


def free_port() -> int:
    """A TCP port that nobody listens on now; msrun's scheduler takes it moments later."""
    with socket.socket() as probe:
        probe.bind(("", 0))  # free on every interface: other machines come by the network
        return probe.getsockname()[1]


def quiet_launcher() -> None:
    """Before exec of msrun: end with the parent, and yield CPU time to the workers.

    msrun 2.7.0 waits for its workers in a loop without a pause, which costs a core. It gets a session of its
    own, whose scheduling group is made the least important (sched(7), autogroup); a worker opens another.
    """
    die_with_parent()
    os.setsid()
    with contextlib.suppress(OSError), open("/proc/self/autogroup", "w") as group:
        group.write("19")


@contextlib.contextmanager
def exclusive(directory: Path) -> Iterator[None]:
    """Hold the one lock of a training's directory.

    Raises:
        UserError: another process trains there now.
    """
    import fcntl

    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{directory}: another training runs there; wait for it or stop it") from None
        yield


def next_attempt(directory: Path) -> Path:
    """The folder for the logs of another `launch` there; those of earlier ones are kept."""
    return directory / f"attempt-{1 + sum(1 for _ in directory.glob('attempt-*'))}"


def hosts(environment: Mapping[str, str]) -> list[str]:
    """The machines of this Slurm job, in the order of their SLURM_NODEID; none outside of one.

    Raises:
        UserError: scontrol cannot be asked.
    """
    listed = environment.get("SLURM_JOB_NODELIST")  # SLURM_NNODES would be of our step alone
    if not listed:
        return []
    try:
        said = subprocess.run(["scontrol", "show", "hostnames", listed], capture_output=True, text=True)
    except FileNotFoundError as error:
        raise UserError("scontrol: no such program; a Slurm job needs Slurm's commands in PATH") from error
    if said.returncode:
        raise UserError(f"scontrol show hostnames {listed}: {said.stderr.strip()}")
    return said.stdout.split()


def msrun(
    worker: Path,
    config: Path,
    workers: int,
    logs: Path,
    timeout: int,
    port: int,
    machines: Sequence[str] = (),
    cpus: str | None = None,
) -> list[str]:
    """The command that starts the `workers` of a training here, or divided evenly among several `machines`.

    There srun starts an msrun with `cpus` CPUs on each, which takes its rank from SLURM_NODEID and finds the
    scheduler of all on the first machine's `port`.
    """
    several = len(machines) > 1
    command = [
        str(Path(sys.executable).with_name("msrun")),
        f"--worker_num={workers}",
        f"--local_worker_num={workers // len(machines) if several else workers}",
        *([f"--master_addr={machines[0]}"] if several else []),
        f"--master_port={port}",
        f"--log_dir={logs.resolve()}",
        "--join=True",
        f"--tail_worker_log={workers}",  # no such rank: no tail processes that would outlive a killed msrun
        f"--cluster_time_out={timeout}",
        str(worker),
        str(config),
    ]
    if not several:
        return command
    return [
        *SRUN,
        f"--nodes={len(machines)}",
        f"--ntasks={len(machines)}",
        *([f"--cpus-per-task={cpus}"] if cpus else []),  # from 22.05 on srun does not take it from the job
        *("sh", "-c", 'exec "$0" --node_rank="$SLURM_NODEID" "$@"'),
        *command,
    ]


def launch(
    worker: Path,
    config: Path,
    workers: int,
    logs: Path,
    timeout: int,
    *,
    nodes: int = 1,
    what: str = "training",
) -> None:
    """Run `worker` with `config`, under msrun where there are several; return when all have ended well.

    `timeout` is how many seconds they wait for each other at the start; `nodes` is the number of machines of
    this Slurm job that they are spread over; `what` fails is said in errors.

    Raises:
        UserError: the job has another number of machines. Or a worker failed; says how, quotes its last
            error line and names its log.
    """
    machines = hosts(os.environ) if nodes > 1 else []
    if nodes > 1 and len(machines) != nodes:
        raise UserError(
            f"train.nodes is {nodes}, but this job has {len(machines) or 1}; "
            "run with --workflow-profile profiles/slurm, or set train.nodes: 1"
        )
    logs.mkdir(parents=True, exist_ok=True)
    if workers > 1:
        cpus = os.environ.get("SLURM_CPUS_PER_TASK")
        command = msrun(worker, config, workers, logs, timeout, free_port(), machines, cpus)
    else:
        command = [sys.executable, str(worker), str(config)]
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "LOG_MF_PATH": str(logs.resolve()),
    }
    try:
        with open(logs / ("msrun.log" if workers > 1 else "worker_0.log"), "wb") as log:
            process = subprocess.Popen(
                command,
                cwd=config.parent,  # MindFormers writes ./output wherever it is imported
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                preexec_fn=quiet_launcher if workers > 1 else die_with_parent,
            )
            code = process.wait()
    except FileNotFoundError as error:
        raise UserError(f"{error.filename}: no such program; install MindSpore beside this Python") from error
    if code:
        raise UserError(f"{what} failed: {_cause(logs, code)}")


def _cause(logs: Path, code: int) -> str:
    """How the worker that ended first ended: its last error line, signal or exit code; and its log."""
    workers, msrun = sorted(logs.glob("worker_*.log")), logs / "msrun.log"
    if msrun.exists():
        first = re.search(r"Worker process (\d+) exit with exception. Error code: (-?\d+)", _text(msrun))
        if first:
            code = int(first[2])
            workers = [log for log in workers if f"mcqlora: process {first[1]}\n" in _text(log)] or workers
    for log in (*workers, msrun):
        errors = ERROR.findall(_text(log)) if log.exists() else []
        if code < 0 or errors:
            said = f"killed by signal {-code}" if code < 0 else errors[-1].strip()[:300].removeprefix(OURS)
            if WAITED in said:
                absent = (other for other in sorted(logs.glob("worker_*.log")) if WAITED not in _text(other))
                said, log = UNJOINED, next(absent, log)
            return f"{said} (see {log})"
    return f"exit code {code} (see {workers[0] if workers else msrun})"


def _text(log: Path) -> str:
    return log.read_text(errors="replace")


def enter() -> bool:
    """What every process that was launched does first; says whether it is a worker, not msrun's scheduler."""
    die_with_parent()
    print(f"mcqlora: process {os.getpid()}", flush=True)  # `_cause` looks for it
    return os.environ.get("MS_ROLE") != "MS_SCHED"
