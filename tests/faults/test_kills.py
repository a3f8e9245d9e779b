"""Jobs and whole workflows that are killed at random moments: a rerun ends as if nothing had been."""

import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.faults.conftest import EACH, Built, Tally
from tests.faults.experiment import EXPERIMENTS, INTERRUPTED, Job, ended
from tests.workflow.workflow import Checkout

JOB_SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
JOBS_A_BATCH = 10
KILLS_A_WORKFLOW = 6


@pytest.mark.slow
@pytest.mark.batches(1, 8)
def test_jobs(jobs: list[Job], batch: int, dice: random.Random, tmp_path: Path, tally: Tally) -> None:
    """Of each job: up to three kills within the time that it takes, then a rerun.

    If the artifact is complete, the rerun finds it, and removes what a killed job has left beside it.
    """
    log = tmp_path / "log"
    signals: list[signal.Signals] = []
    for job in dice.sample(jobs, JOBS_A_BATCH):
        expected = job.record()
        job.remove_output()
        began = time.monotonic()
        assert job.run(log) == 0, f"{job.name}: {log.read_text()}"
        duration = time.monotonic() - began
        assert job.record() == expected, job.name
        job.remove_output()
        for _ in range(dice.randint(1, 3)):
            signals = signals or dice.sample(JOB_SIGNALS, len(JOB_SIGNALS))
            how = signals.pop()
            log.unlink(missing_ok=True)
            process = job.start(log)
            process.join(dice.uniform(0, 1.05 * duration))
            if came_in_time := process.is_alive():
                assert process.pid
                os.kill(process.pid, how)
            status = ended(process)
            has_begun = log.exists()
            said = log.read_text() if has_begun else ""
            assert status in (0, -how, 75, INTERRUPTED) or not has_begun, f"{job.name}: {status} {said}"
            if job.output.exists():
                assert job.record() == expected, job.name
            else:
                assert status != 0, f"{job.name} says that it is done"
            if came_in_time:
                tally(f"one job: {how.name}", "survived")
            if job.output.exists():
                break
        assert job.run(log) == 0, f"{job.name}: {log.read_text()}"
        assert job.record() == expected, job.name
        assert not job.leftovers()


def tree(process: psutil.Process) -> list[psutil.Process]:
    """A process and all that it has started."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def kill_tree(snakemake: psutil.Process, dice: random.Random) -> bool:
    for process in tree(snakemake):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    return True


def kill_snakemake(snakemake: psutil.Process, dice: random.Random) -> bool:
    """Its jobs go on, and meet those of the next one."""
    snakemake.kill()
    return True


def kill_job(snakemake: psutil.Process, dice: random.Random) -> bool:
    jobs = [process for process in tree(snakemake)[1:] if "--output" in _command(process)]
    if jobs:
        dice.choice(jobs).kill()
    return bool(jobs)


def terminate(snakemake: psutil.Process, dice: random.Random) -> bool:
    snakemake.terminate()
    return True


def interrupt(snakemake: psutil.Process, dice: random.Random) -> bool:
    """As Ctrl-C in a terminal, which all processes of the group get."""
    os.killpg(snakemake.pid, signal.SIGINT)
    return True


def crashes(text: str) -> list[str]:
    """The errors that have ended jobs with a traceback, without Ctrl-C before a job's own code was there."""
    errors = re.findall(r"^Traceback .*\n(?:[ \t].*\n|\n)*(\S.*)", text, re.MULTILINE)
    return [error for error in errors if error != "KeyboardInterrupt"]


def _command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


WAYS: dict[str, Callable[[psutil.Process, random.Random], bool]] = {
    "workflow: SIGKILL of the whole tree": kill_tree,
    "workflow: SIGKILL of Snakemake alone": kill_snakemake,
    "workflow: SIGKILL of one job": kill_job,
    "workflow: SIGTERM of Snakemake": terminate,
    "workflow: Ctrl-C": interrupt,
}
"""Each tells whether there was something to kill."""


@pytest.mark.slow
@pytest.mark.batches(1, 4)
@pytest.mark.parametrize("name", EACH)
def test_workflows(
    name: str,
    batch: int,
    build: Callable[[str], Built],
    dice: random.Random,
    tmp_path: Path,
    tally: Tally,
) -> None:
    """From nothing, started again after each kill, until it is done. Each way of killing has its turn."""
    built = build(name)
    checkout = Checkout.of_repository(tmp_path / "killed")
    config = checkout.changed_config(EXPERIMENTS[name])
    log = tmp_path / "log"
    ways = dice.sample(list(WAYS), len(WAYS))
    for number in range(KILLS_A_WORKFLOW):
        process = checkout.start(log, "--notemp", config=config)
        snakemake = psutil.Process(process.pid)
        try:
            process.wait(dice.uniform(4, 10))
        except subprocess.TimeoutExpired:
            way = ways[number % len(ways)]
            while process.poll() is None:
                if WAYS[way](snakemake, dice):
                    tally(way, "survived")
                    break
                time.sleep(0.05)  # between two jobs there is none to kill
        process.wait(600)
        assert not crashes(log.read_text() + checkout.logs())
        if process.returncode == 0:
            break
        checkout.snakemake("--unlock", config=config)
    checkout.snakemake("--notemp", config=config)
    assert checkout.records() == built.checkout.records()
    assert checkout.planned(config) == set()
