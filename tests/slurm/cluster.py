"""A Slurm cluster of two nodes with four NPUs each, on this machine: the real daemons of Debian's packages.

Each node has a host name of its own (a UTS namespace), a hosts file that knows both and the cluster's
/etc/slurm (a mount namespace): the executor plugin's job steps forget SLURM_CONF. Each has an address of the
loopback network, and an `ip` that lists it: by that msrun tells whether it is on the master's node. The NPUs
are numbers in slurm.conf, and so are CPUs and memory. slurmdbd is there since the executor plugin reads the
state of its jobs from sacct, unless it is told to ask squeue.
"""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from mcqlora.launch.msrun import die_with_parent
from tests.helpers.processes import wait_until

PROGRAMS = {  # and Debian's packages that have them
    "munged": "munge",
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "slurmdbd": "slurmdbd",
    "sacct": "slurm-client",
    "mariadbd": "mariadb-server-core",
    "ip": "iproute2",
}
NODES = ("n1", "n2")
CONTROLLER = "controller"
NPUS = 4

DATABASE = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost=localhost
DbdPort={dbd}
SlurmUser=root
StorageType=accounting_storage/mysql
StorageLoc=slurm
StorageUser=root
"""
SLURM = """\
ClusterName=test
SlurmctldHost={controller}(127.0.0.1)
SlurmctldPort={slurmctld}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
GresTypes=npu
NodeName=n1 NodeAddr=127.0.0.1 Port={n1} CPUs=8 RealMemory=64000 Gres=npu:{npus}
NodeName=n2 NodeAddr=127.0.0.1 Port={n2} CPUs=8 RealMemory=64000 Gres=npu:{npus}
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE
"""
ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort={dbd}
AccountingStoragePass={folder}/munge.socket
AccountingStorageTRES=gres/npu
AccountingStoreFlags=job_comment
"""
IP = """\
#!/bin/sh
echo '[{{"addr_info": [{{"local": "{}"}}]}}]'
"""


class Job(NamedTuple):
    """A line of sacct; `rule` and its wildcards as the plugin comments them, times in ISO format."""

    id: str
    rule: str
    state: str
    start: str
    end: str
    nodes: str
    tres: str


class Cluster:
    def __init__(self, folder: Path):
        self.folder = folder
        self.environment = os.environ | {
            "SLURM_CONF": str(folder / "slurm.conf"),
            "USER": getpass.getuser(),  # which the plugin wants and a container may lack
        }

    def tell(self, *command: str) -> str:
        """Run one of Slurm's commands."""
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=True
        ).stdout.strip()

    def jobs(self) -> list[Job]:
        """All that there ever were."""
        fields = "--format=JobIDRaw,Comment,State,Start,End,NodeList,AllocTRES"
        said = self.tell("sacct", "-X", "--noheader", "--parsable2", "--starttime=now-1day", fields)
        return [Job(*line.split("|")) for line in said.splitlines()]

    def idle(self) -> bool:
        """Whether no job waits, runs or ends."""
        return not self.tell("squeue", "--noheader")

    def queued(self, state: str) -> int:
        return len(self.tell("squeue", "--noheader", "--states", state).splitlines())


def missing() -> str | None:
    """Why there can be no such cluster here, if so."""
    if os.geteuid() != 0:
        return "only root can install Slurm and give each node a host name"
    if not all(map(shutil.which, PROGRAMS)) and not shutil.which("apt-get"):
        return "no Slurm here, and no apt-get to install it"
    if subprocess.run(["unshare", "--uts", "--mount", "true"], capture_output=True).returncode:
        return "no namespaces here (unshare --uts --mount), which give each node a host name"
    return None


def install() -> None:
    packages = [package for program, package in PROGRAMS.items() if not shutil.which(program)]
    if packages:
        apt = ["apt-get", "--quiet"]
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run([*apt, "update"], check=True, env=environment)
        subprocess.run(
            [*apt, "install", "--yes", "--no-install-recommends", *packages], check=True, env=environment
        )


