"""Damage at random places of every kind of artifact: it is named, and no number of it is used."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.conftest import Tally
from tests.faults.experiment import Job
from weatherpeft.artifacts.catalog import PATHS
from weatherpeft.artifacts.manifest import MANIFEST

OUTPUTS_OF_SNAKEMAKE = (".snakemake_timestamp",)
TRIALS_A_BATCH = 24


def flip(file: Path, dice: random.Random) -> Path:
    content = bytearray(file.read_bytes())
    content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    file.write_bytes(content)
    return file


def cut(file: Path, dice: random.Random) -> Path:
    content = file.read_bytes()
    file.write_bytes(content[: dice.randrange(len(content))])
    return file


def remove(file: Path, dice: random.Random) -> Path:
    file.unlink()
    return file


def swap(file: Path, dice: random.Random) -> Path:
    """Random bytes in place of its first ones, up to 4096; its length stays."""
    content = file.read_bytes()
    file.write_bytes(dice.randbytes(min(len(content), 4096)) + content[4096:])
    return file


def add(file: Path, dice: random.Random) -> Path:
    """A foreign file beside it, as a chunk of a store might be."""
    foreign = next(path for name in ("0", "1", "foreign") if not (path := file.with_name(name)).exists())
    shutil.copy2(file, foreign)
    return foreign


DAMAGES: dict[str, tuple[Callable[[Path, random.Random], Path], int]] = {
    "one bit": (flip, 12),
    "truncated": (cut, 2),
    "missing": (remove, 2),
    "other bytes": (swap, 1),
    "foreign file": (add, 1),
}
"""What is done to a file, and how often. Each says which file is wrong then."""


@pytest.mark.slow
@pytest.mark.batches(1, 15)
def test_damage(jobs: list[Job], batch: int, dice: random.Random, tmp_path: Path, tally: Tally) -> None:
    """``verify`` finds each. A job that reads the artifact refuses it, or has not needed the damaged file."""
    folder = jobs[0].folder
    log, saved = tmp_path / "log", tmp_path / "saved"
    for trial in range(TRIALS_A_BATCH):
        maker = jobs[(TRIALS_A_BATCH * batch + trial) % len(jobs)]
        artifact = dice.choice(maker.artifacts)
        files = [path for path in sorted(artifact.rglob("*")) if path.is_file() and path.stat().st_size]
        file = dice.choice([path for path in files if path.name not in OUTPUTS_OF_SNAKEMAKE])
        (kind,) = dice.choices(list(DAMAGES), [weight for _, weight in DAMAGES.values()])
        shutil.copytree(artifact, saved)
        try:
            file = DAMAGES[kind][0](file, dice)
            place = f"{kind}: {file.relative_to(folder)}"
            verify = Job(("verify", str(artifact.relative_to(folder))), folder)
            assert verify.run(log) == 1, f"{place}: {log.read_text()}"
            found = log.read_text()
            # A damaged list, or a record that does not agree with it, may have either of them named. The
            # digest does not cover the list's line of PATHS, so there the list is believed.
            named = file.name in found or MANIFEST in found or (file.name == MANIFEST and PATHS in found)
            assert named, f"{place}: {found}"
            assert "Traceback" not in found
            tally(f"artifact of {maker.stage} damaged: verify", "refused")
            users = [job for job in jobs if job.reads(maker.output) and job != maker]
            if users:
                user = dice.choice(users)
                outcome = read(
                    user,
                    user.into(tmp_path / "other" / user.output.name, tmp_path / "shared"),
                    artifact,
                    log,
                    place,
                )
                tally(f"artifact of {maker.stage} damaged: a job that reads it", outcome)
        finally:
            shutil.rmtree(artifact)
            saved.rename(artifact)


def read(user: Job, job: Job, artifact: Path, log: Path, place: str) -> str:
    """How a job ends that has a damaged artifact among its inputs."""
    status = job.run(log)
    said = log.read_text()
    try:
        if status == 0:  # the damaged file is one that it does not read
            assert job.record() == user.record(), f"{place}: {job.name} uses it"
            return "survived"
        assert status == 1, f"{place}: {job.name}: {said}"
        errors = [line for line in said.splitlines() if "error:" in line]
        assert len(errors) == 1 and artifact.name in errors[0], f"{place}: {job.name}: {said}"
        assert "snakemake --cores all --force" in errors[0]
        return "refused"
    finally:
        job.remove_output()
        for leftover in job.leftovers():
            shutil.rmtree(leftover)
