"""A SLURM cluster of one node, this machine, from Debian's `slurm-wlm` and `munge`; it has no accounting."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=1
MinJobAge=3600
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory={memory} Gres=gpu:2 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def absent() -> str | None:
    """Why there can be no cluster here, or None."""
    missing = [name for name in (*DAEMONS, "sbatch") if _program(name) is None]
    return f"{missing[0]} is not installed (Debian: apt-get install slurm-wlm munge)" if missing else None


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """The cluster while it runs, its files in `folder`, as the environment in which its commands find it.

    Two devices that everybody has stand for its GPUs, so that jobs can ask for them.
    """
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    key = folder / "munge.key"
    key.write_bytes(os.urandom(32))
    key.chmod(0o400)
    node = socket.gethostname().partition(".")[0]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20 * 3 // 4
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    values = {"host": node, "ports": _free_ports(2), "folder": folder, "user": user, "memory": memory}
    file = folder / "slurm.conf"
    file.write_text(CONFIGURATION.format(**values, cores=os.cpu_count()))
    (folder / "gres.conf").write_text("Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n")
    # Within a job the plugin takes this variable from `srun`, which then looks where a real cluster has its file.
    srun = folder / "bin/srun"
    srun.parent.mkdir()
    srun.write_text(f'#!/bin/sh\nSLURM_CONF={file} exec {_program("srun")} "$@"\n')
    srun.chmod(0o700)
    environment = os.environ | {"SLURM_CONF": str(file), "PATH": f"{srun.parent}{os.pathsep}{os.environ['PATH']}"}
    own = {"socket": "munge.socket", "pid-file": "munged.pid", "log-file": "munged.log", "seed-file": "munge.seed"}
    munge = ["--foreground", "--force", f"--key-file={key}", *(f"--{name}={folder / to}" for name, to in own.items())]
    running = []
    try:
        for name, options in zip(DAEMONS, (munge, ["-D"], ["-D"]), strict=True):
            with (folder / f"{name}.out").open("w") as out:
                command = [str(_program(name)), *options]
                running.append(subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT))
            if name == "munged":
                _wait(lambda: (folder / "munge.socket").exists(), "munged has no socket")
        _wait(lambda: _state(environment) == "idle", f"the node is not idle; see {folder}")
        yield environment
    finally:
        for daemon in reversed(running):
            daemon.terminate()
            daemon.wait(60)


def _program(name: str) -> str | None:
    """Daemons lie where only root looks for programs."""
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def _state(environment: dict[str, str]) -> str:
    command = ["sinfo", "--noheader", "--format=%T"]
    return subprocess.run(command, env=environment, capture_output=True, text=True).stdout.strip()


def _wait(ready, otherwise: str, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < until, otherwise
        time.sleep(0.2)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