@contextmanager
def running(folder: Path, accounting: bool = True) -> Iterator[Cluster]:
    """The cluster, from the start of its first daemon to the end of its last."""
    cluster = Cluster(folder)
    ports = dict(zip(("dbd", "slurmctld", *NODES), _free_ports(4), strict=True))
    told = SLURM + ACCOUNTING if accounting else SLURM
    for name, text in (("slurmdbd.conf", DATABASE), ("slurm.conf", told)):
        (folder / name).write_text(
            text.format(folder=folder, controller=CONTROLLER, npus=NPUS, **ports), encoding="ascii"
        )
        (folder / name).chmod(0o600)
    (folder / "gres.conf").write_text(f"Name=npu Count={NPUS}\n", encoding="ascii")
    addresses = {node: f"127.0.0.{number}" for number, node in enumerate(NODES, 2)}
    hosts = [f"127.0.0.1 localhost {CONTROLLER}", *(f"{own} {node}" for node, own in addresses.items())]
    (folder / "hosts").write_text("".join(f"{line}\n" for line in hosts), encoding="ascii")
    for node, own in addresses.items():
        (folder / f"ip-{node}").write_text(IP.format(own), encoding="ascii")
        (folder / f"ip-{node}").chmod(0o755)
    (folder / "munge.key").write_bytes(secrets.token_bytes(128))
    (folder / "munge.key").chmod(0o400)
    for name in ("data", "state", *NODES):
        (folder / name).mkdir()
    with ExitStack() as daemons:

        def start(ready, *command: str, host: str | None = None) -> None:
            daemons.enter_context(_daemon(cluster, command, host))
            log = folder / f"{_name(command, host)}.log"
            assert wait_until(ready, 60), f"{command[0]} is not ready:\n{log.read_text()[-2000:]}"

        files = [f"--{kind}-file={folder}/munge.{kind}" for kind in ("key", "pid", "seed", "log")]
        start(
            (folder / "munge.socket").exists,
            *("munged", "--foreground", "--force", f"--socket={folder}/munge.socket", *files),
        )
        if accounting:
            start(
                (folder / "database.socket").exists,
                *("mariadbd", "--no-defaults", "--user=root", f"--datadir={folder}/data"),
                *("--skip-networking", f"--socket={folder}/database.socket", "--skip-grant-tables"),
            )
            start(lambda: _says(cluster, "sacctmgr", "list", "cluster"), "slurmdbd", "-D", host=CONTROLLER)
            cluster.tell("sacctmgr", "--immediate", "add", "cluster", "test")
        start(lambda: _says(cluster, "scontrol", "ping"), "slurmctld", "-D", host=CONTROLLER)
        for node in NODES:
            state = ("sinfo", "--noheader", "--nodes", node, "--format=%t")
            start(lambda state=state: _says(cluster, *state) == "idle", "slurmd", "-D", "-N", node, host=node)
        try:
            yield cluster
        finally:
            cluster.tell("scancel", "--user", cluster.environment["USER"])
            assert wait_until(cluster.idle, 60)


@contextmanager
def _daemon(cluster: Cluster, command: tuple[str, ...], host: str | None) -> Iterator[None]:
    if host:
        own = [f'mount --bind "{cluster.folder}/hosts" /etc/hosts', "mkdir -p /etc/slurm"]
        own.append(f'mount --bind "{cluster.folder}" /etc/slurm')
        if host in NODES:
            own.append(f'mount --bind "{cluster.folder}/ip-{host}" "$(readlink -f "$(command -v ip)")"')
        script = " && ".join([*own, 'hostname "$0"', 'exec "$@"'])
        argv = ["unshare", "--uts", "--mount", "sh", "-c", script, host, *command]
    else:
        argv = list(command)
    environment = cluster.environment | {"MYSQL_UNIX_PORT": str(cluster.folder / "database.socket")}
    with open(cluster.folder / f"{_name(command, host)}.log", "wb") as log:
        process = subprocess.Popen(
            argv, env=environment, stdout=log, stderr=log, cwd=cluster.folder, preexec_fn=die_with_parent
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _name(command: tuple[str, ...], host: str | None) -> str:
    return "-".join(filter(None, (command[0], host)))


def _says(cluster: Cluster, *command: str) -> str:
    """What a command prints; nothing when it fails."""
    done = subprocess.run(command, env=cluster.environment, capture_output=True, text=True)
    return "" if done.returncode else done.stdout.strip()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("", 0))
        return [probe.getsockname()[1] for probe in probes]
