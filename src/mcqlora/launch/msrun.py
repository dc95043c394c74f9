"""Workers that run together under MindSpore's launcher msrun, on this machine or on those of a Slurm job."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mcqlora.errors import UserError
from mcqlora.launch.environment import environment
from mcqlora.launch.processes import die_with_parent

ERROR = re.compile(r"^[\w.]*(?:Error|Exception|Interrupt)\b: .*", re.MULTILINE)  # a traceback's last line
WAITED = "Failed to initialize distributed job cluster"  # MindSpore, in a worker that waited for others
UNJOINED = "not all workers joined in time; see what kept one, or raise train.rendezvous_timeout"


def free_port() -> int:
    """A TCP port that nobody listens on now, for msrun's scheduler, which takes it moments later."""
    with socket.socket() as probe:
        probe.bind(("", 0))  # free on every interface: other machines come by the network
        return probe.getsockname()[1]


def _before_msrun() -> None:
    """Before exec of msrun: end with the parent, and yield CPU time to the workers.

    msrun 2.9.0 waits for its workers in a loop without a pause, which costs a core. So it gets a session of
    its own, whose scheduling group is made the least important (sched(7), autogroup). A worker opens another.
    """
    die_with_parent()
    os.setsid()
    with contextlib.suppress(OSError), open("/proc/self/autogroup", "w") as group:
        group.write("19")


def next_attempt(directory: Path) -> Path:
    """The folder for the logs of another launch there; those of earlier ones are kept."""
    return directory / f"attempt-{1 + sum(1 for _ in directory.glob('attempt-*'))}"


def hosts(environment: Mapping[str, str]) -> list[str]:
    """The machines of this Slurm job, in the order of their SLURM_NODEID; none outside of a job.

    Raises:
        UserError: scontrol is missing, or fails.
    """
    job = environment.get("SLURM_JOB_ID")
    if not job:
        return []
    # All other variables are those of the step in which the plugin runs the rule, on one node.
    listed = re.search(r"(?<!\S)NodeList=(\S+)", _scontrol("job", job))
    return _scontrol("hostnames", listed[1]).split() if listed else []


def _scontrol(*of: str) -> str:
    command = ["scontrol", "show", *of]
    try:
        said = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise UserError("scontrol: no such program; a Slurm job needs Slurm's commands in PATH") from error
    if said.returncode:
        raise UserError(f"{' '.join(command)}: {said.stderr.strip()}")
    return said.stdout


def _of_the_job(environment: Mapping[str, str]) -> dict[str, str]:
    """Without the variables of our step, by which srun would start another on the same nodes alone."""
    kept = ("SLURM_JOB_ID", "SLURM_JOBID", "SLURM_CONF", "SLURM_CLUSTER_NAME")
    return {name: value for name, value in environment.items() if name in kept or name[:6] != "SLURM_"}


@dataclass(frozen=True, slots=True)
class Workers:
    """The processes of one training or evaluation."""

    script: Path  # that each runs
    config: Path  # its argument; the folder of this file is the workers' working directory
    count: int
    logs: Path
    timeout: int  # seconds that the workers wait for each other at the start
    nodes: int = 1  # machines of this Slurm job that the workers are spread over
    what: str = "training"  # as errors call it

    def command(self, port: int, machines: Sequence[str] = (), cpus: str | None = None) -> list[str]:
        """The command that starts the workers here, or divided evenly among several `machines`.

        There srun starts an msrun with `cpus` CPUs on each machine. It takes its rank from SLURM_NODEID and
        finds the one scheduler on the first machine's `port`.
        """
        if self.count == 1:
            return [sys.executable, str(self.script), str(self.config)]
        several = len(machines) > 1
        command = [
            str(Path(sys.executable).with_name("msrun")),
            f"--worker_num={self.count}",
            f"--local_worker_num={self.count // len(machines) if several else self.count}",
            *([f"--master_addr={machines[0]}"] if several else []),
            f"--master_port={port}",
            f"--log_dir={self.logs.resolve()}",
            "--join=True",
            f"--tail_worker_log={self.count}",  # no such rank: no tail process that outlives a killed msrun
            f"--cluster_time_out={self.timeout}",
            *(str(self.script), str(self.config)),
        ]
        if not several:
            return command
        return [
            # One task per machine, beside this process: a step of the Slurm job, which holds all that it has.
            *("srun", "--ntasks-per-node=1", "--overlap", "--kill-on-bad-exit=1"),
            *(f"--nodes={len(machines)}", f"--ntasks={len(machines)}"),
            *([f"--cpus-per-task={cpus}"] if cpus else []),  # since Slurm 22.05 srun no longer inherits it
            *("sh", "-c", 'exec "$0" --node_rank="$SLURM_NODEID" "$@"'),
            *command,
        ]

    def run(self) -> None:
        """Start the workers, under msrun if there are several; return when all have ended well.

        Raises:
            UserError: the Slurm job has another number of machines, or a worker failed. Of the worker that
                failed first, the message quotes the last error line and names the log.
        """
        machines = hosts(os.environ) if self.nodes > 1 else []
        if self.nodes > 1 and len(machines) != self.nodes:
            raise UserError(
                f"train.nodes is {self.nodes}, but this job has {len(machines) or 1}; "
                "run with --workflow-profile profiles/slurm, or set train.nodes: 1"
            )
        self.logs.mkdir(parents=True, exist_ok=True)
        several = self.count > 1
        try:
            with open(self.logs / ("msrun.log" if several else "worker_0.log"), "wb") as log:
                process = subprocess.Popen(
                    self.command(free_port(), machines, os.environ.get("SLURM_CPUS_PER_TASK")),
                    cwd=self.config.parent,  # MindFormers writes ./output wherever it is imported
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=_of_the_job(environment(self.logs)) if machines else environment(self.logs),
                    preexec_fn=_before_msrun if several else die_with_parent,
                )
                code = process.wait()
        except FileNotFoundError as error:
            said = "no such program; install MindSpore beside this Python"
            raise UserError(f"{error.filename}: {said}") from error
        if code:
            raise UserError(f"{self.what} failed: {_cause(self.logs, code)}")


def _cause(logs: Path, code: int) -> str:
    """How the worker that failed first has ended: its last error line, signal or exit code; and its log."""
    workers, msrun = sorted(logs.glob("worker_*.log")), logs / "msrun.log"
    if msrun.exists():
        first = re.search(r"Worker process (\d+) exit with exception. Error code: (-?\d+)", _text(msrun))
        if first:
            code = int(first[2])
            workers = [log for log in workers if f"mcqlora: process {first[1]}\n" in _text(log)] or workers
    for log in (*workers, msrun):
        errors = ERROR.findall(_text(log)) if log.exists() else []
        if code < 0 or errors:
            said = f"killed by signal {-code}" if code < 0 else errors[-1].strip()[:300]
            said = said.removeprefix("mcqlora.errors.UserError: ")  # its text says enough
            if WAITED in said:
                absent = (other for other in sorted(logs.glob("worker_*.log")) if WAITED not in _text(other))
                said, log = UNJOINED, next(absent, log)
            return f"{said} (see {log})"
    return f"exit code {code} (see {workers[0] if workers else msrun})"


def _text(log: Path) -> str:
    return log.read_text(errors="replace")
