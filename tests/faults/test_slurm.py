"""Faults on a real Slurm, in the middle of a training: it ends with the bytes of an unbroken one."""

import getpass
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.faults.conftest import Tally
from tests.faults.experiment import until
from tests.faults.held import HELD, HELD_STEP, RELEASED
from tests.workflow import slurm
from tests.workflow.slurm import BROKEN, SQUEUE
from tests.workflow.test_slurm import FAILURES, LOG, QUICK, RUN, SITE, snakemake, two_samples_a_step
from tests.workflow.workflow import Checkout

CONTROLLER_AWAY_S = 30
WAITING = "waiting for the job that makes"
WEATHERPEFT = f"""#!/bin/sh
if [ "$1" = finetune ] && mkdir "$0.first" 2> /dev/null; then
    exec "{sys.executable}" -P "{Path(__file__).with_name("held.py")}" "$(dirname "$0")" "$@"
fi
exec "{sys.executable}" -m weatherpeft "$@"
"""
"""The first training waits in the middle."""
SACCT = """#!/bin/sh
while [ $# -gt 1 ]; do
    [ "$1" = --name ] && name=$2
    shift
done
[ "$name" ] || exit 0
exec "$(dirname "$0")/squeue" --format="%i|%T" --states=all --noheader --name "$name"
"""
"""There is no accounting database; this answers in its place what Slurm's controller knows."""


