"""Disks that are full, read-only or not for this user: one line, nothing half-written, a good rerun."""

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import Built, Tally
from tests.faults.experiment import Job, import_all
from tests.workflow.workflow import Checkout

SPARE = 2**26
"""Bytes of the small disk beside what the experiment needs."""


def used(path: Path) -> int:
    """Bytes of the files below a path, in whole pages."""
    return sum(-(-file.stat().st_size // 4096) * 4096 for file in path.rglob("*") if file.is_file())


@pytest.fixture(scope="module")
def disk(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[Job]]]:
    """A file system of its own, with a copy of the experiment."""
    import_all()
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
        yield place, built.copy(place / "experiment")[1]
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path, free: int) -> Path:
    """Fill a disk but for some bytes."""
    ballast = disk / "ballast"
    state = os.statvfs(disk)
    with ballast.open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, max(state.f_bavail * state.f_frsize - free, 1))
    return ballast


@pytest.mark.slow
@pytest.mark.batches(1, 3)
def test_full(
    disk: tuple[Path, list[Job]], batch: int, dice: random.Random, tmp_path: Path, tally: Tally
) -> None:
    """In each job, with any number of bytes left, up to what it needs. Its log is on the full disk too."""
    place, jobs = disk
    for job in jobs:
        expected = job.record()
        need = used(job.output)
        job.remove_output()
        log = place / "log"
        log.unlink(missing_ok=True)
        ballast = fill(place, dice.choice([0, dice.randint(0, 2 * need)]))
        try:
            printed = tmp_path / "printed"
            status = job.run(printed)
        finally:
            ballast.unlink()
        tally("disk full", _ended(job, status, printed.read_text(), expected, "No space left on device"))
        _again(job, expected, tmp_path / "log")


@pytest.mark.slow
@pytest.mark.batches(1, 2)
def test_read_only(
    disk: tuple[Path, list[Job]], batch: int, dice: random.Random, tmp_path: Path, tally: Tally
) -> None:
    place, jobs = disk
    for job in jobs if batch else dice.sample(jobs, 8):
        expected = job.record()
        job.remove_output()
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        try:
            status = job.run(tmp_path / "log")
        finally:
            subprocess.run(["mount", "-o", "remount,rw", str(place)], check=True)
        assert status != 0
        tally(
            "disk read-only",
            _ended(job, status, (tmp_path / "log").read_text(), expected, "Read-only file system"),
        )
        _again(job, expected, tmp_path / "log")


@pytest.mark.slow
@pytest.mark.batches(1, 3)
def test_no_permission(
    copy: tuple[Checkout, list[Job]], batch: int, dice: random.Random, tmp_path: Path, tally: Tally
) -> None:
    """An input, one of its files, or the folder of the output, is not for this user."""
    jobs = copy[1]
    for job in dice.sample(jobs, 10):
        inputs = [other.output for other in jobs if other != job and job.reads(other.output)]
        places: list[tuple[Path, int]] = [(job.output.parent, 0o500)]
        for artifact in inputs:
            files = [path for path in artifact.rglob("*") if path.is_file() and path.name[0] != "."]
            places += [(artifact, 0), (dice.choice(files), 0)]
        place, mode = dice.choice(places)
        before = place.stat().st_mode
        expected = job.record()
        kept = tmp_path / "kept"
        job.output.rename(kept)
        place.chmod(mode)
        try:
            status = job.run(tmp_path / "log", as_anyone=True)
        finally:
            place.chmod(before)
        said = (tmp_path / "log").read_text()
        outcome = _ended(job, status, said, expected, "Permission denied", place)
        tally("no permission: input" if mode == 0 else "no permission: output", outcome)
        job.remove_output()
        kept.rename(job.output)


def _ended(
    job: Job, status: int | None, said: str, expected: object, why: str, place: Path | None = None
) -> str:
    """The outcome of a job: complete all the same, or refused in one line that names a place and why."""
    if status == 0:
        assert job.record() == expected, job.name
        return "survived"
    assert not job.output.exists(), job.name
    errors = [line for line in said.splitlines() if "error:" in line]
    assert status in (1, 2) and len(errors) == 1 and why in errors[0], f"{job.name}: {status} {said}"
    named = str((place or job.folder).relative_to(job.folder.parent if place is None else job.folder))
    assert named in errors[0] or (place is None and "/" in errors[0]), f"{job.name}: {errors[0]}"
    return "refused"


def _again(job: Job, expected: object, log: Path) -> None:
    """Run a job where nothing is in its way; what the fault has left is cleaned up."""
    if not job.output.exists():
        assert job.run(log) == 0, f"{job.name}: {log.read_text()}"
    assert job.record() == expected, job.name
    assert not job.leftovers()
    shutil.rmtree(job.folder / "tmp", ignore_errors=True)
