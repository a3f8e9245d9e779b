"""Disks that are full, read-only or not for this user: one line, nothing half-written, a good rerun."""

import os
import random
import re
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.faults.conftest import Built, Tally
from tests.faults.experiment import Job, import_all

OF_EXPERIMENT = r"\b(data|results)/test/"
"""In the path of each of its artifacts and work folders."""
SPARE = 2**26
"""Bytes of the small disk beside what the experiment needs."""


def used(path: Path) -> int:
    """Bytes of the files below a path, in whole pages."""
    return sum(-(-file.stat().st_size // 4096) * 4096 for file in path.rglob("*") if file.is_file())


@pytest.fixture(scope="module")
def disk(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file system of its own."""
    place = tmp_path_factory.mktemp("disk")
    size = used(built.checkout.folder) + SPARE
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(place)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("no program mount")
    if done.returncode:
        pytest.skip(f"a small disk can only be made by root: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture(scope="module")
def jobs_there(built: Built, disk: Path) -> list[Job]:
    """The jobs of a copy on that file system. A test leaves the copy as it was."""
    import_all()
    return built.jobs(disk / "experiment")


@contextmanager
def filled(disk: Path, free: int) -> Iterator[None]:
    """Fill a disk but for some bytes."""
    ballast = disk / "ballast"
    state = os.statvfs(disk)
    with ballast.open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, max(state.f_bavail * state.f_frsize - free, 1))
    try:
        yield
    finally:
        ballast.unlink()


@contextmanager
def read_only(disk: Path) -> Iterator[None]:
    """Let nobody write."""
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)


@contextmanager
def forbidden(place: Path, mode: int) -> Iterator[None]:
    """Give a file or a folder other permissions."""
    before = place.stat().st_mode
    place.chmod(mode)
    try:
        yield
    finally:
        place.chmod(before)


def outcome(job: Job, fault: AbstractContextManager[None], log: Path, why: str, place: str) -> str:
    """How a job ends under a fault, and that it ends right when the fault is over.

    Args:
        job: a job whose output is complete.
        fault: what is wrong while the job runs.
        log: file for what it prints.
        why: what it must say, if it does not survive.
        place: pattern of the path that it must name then.
    """
    expected = job.record()
    job.remove_output()
    with fault:
        status = job.run(log, as_anyone=True)
    said = log.read_text()
    if status == 0:
        assert job.record() == expected, job.name
        return "survived"
    assert not job.output.exists(), job.name
    errors = [line for line in said.splitlines() if "error:" in line]
    assert status in (1, 2) and len(errors) == 1 and why in errors[0], f"{job.name}: {status} {said}"
    assert re.search(place, errors[0]), f"{job.name}: {errors[0]}"
    assert job.run(log) == 0, f"{job.name}: {log.read_text()}"
    assert job.record() == expected, job.name
    assert not job.leftovers()
    return "refused"


@pytest.mark.slow
@pytest.mark.batches(1, 3)
def test_full(
    disk: Path, jobs_there: list[Job], batch: int, dice: random.Random, tmp_path: Path, tally: Tally
) -> None:
    """In jobs, with any number of bytes left, up to twice what they need."""
    for job in jobs_there if batch else dice.sample(jobs_there, 10):
        free = dice.choice([0, dice.randint(0, 2 * used(job.output))])
        fault = filled(disk, free)
        tally("disk full", outcome(job, fault, tmp_path / "log", "No space left on device", OF_EXPERIMENT))


@pytest.mark.slow
@pytest.mark.batches(1, 2)
def test_read_only(
    disk: Path, jobs_there: list[Job], batch: int, dice: random.Random, tmp_path: Path, tally: Tally
) -> None:
    for job in jobs_there if batch else dice.sample(jobs_there, 8):
        found = outcome(job, read_only(disk), tmp_path / "log", "Read-only file system", OF_EXPERIMENT)
        assert found == "refused", job.name
        tally("disk read-only", found)


@pytest.mark.slow
@pytest.mark.batches(1, 3)
def test_no_permission(
    jobs: list[Job], batch: int, dice: random.Random, tmp_path: Path, tally: Tally
) -> None:
    """An input, one of its files, or the folder of the output, is not for this user."""
    for job in dice.sample(jobs, 10):
        places: list[tuple[Path, int]] = [(job.output.parent, 0o500)]
        for artifact in (other.output for other in jobs if other != job and job.reads(other.output)):
            files = [path for path in artifact.rglob("*") if path.is_file() and path.name[0] != "."]
            places += [(artifact, 0), (dice.choice(files), 0)]
        place, mode = dice.choice(places)
        named = re.escape(str(place.relative_to(job.folder)))
        found = outcome(job, forbidden(place, mode), tmp_path / "log", "Permission denied", named)
        tally("no permission: input" if mode == 0 else "no permission: output", found)
