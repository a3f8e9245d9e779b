"""A real Slurm of two nodes on this machine: Debian's daemons, stand-in GPUs, no accounting."""

import fcntl
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

ETC = Path("/etc/slurm")
"""Not elsewhere: Slurm strips SLURM_CONF from the environment of jobs."""
SIGNATURE = "# A cluster of tests/workflow/slurm.py, removed when the test ends."
LOCK = Path("/run/lock/weatherpeft-tests-slurm")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "srun")
NODES = ("n1", "n2")
GPUS = 2
"""Of each node."""
PATIENCE_S = 60

BROKEN = "broken"
"""File beside the programs below that makes them fail."""
SQUEUE = f"""#!/bin/sh
folder=$(dirname "$0") tries=0
squeue="{shutil.which("squeue")}"
while [ ! -e "$folder/{BROKEN}" ]; do
    ended=$($squeue "$@" | grep -Evc "PENDING|CONFIGURING|RUNNING|COMPLETING")
    [ "$ended" = "$(cat "$folder/ended" 2> /dev/null || echo 0)" ] && [ $tries -lt 40 ] || break
    sleep 0.5
    tries=$((tries + 1))
done
if [ -e "$folder/{BROKEN}" ]; then
    echo >> "$folder/asked"
    echo "slurm_load_jobs error: a fault" >&2
    exit 1
fi
echo "$ended" > "$folder/ended"
exec $squeue "$@"
"""
"""Answers when one more job has ended, or after 20 s: after each, Snakemake waits ten seconds longer."""

SLURM_CONF = """\
{signature}
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmctldPort={controller_port}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdLogFile={folder}/slurmd-%n.log
SlurmdSpoolDir={folder}/spool-%n
StateSaveLocation={folder}/state
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
SwitchType=switch/none
MpiDefault=none
MailProg=/bin/true
ReturnToService=2
KillWait=5
MinJobAge=3600
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0
GresTypes=gpu
NodeName=n1 NodeHostname=localhost NodeAddr=127.0.0.1 Port={n1_port} {resources}
NodeName=n2 NodeHostname=localhost NodeAddr=127.0.0.1 Port={n2_port} {resources}
PartitionName=cpu Nodes=n1,n2 Default=YES
PartitionName=gpu Nodes=n1,n2
"""


def refusal() -> str | None:
    """Why no cluster can be started here, or None."""
    if os.geteuid():
        return "must be root to start Slurm's daemons"
    folders = os.pathsep.join([os.environ["PATH"], "/usr/sbin"])
    if missing := [program for program in PROGRAMS if not shutil.which(program, path=folders)]:
        return f"needs Debian's packages slurm-wlm and munge: no {', '.join(missing)}"
    found = ETC / "slurm.conf"
    if found.exists() and not found.read_text().startswith(SIGNATURE):
        return f"{found} configures another Slurm"
    return None


@contextmanager
def cluster(folder: Path) -> Iterator[None]:
    """Run the cluster, the only one of its kind on this machine, and remove it with what it runs.

    Args:
        folder: for its state and logs; must not exist.
    """
    folder.mkdir(parents=True)
    with LOCK.open("w") as lock, ExitStack() as stack:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (left := ETC / "slurm.conf").exists():  # by a test that was killed
            _stop(Path(re.findall(r"StateSaveLocation=(.+)/state", left.read_text())[0]))
        stack.callback(_stop, folder)
        _configure(folder)
        key = folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(128))
        start(
            "munged",
            "--force",  # the folder may lie in one that others may write to
            f"--key-file={key}",
            f"--socket={folder}/munge.socket",
            f"--pid-file={folder}/munged.pid",
            f"--log-file={folder}/munged.log",
            f"--seed-file={folder}/munge.seed",
        )
        start("slurmctld", "-c")
        for node in NODES:
            start("slurmd", "-c", "-N", node)
        idle = {f"{node} idle" for node in NODES}
        wait(lambda: set(_output("sinfo", "-h", "-N", "-o", "%N %t").splitlines()) == idle, folder)
        yield


def jobs(comment: str) -> list[dict[str, str]]:
    """What Slurm has on record of the jobs with a comment, oldest first, by its own names of the fields."""
    records = [
        dict(re.findall(r"(\S+?)=(\S*)", block)) for block in _output("scontrol", "show", "job").split("\n\n")
    ]
    found = [record for record in records if record.get("Comment") == comment]
    return sorted(found, key=lambda record: int(record["JobId"]))


def wait(condition: Callable[[], bool], folder: Path) -> None:
    """Wait until something holds; an assertion with the daemons' logs if it does not."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        logs = "".join(f"\n--- {path.name}\n{path.read_text()}" for path in sorted(folder.glob("*.log")))
        assert time.monotonic() < end, f"Slurm did not come up in {PATIENCE_S} s{logs}"
        time.sleep(0.1)


def _configure(folder: Path) -> None:
    (folder / "state").mkdir()
    devices = []
    for node in NODES:
        (folder / f"spool-{node}").mkdir()
        for number in range(GPUS):
            device = folder / f"{node}-gpu{number}"
            os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))  # as /dev/null
            devices.append(f"NodeName={node} Name=gpu Type=standin File={device}\n")
    with ExitStack() as stack:
        ports = []
        for _ in range(3):
            free = stack.enter_context(socket.socket())
            free.bind(("127.0.0.1", 0))
            ports.append(free.getsockname()[1])
    ETC.mkdir(exist_ok=True)
    (ETC / "gres.conf").write_text(f"{SIGNATURE}\n{''.join(devices)}")
    (ETC / "slurm.conf").write_text(
        SLURM_CONF.format(
            signature=SIGNATURE,
            host=socket.gethostname(),
            folder=folder,
            controller_port=ports[0],
            n1_port=ports[1],
            n2_port=ports[2],
            # As large as the nodes that the profile is made for: config_overrides believes it.
            resources=f"CPUs=64 RealMemory=512000 Gres=gpu:standin:{GPUS} State=UNKNOWN",
        )
    )


def start(program: str, *options: str) -> None:
    """Start a daemon."""
    path = shutil.which(program, path=os.pathsep.join([os.environ["PATH"], "/usr/sbin"]))
    assert path
    # In a session of its own, output closed: it outlives this call.
    done = subprocess.run([path, *options], start_new_session=True, capture_output=True, text=True)
    assert done.returncode == 0, f"{program} returned {done.returncode}: {done.stderr}"


def stop(folder: Path, daemon: str) -> None:
    """End a daemon of the cluster in a folder: ``munged``, ``slurmctld``, or ``slurmd-`` and a node."""
    file = folder / f"{daemon}.pid"
    process = Path("/proc", file.read_text().strip() if file.exists() else "none")
    if process.exists() and (process / "comm").read_text().strip() in PROGRAMS:
        os.kill(int(process.name), signal.SIGTERM)
        end = time.monotonic() + PATIENCE_S
        while process.exists() and time.monotonic() < end:
            time.sleep(0.05)


def _output(*command: str) -> str:
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout


def _stop(folder: Path) -> None:
    """Cancel what runs, end the daemons, and remove the configuration."""
    if (folder / "slurmctld.pid").exists():
        _output("scancel", "--full", "--signal=KILL", "--user=root")
        end = time.monotonic() + PATIENCE_S
        while _output("squeue", "-h", "-t", "RUNNING,COMPLETING") and time.monotonic() < end:
            time.sleep(0.1)
    for name in ("slurmd-n1", "slurmd-n2", "slurmctld", "munged"):
        stop(folder, name)
    for name in ("slurm.conf", "gres.conf"):
        (ETC / name).unlink(missing_ok=True)
