"""The workflow on the tiny configuration, run once for all tests and workers."""

import fcntl
import os
from pathlib import Path

import pytest

from tests.workflow.workflow import Checkout


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """The tiny experiment, complete. Not to be changed: take a ``copy``."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # the workers' common folder
        folder = folder.parent
    checkout, done = Checkout(folder / "built"), folder / "built.done"
    with (folder / "built.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            assert not checkout.folder.exists(), "the workflow failed on another worker"
            Checkout.of_repository(checkout.folder).snakemake()
            done.touch()
    return checkout


@pytest.fixture
def copied(built: Checkout, tmp_path: Path) -> Checkout:
    """A complete experiment of the test's own."""
    return built.copy(tmp_path / "copied")
