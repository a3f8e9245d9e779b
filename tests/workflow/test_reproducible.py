"""The same seed gives the same bytes, in one go or killed on the way."""

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.workflow.killed import KILLED_STEP
from tests.workflow.workflow import Checkout

PERIOD, RUN = "20010115-20010117", "weatherpeft-seed0"


def killed(checkout: Checkout, who: str, job: str) -> int:
    """Run the workflow until a job is killed, and return Snakemake's exit status."""
    folder = checkout.folder / "killed"
    folder.mkdir(exist_ok=True)
    command = folder / "weatherpeft"
    program = Path(__file__).with_name("killed.py")
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P "{program}" "$@"\n')
    command.chmod(0o755)
    return checkout.snakemake(
        check=False, commands=folder, variables={"KILL": who, "KILL_JOB": job}, fresh=True
    ).returncode


@pytest.mark.slow
def test_twice_from_raw_and_killed_twice_gives_the_same_digests(built: Checkout, tmp_path: Path) -> None:
    again = Checkout.of_repository(tmp_path / "again")
    results = again.folder / "results/test"

    # The regrid process alone, while it writes: Snakemake goes on, and fails.
    assert killed(again, "job", PERIOD) == 1, again.logs()
    assert not (results / f"regridded/{PERIOD}").exists()
    (half,) = again.folder.glob(f"data/test/regridded/toy/{PERIOD}-*/11.25deg/.*.partial")
    chunks = [path for path in half.rglob("*") if path.is_file() and path.name != "zarr.json"]
    assert chunks, "regrid was not killed in the middle of its stores"

    # The finetune process and Snakemake with it, between two checkpoints.
    assert killed(again, "all", RUN) == -signal.SIGKILL, again.logs()
    assert not half.exists()
    assert not (results / f"runs/{RUN}").exists()
    assert list(results.glob("work/*/checkpoint.pt"))
    assert "resuming" not in (results / f"logs/finetune-{RUN}.log").read_text()

    again.snakemake("--unlock")
    again.snakemake("--rerun-incomplete", fresh=True)
    assert f"resuming at step {KILLED_STEP - 1} of 6" in (results / f"logs/finetune-{RUN}.log").read_text()
    assert not list(again.folder.rglob("*.partial"))
    assert os.listdir(results / "work") == []

    expected, found = built.records(), again.records()
    assert found == expected
    shared = [name for name in found if name.startswith("data/")]
    assert len(shared) == 3 + 3 * 2, "one of raw data and two grids for each period"
    assert len(found) - len(shared) == 22 - 1, "an artifact of every job but all"
    report = "results/test/report"
    for name in ("report.html", "scores.csv", "scores.txt"):
        assert (again.folder / report / name).read_bytes() == (built.folder / report / name).read_bytes()
