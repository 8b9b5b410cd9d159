"""A Slurm cluster of one node on the loopback interface, started by hand and stopped at the end."""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

COMMANDS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol")

CONF = """
ClusterName=bench
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld_port}
SlurmdPort={d_port}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/munge
AuthInfo=socket={dir}/munge.socket,cred_expire=5
CredType=cred/munge
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={dir}/state
SlurmdSpoolDir={dir}/spool
SlurmctldPidFile={dir}/slurmctld.pid
SlurmdPidFile={dir}/slurmd.pid
SlurmctldLogFile={dir}/slurmctld.log
SlurmdLogFile={dir}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
MailProg=/bin/true
ReturnToService=2
SlurmdParameters=config_overrides
GresTypes=gpu
KillWait=5
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=4000 Gres=gpu:1
PartitionName=debug Nodes={host} Default=YES MaxTime=60
"""
# cred_expire: a job that is queued again may start when its old credential has expired, 120 s by default.


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "cluster: starts a Slurm cluster on this machine; BENCH_CLUSTER=1 runs it")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what stands in this folder, and skip it unless it is asked for and can run."""
    here = Path(__file__).parent
    unavailable_reason = [command for command in COMMANDS if shutil.which(command) is None]
    why = None
    if os.environ.get("BENCH_CLUSTER") != "1":
        why = "BENCH_CLUSTER=1 runs these: they start a Slurm cluster on this machine"
    elif unavailable_reason:
        why = f"Slurm is not installed here: no {', '.join(unavailable_reason)}"
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.cluster)
            if why:
                item.add_marker(pytest.mark.skip(reason=why))


@dataclass
class Cluster:
    """Where the cluster of the tests is, and how to speak to it."""

    env: dict[str, str]

    def ask(self, *command: str) -> str:
        """What one of Slurm's commands prints."""
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=30, check=True)
        return done.stdout

    def jobs(self) -> list[str]:
        """Jobs that wait or run, each task of an array by itself."""
        return self.ask("squeue", "--noheader", "--array", "--format=%i").split()


def until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Wait for a condition."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.2)


def _free_ports(num: int) -> list[int]:
    sockets = [socket.socket() for _ in range(num)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The cluster, with its node idle; no daemon and no file is left of it afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # short: the path of a socket has 107 characters at most
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o600)
    host = socket.gethostname().partition(".")[0]
    ctld_port, d_port = _free_ports(2)
    conf = folder / "slurm.conf"
    conf.write_text(
        CONF.format(host=host, dir=folder, user=getpass.getuser(), ctld_port=ctld_port, d_port=d_port).lstrip()
    )
    (folder / "gres.conf").write_text("AutoDetect=off\nName=gpu File=/dev/null\n")  # any device file will do
    root = str(Path(__file__).resolve().parents[2])
    paths = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    cluster = Cluster({**os.environ, "SLURM_CONF": str(conf), "PYTHONPATH": paths})
    munged = ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={folder}/munge.socket"]
    munged += [f"--{name}-file={folder}/munge.{name}" for name in ("pid", "log", "seed")]
    daemons: list[subprocess.Popen[bytes]] = []

    def start(*command: str) -> None:
        with (folder / f"{command[0]}.out").open("wb") as out:
            daemons.append(subprocess.Popen(command, env=cluster.env, stdout=out, stderr=out))

    def said() -> str:
        texts = [f"{path.name}:\n{path.read_text(errors='replace')[-2000:]}" for path in folder.glob("*.[lo][ou][gt]")]
        return "\n".join(texts)

    try:
        start(*munged)
        until((folder / "munge.socket").exists, 20, "munged")
        start("slurmctld", "-i", "-D")
        start("slurmd", "-D", "-N", host)

        def idle() -> bool:
            answer = subprocess.run(
                ["sinfo", "--noheader", "--format=%t"], env=cluster.env, capture_output=True, text=True, timeout=30
            )
            return answer.stdout.strip() == "idle"

        try:
            until(idle, 60, "the node of the cluster being idle")
        except BaseException:
            print(said(), file=sys.stderr)
            raise
        yield cluster
        subprocess.run(["scancel", "--state=PENDING"], env=cluster.env, timeout=30, check=False)
        subprocess.run(["scancel", "--state=RUNNING"], env=cluster.env, timeout=30, check=False)
        until(lambda: not cluster.jobs(), 60, "the end of all jobs")
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
            try:
                daemon.wait(30)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait(30)
        shutil.rmtree(folder, ignore_errors=True)
