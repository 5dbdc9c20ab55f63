"""A real Slurm on this machine alone: two simulated GPUs, daemons with their own configuration, key and folders."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PACKAGES = ("slurm-wlm", "munge")
DAEMONS = ("munged", "slurmctld", "slurmd", "sbatch")


class NoSlurm(RuntimeError):
    """Why no Slurm can be started here."""


def install() -> None:
    """Install the Debian packages if they are missing.

    Raises:
        NoSlurm: if they cannot be installed.
    """
    if os.geteuid() != 0:
        raise NoSlurm("only root can start Slurm's daemons and make devices")
    if all(map(shutil.which, DAEMONS)):
        return
    if not shutil.which("apt-get"):
        raise NoSlurm("Slurm is not installed, and there is no apt-get")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (("update",), ("install", "-y", "--no-install-recommends", *PACKAGES)):
        done = subprocess.run(
            ["apt-get", "-qq", *command], env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise NoSlurm(f"apt-get {command[0]} failed: {done.stderr.strip()[-300:]}")


def configuration(folder: Path) -> str:
    """slurm.conf of one node with two GPUs and four CPUs, whatever the machine has."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    host = socket.gethostname().split(".")[0]
    port = free_port()
    return f"""
ClusterName=made
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmdPort={free_port()}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=sched_interval=2,batch_sched_delay=1
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
GresTypes=gpu
MinJobAge=300
KillWait=20
OverTimeLimit=0
ReturnToService=2
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory={max(4096, memory)} Gres=gpu:made:2 State=UNKNOWN
PartitionName=cpu Nodes=ALL Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes=ALL MaxTime=INFINITE State=UP
"""


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(failure: str, seconds: float, condition) -> None:
    """Wait until a condition holds.

    Raises:
        NoSlurm: if it does not hold in time, with that failure.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise NoSlurm(f"{failure} within {seconds} s")
        time.sleep(0.2)


@contextmanager
def slurm(folder: Path) -> Iterator[dict[str, str]]:
    """Start Slurm with all its files in a folder; yields the environment variables with which its commands find it.

    Raises:
        NoSlurm: if it does not start.
    """
    install()
    folder.chmod(0o755)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    for index in (0, 1):
        os.mknod(folder / f"nvidia{index}", 0o20666, os.makedev(1, 3))
    (folder / "gres.conf").write_text(f"Name=gpu Type=made File={folder}/nvidia[0-1]\n")
    (folder / "slurm.conf").write_text(configuration(folder))
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    munge = ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={folder}/munge.socket"]
    munge += [f"--pid-file={folder}/munge.pid", f"--seed-file={folder}/munge.seed", f"--log-file={folder}/munge.log"]
    # The executor does not pass SLURM_CONF on to jobs, and /etc is left alone.
    srun = folder / "bin" / "srun"
    srun.parent.mkdir()
    srun.write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {shutil.which("srun")} "$@"\n')
    srun.chmod(0o755)
    variables = {"SLURM_CONF": f"{folder}/slurm.conf", "PATH": f"{srun.parent}{os.pathsep}{os.environ['PATH']}"}
    started = []

    def start(*command: str) -> None:
        log = (folder / f"{command[0]}.out").open("wb")
        environment = {**os.environ, **variables}
        started.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True))

    def output_of(*command: str) -> str:
        environment = {**os.environ, **variables}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout

    try:
        start(*munge)
        wait_for("munged did not start", 10, (folder / "munge.socket").exists)
        start("slurmctld", "-D", "-i")
        start("slurmd", "-D")
        wait_for("Slurm's node did not become idle", 40, lambda: "idle" in output_of("sinfo", "-h", "-o", "%t"))
        yield variables
    finally:
        if len(started) > 1:
            output_of("scancel", "--user=root", "--full")
            deadline = time.monotonic() + 10
            while output_of("squeue", "-h", "--states=running,completing") and time.monotonic() < deadline:
                time.sleep(0.2)
        for process in reversed(started):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