@dataclass(frozen=True)
class Training:
    """An experiment in which only the training is left to do, the first attempt at which waits in the middle.

    Attributes:
        checkout: its folder.
        commands: programs that come before others.
        expected: the records of all artifacts in the end.
        started: what ``start`` has started.
    """

    checkout: Checkout
    commands: Path
    expected: dict[str, dict[str, Any]]
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def said(self) -> Path:
        """File with what Snakemake prints."""
        return self.commands / "snakemake.log"

    @property
    def log(self) -> str:
        """What the last attempt has logged."""
        file = self.checkout.folder / LOG
        return file.read_text() if file.exists() else ""

    def start(self, *options: str, **settings: Any) -> subprocess.Popen[bytes]:
        """Start Snakemake with the profile, and go on.

        Args:
            options: of Snakemake.
            settings: more keys of the site's profile.
        """
        (self.checkout.folder / "site").mkdir(exist_ok=True)
        (self.checkout.folder / "site/config.yaml").write_text(yaml.safe_dump(QUICK | settings))
        config = self.checkout.changed_config(two_samples_a_step)
        profiles = ["--profile", "slurm", "--profile", "site"]
        with self.said.open("ab") as stream:
            process = subprocess.Popen(
                ["snakemake", "--nocolor", *profiles, *options, "--configfile", config, "--", RUN],
                cwd=self.checkout.folder,
                env=self.checkout.environment(self.commands, SITE),
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def jobs(self) -> list[dict[str, str]]:
        """Slurm's records of the attempts, oldest first."""
        records = slurm.jobs(f"rule_finetune_wildcards_{Path(RUN).name}")
        return [record for record in records if record["WorkDir"] == str(self.checkout.folder)]

    def states(self) -> list[str]:
        return [job["JobState"] for job in self.jobs()]

    def held(self) -> int:
        """The process that trains, as soon as it waits in the middle."""
        until((self.commands / HELD).exists, 120)
        return int((self.commands / HELD).read_text())

    def release(self) -> None:
        """Let it go on."""
        (self.commands / RELEASED).touch()

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """Kill Snakemake alone, and unlock the folder."""
        process.kill()
        process.wait()
        self.checkout.run(
            "snakemake", "--unlock", "--configfile", self.checkout.changed_config(two_samples_a_step)
        )

    def finish(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for the end, which is that of an unbroken training."""
        assert process.wait(300) == 0, self.said.read_text() + self.checkout.logs()
        assert self.checkout.records() == self.expected
        assert not [*self.checkout.folder.glob("results/**/.*.partial")]

    def resumed(self, step: int) -> None:
        """It has gone on after so many steps."""
        assert f"resuming at step {step} of 6" in self.log


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A running Slurm, by its folder."""
    if why := slurm.refusal():
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("slurm") / "cluster"
    with slurm.cluster(folder):
        yield folder


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """The experiment to the end of the training, made on this machine. Not to be changed."""
    checkout = Checkout.of_repository(tmp_path_factory.mktemp("unbroken") / "checkout")
    snakemake(checkout, "--executor", "local", "--cores", "2", fresh=False)
    return checkout


@pytest.fixture
def training(cluster: Path, unbroken: Checkout, tmp_path: Path) -> Iterator[Training]:
    """An experiment whose training is to do; in the end nothing of it runs, and all nodes are there."""
    commands = tmp_path / "commands"
    commands.mkdir()
    _program(commands / "weatherpeft", WEATHERPEFT)
    _program(commands / "squeue", SQUEUE)
    made = Training(unbroken.copy(tmp_path / "checkout"), commands, unbroken.records())
    shutil.rmtree(made.checkout.folder / RUN)
    (made.checkout.folder / LOG).unlink()
    yield made
    slurm_command("scancel", *(job["JobId"] for job in made.jobs()))
    for process in psutil.process_iter():  # without cgroups Slurm may lose sight of some
        with suppress(psutil.Error):
            if Path(process.cwd()).is_relative_to(made.checkout.folder):
                process.kill()
    for started in made.started:
        started.wait()
    for node in slurm.NODES:  # where it is not down or drained, this fails
        slurm_command("scontrol", "update", f"nodename={node}", "state=RESUME")


def _program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def slurm_command(*words: str) -> str:
    return subprocess.run(words, check=False, capture_output=True, text=True).stdout


def _processes(words: str) -> list[psutil.Process]:
    """Those with words in their command line."""
    found = psutil.process_iter(["cmdline"])
    return [process for process in found if words in " ".join(process.info["cmdline"] or [])]


def set_node(node: str, state: str) -> None:
    subprocess.run(["scontrol", "update", f"nodename={node}", f"state={state}", "reason=a fault"], check=True)


@pytest.mark.slow
def test_scancel(training: Training, tally: Tally) -> None:
    snakemake = training.start()
    training.held()
    (job,) = training.jobs()
    subprocess.run(["scancel", job["JobId"]], check=True)
    training.finish(snakemake)
    assert training.states() == ["CANCELLED", "COMPLETED"]
    training.resumed(HELD_STEP + 1)  # SIGTERM came first
    tally("Slurm: scancel of a job", "survived")


@pytest.mark.slow
@pytest.mark.long  # tests/workflow/test_slurm.py has one too
def test_sigkill_of_the_training(training: Training, tally: Tally) -> None:
    snakemake = training.start()
    os.kill(training.held(), signal.SIGKILL)
    training.finish(snakemake)
    assert training.states() == ["FAILED", "COMPLETED"]
    training.resumed(HELD_STEP)
    tally("Slurm: SIGKILL of a job's process", "survived")


@pytest.mark.slow
@pytest.mark.long
def test_sigkill_of_the_batch_script(training: Training, tally: Tally) -> None:
    snakemake = training.start()
    training.held()
    (job,) = training.jobs()
    (script,) = _processes(f"job{int(job['JobId']):05}/slurm_script")
    script.kill()
    training.finish(snakemake)
    assert training.states() == ["FAILED", "COMPLETED"]
    assert "resuming at step" in training.log
    tally("Slurm: SIGKILL of a job's script", "survived")


@pytest.mark.slow
@pytest.mark.long
def test_node_drained(training: Training, tally: Tally) -> None:
    """Its job goes on."""
    snakemake = training.start()
    training.held()
    (job,) = training.jobs()
    set_node(job["NodeList"], "DRAIN")
    time.sleep(5)
    training.release()
    training.finish(snakemake)
    (job,) = training.jobs()
    assert (job["JobState"], job["Restarts"]) == ("COMPLETED", "0")
    assert "resuming" not in training.log
    tally("Slurm: node drained", "survived")


@pytest.mark.slow
@pytest.mark.long
def test_node_down(training: Training, tally: Tally) -> None:
    """Slurm puts its job back into the queue, which costs no retry."""
    snakemake = training.start("--retries", "0")
    training.held()
    (job,) = training.jobs()
    set_node(job["NodeList"], "DOWN")
    _restarted(training, job["NodeList"])
    training.finish(snakemake)
    assert "resuming at step" in training.log
    tally("Slurm: node down", "survived")


@pytest.mark.slow
@pytest.mark.long
def test_node_lost(cluster: Path, training: Training, tally: Tally) -> None:
    """Its job goes on all the same, and has a rival on the other node."""
    snakemake = training.start("--retries", "0")
    training.held()
    (job,) = training.jobs()
    node = job["NodeList"]
    slurm.stop(cluster, f"slurmd-{node}")
    try:
        set_node(node, "DOWN")
        _restarted(training, node)
        until(lambda: WAITING in training.log)
        training.release()
        training.finish(snakemake)
        (job,) = training.jobs()
        assert job["NodeList"] != node
        assert "resuming" not in training.log
        tally("Slurm: node lost, on which the job goes on", "survived")
    finally:
        slurm.start("slurmd", "-N", node)


def _restarted(training: Training, node: str) -> None:
    """Wait until Slurm has started the job again on another node. By itself it does so after two minutes."""

    def hastened() -> bool:
        (job,) = training.jobs()
        if job["JobState"] == "PENDING":
            changes = [f"ExcNodeList={node}", "StartTime=now"]
            slurm_command("scontrol", "update", f"job={job['JobId']}", *changes)
            time.sleep(0.5)
        return job["Restarts"] == "1" and job["JobState"] in ("RUNNING", "COMPLETED")

    until(hastened, 60)


@pytest.mark.slow
@pytest.mark.long
def test_walltime(training: Training, tally: Tally) -> None:
    """Slurm ends the job."""
    snakemake = training.start()
    training.held()
    (job,) = training.jobs()
    subprocess.run(["scontrol", "update", f"job={job['JobId']}", "TimeLimit=1"], check=True)
    training.finish(snakemake)
    assert training.states() == ["TIMEOUT", "COMPLETED"]
    training.resumed(HELD_STEP + 1)
    tally("Slurm: end of the walltime", "survived")


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("command", ["squeue", "sacct"])
def test_status_fails(training: Training, command: str, tally: Tally) -> None:
    """The job ends meanwhile."""
    if command == "sacct":
        _program(training.commands / "sacct", SACCT)
    broken = training.commands / BROKEN
    snakemake = training.start()
    pid = training.held()
    broken.touch()
    os.kill(pid, signal.SIGKILL)
    asked = training.commands / "asked"
    until(lambda: asked.exists() and len(asked.read_text()) > FAILURES)
    broken.unlink()
    training.finish(snakemake)
    assert training.states() == ["FAILED", "COMPLETED"]
    training.resumed(HELD_STEP)
    tally(f"Slurm: {command} fails for a while", "survived")


@pytest.mark.slow
@pytest.mark.long
def test_controller_away(cluster: Path, training: Training, tally: Tally) -> None:
    """The job ends meanwhile."""
    snakemake = training.start()
    training.held()
    slurm.stop(cluster, "slurmctld")
    training.release()
    time.sleep(CONTROLLER_AWAY_S)
    slurm.start("slurmctld")
    training.finish(snakemake)
    assert training.states() == ["COMPLETED"]
    assert "resuming" not in training.log
    tally("Slurm: controller away for half a minute", "survived")


@pytest.mark.slow
@pytest.mark.long
def test_controller_away_at_the_start(cluster: Path, training: Training, tally: Tally) -> None:
    """The job is submitted meanwhile: ``sbatch`` waits."""
    training.release()
    slurm.stop(cluster, "slurmctld")
    snakemake = training.start()
    time.sleep(CONTROLLER_AWAY_S)
    slurm.start("slurmctld")
    training.finish(snakemake)
    assert training.states() == ["COMPLETED"]
    tally("Slurm: controller away for half a minute", "survived")


@pytest.mark.slow
def test_left_over_job_runs(training: Training, tally: Tally) -> None:
    """The next Snakemake's job waits for it."""
    first = training.start()
    training.held()
    training.kill(first)
    second = training.start()
    until(lambda: WAITING in training.log)
    training.release()
    training.finish(second)
    assert training.states() == ["COMPLETED", "COMPLETED"]
    assert "another job has made it already" in training.log and " of 6" not in training.log
    tally("Slurm: Snakemake killed, its job runs", "survived")


@pytest.mark.slow
@pytest.mark.long
def test_left_over_job_ends(training: Training, tally: Tally) -> None:
    """Before the next start."""
    first = training.start()
    training.held()
    training.kill(first)
    training.release()
    until(lambda: training.states() == ["COMPLETED"])
    training.finish(training.start())
    assert training.states() == ["COMPLETED"]
    tally("Slurm: Snakemake killed, its job ends", "survived")


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("state", ["FAILED", "COMPLETED"])
def test_left_over_job_starts_late(training: Training, state: str, tally: Tally) -> None:
    """When the run is complete.

    At its end Snakemake removes the empty folder of the job's log, without which Slurm cannot start the job.
    As long as it has other jobs, the folder stays. Then the job finds the run. Either way the run stays.
    """
    training.release()
    job = _left_pending(training)
    training.finish(training.start())
    logs = training.checkout.folder / ".snakemake/slurm_logs/rule_finetune" / Path(RUN).name
    assert not logs.exists()
    if state == "COMPLETED":
        logs.mkdir(parents=True)
    run = training.checkout.folder / RUN
    before = run.stat().st_ino
    subprocess.run(["scontrol", "release", job["JobId"]], check=True)
    until(lambda: training.states() == [state, "COMPLETED"])
    assert run.stat().st_ino == before
    assert training.checkout.records() == training.expected
    tally("Slurm: Snakemake killed, its job pends", "survived")


@pytest.mark.slow
@pytest.mark.long
def test_left_over_job_is_cancelled(training: Training, tally: Tally) -> None:
    """By the command of ``docs/slurm.md``, which spares the jobs of another Snakemake in the folder."""
    training.release()
    job = _left_pending(training)
    (run_id,) = re.findall(r"^SLURM run ID: (\S+)$", training.said.read_text(), re.MULTILINE)
    other = ["--job-name=another", f"--comment={job['Comment']}", f"--chdir={training.checkout.folder}"]
    subprocess.run(["sbatch", "--hold", *other, "--wrap=true"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["scancel", f"--user={getpass.getuser()}", f"--name={run_id}"], check=True)
    assert training.states() == ["CANCELLED", "PENDING"]
    training.finish(training.start())
    assert training.states() == ["CANCELLED", "PENDING", "COMPLETED"]
    tally("Slurm: Snakemake killed, its job is cancelled", "survived")


def _left_pending(training: Training) -> dict[str, str]:
    """The job that a killed Snakemake has left, held in the queue."""
    for node in slurm.NODES:
        set_node(node, "DRAIN")
    first = training.start()
    until(lambda: training.states() == ["PENDING"])
    training.kill(first)
    (job,) = training.jobs()
    subprocess.run(["scontrol", "hold", job["JobId"]], check=True)
    for node in slurm.NODES:
        set_node(node, "RESUME")
    return job
