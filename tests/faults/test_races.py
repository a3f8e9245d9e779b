"""Two jobs that make the same artifact at once, and two Snakemakes that share data and results."""

import os
import random
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from tests.faults.conftest import Built, Tally
from tests.faults.experiment import EXPERIMENTS, FORK, Job, ended, run_and_exit
from tests.workflow.workflow import Checkout
from weatherpeft.artifacts.claim import UNFINISHED
from weatherpeft.artifacts.manifest import PROVENANCE

PAIRS_A_BATCH = 6


def racer(job: Job, log: Path, barrier: Barrier, delay: float) -> None:
    barrier.wait()
    time.sleep(delay)
    run_and_exit(job, log)


@pytest.mark.slow
@pytest.mark.batches(1, 6)
def test_pairs_of_jobs(
    jobs: list[Job], batch: int, dice: random.Random, tmp_path: Path, tally: Tally
) -> None:
    """Trainings share their work folder too."""
    for job in dice.sample(jobs, PAIRS_A_BATCH):
        expected = job.record()
        job.remove_output()
        barrier = FORK.Barrier(2)
        logs = [tmp_path / f"log-{number}" for number in range(2)]
        pair = [
            FORK.Process(target=racer, args=(job, log, barrier, dice.choice([0, 0, 0.01, 0.1, 0.5])))
            for log in logs
        ]
        for process in pair:
            process.start()
        statuses = [ended(process) for process in pair]
        said = "\n".join(log.read_text() for log in logs)
        assert statuses == [0, 0], f"{job.name}: {said}"
        assert job.record() == expected, job.name
        assert not job.leftovers()
        tally("two jobs, one artifact", "survived")


@pytest.mark.slow
@pytest.mark.batches(1, 6)
def test_pairs_that_share(
    jobs: list[Job], batch: int, dice: random.Random, tmp_path: Path, tally: Tally
) -> None:
    """Jobs of two experiments with the same raw and regridded data: what they share is made once."""
    for stage in ("download", "regrid"):
        job = dice.choice([job for job in jobs if job.stage == stage])
        other = job.into(tmp_path / f"other-{stage}" / job.output.name)
        expected, parts = job.record(), job.artifacts[1:]
        job.remove_output()
        barrier, logs = FORK.Barrier(2), [tmp_path / f"log-{number}" for number in range(2)]
        pair = [
            FORK.Process(target=racer, args=(each, log, barrier, dice.choice([0, 0, 0.01, 0.1, 0.5])))
            for each, log in zip((job, other), logs, strict=True)
        ]
        for process in pair:
            process.start()
        made: dict[Path, int] = {}
        while any(process.is_alive() for process in pair):
            for part in filter(Path.exists, parts):
                assert made.setdefault(part, part.stat().st_ino) == part.stat().st_ino, "made twice"
            time.sleep(0.01)
        assert [ended(process) for process in pair] == [0, 0], [log.read_text() for log in logs]
        assert job.record() == other.record() == expected
        assert job.artifacts[1:] == other.artifacts[1:] == parts
        assert not job.leftovers()
        tally("two jobs that share data", "survived")


@pytest.mark.slow
@pytest.mark.batches(1, 3)
def test_two_snakemakes(
    batch: int, build: Callable[[str], Built], dice: random.Random, tmp_path: Path, tally: Tally
) -> None:
    """Two clones with the same data and results: each artifact is made once and stays."""
    built = build("downscaling")
    clones = [Checkout.of_repository(tmp_path / f"clone-{number}") for number in range(2)]
    for top in ("data", "results"):
        (tmp_path / top).mkdir()
        for clone in clones:
            (clone.folder / top).symlink_to(tmp_path / top)
    config, _ = (clone.changed_config(EXPERIMENTS["downscaling"]) for clone in clones)
    logs = [tmp_path / f"log-{number}" for number in range(2)]
    running = []
    for clone, log in zip(clones, logs, strict=True):
        running.append(clone.start(log, "--notemp", config=config, fresh=False))
        time.sleep(dice.uniform(0, 5))
    made: dict[str, int] = {}
    while any(process.poll() is None for process in running):
        now = artifacts(tmp_path)
        assert not [folder for folder, number in made.items() if now.get(folder) != number]
        made |= now
        time.sleep(0.05)
    for process, clone, log in zip(running, clones, logs, strict=True):
        assert process.returncode == 0, log.read_text() + clone.logs()
        assert clone.planned(config) == set()
    assert clones[0].records() == built.checkout.records()
    tally("two Snakemakes, one folder of results", "survived")


def artifacts(folder: Path) -> dict[str, int]:
    """Inodes of the artifacts that are complete."""
    found = {}
    for top in ("data", "results"):
        for place, folders, files in os.walk(folder / top):
            folders[:] = [name for name in folders if not name.endswith(UNFINISHED)]
            if PROVENANCE in files:
                found[place] = os.stat(place).st_ino
                folders.clear()
    return found
