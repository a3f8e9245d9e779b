"""Faults: how many of each kind were tried, and how they ended.

    pytest tests/faults            # minutes
    pytest tests/faults --long 1   # an hour; greater numbers take longer

A trial *survives* if what it leaves is, byte by byte, what comes out without the fault. It is *refused* if
the job ends with one line that names the file, the key or the artifact at fault, and nothing wrong is used.
"""

import fcntl
import os
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.faults.experiment import EXPERIMENTS, Job, import_all, jobs_of
from tests.workflow.workflow import Checkout

Tally = Callable[[str, str], None]
OUTCOMES = ("survived", "refused")
_FIRST, *_OTHERS = EXPERIMENTS
EACH = [_FIRST, *(pytest.param(name, marks=pytest.mark.long) for name in _OTHERS)]
"""Parameters: the experiments, all but the first with ``--long`` only."""
REFUSALS = {
    "test_grib": "hostile GRIB file",
    "test_netcdf": "hostile NetCDF file",
    "test_zarr": "hostile Zarr store",
    "test_nothing_of_a_hostile_archive_is_written": "hostile archive",
    "test_safetensors": "hostile safetensors file",
    "test_pickles": "hostile checkpoint",
    "test_a_number_out_of_range_is_named": "config: number out of its range",
    "test_a_file_that_is_refused": "config: file that is no config",
    "test_a_path_that_cannot_be_used_is_named": "config: path with characters of a shell",
    "test_a_label_is_letters_digits_and_underscores": "config: name that is no label",
    "test_a_wrong_config_stops_before_any_job": "config: wrong value",
}
"""Tests elsewhere in which each case is one that must be refused by name."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", type=int, default=0, metavar="N", help="all faults, for N hours or so")
    parser.addoption("--seed", type=int, default=0, help="of the faults' times and places")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--long", default=0):
        skip = pytest.mark.skip(reason="with --long only")
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(skip)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test with the argument ``batch`` runs as often as its mark says, N times with ``--long N``."""
    if "batch" in metafunc.fixturenames:
        (mark,) = metafunc.definition.iter_markers("batches")
        short, long = mark.args
        rounds = metafunc.config.getoption("--long", default=0)
        metafunc.parametrize("batch", range(rounds * long or short))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The table of all kinds. Trials of a test that fails do not count, but the failure does."""
    table: dict[str, Counter[str]] = {}
    for report in (report for reports in terminalreporter.stats.values() for report in reports):
        function = getattr(report, "nodeid", "").rpartition("::")[2].partition("[")[0]
        if getattr(report, "failed", False):
            table.setdefault(function, Counter())["failed"] += 1
        elif getattr(report, "when", None) == "call" and report.passed:
            trials = [value for name, value in report.user_properties if name == "fault"]
            trials += [f"{REFUSALS[function]}|refused"] if function in REFUSALS else []
            for kind, _, outcome in (trial.partition("|") for trial in trials):
                table.setdefault(kind, Counter())[outcome] += 1
    if table:
        rows = sorted(table.items())
        rows.append(("all", sum((counts for _, counts in rows), Counter())))
        width = max(len(kind) for kind, _ in rows)
        terminalreporter.section("faults")
        for kind, *cells in [
            ("kind", "tried", *OUTCOMES, "failed"),
            *(
                (kind, counts.total(), *(counts[name] for name in (*OUTCOMES, "failed")))
                for kind, counts in rows
            ),
        ]:
            terminalreporter.line(f"{kind:<{width}}" + "".join(f"{cell:>10}" for cell in cells))


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Tally:
    """Count a trial that has ended well, by its kind and its outcome."""

    def count(kind: str, outcome: str) -> None:
        assert outcome in OUTCOMES
        request.node.user_properties.append(("fault", f"{kind}|{outcome}"))

    return count


@pytest.fixture
def dice(request: pytest.FixtureRequest) -> random.Random:
    """Random numbers of a test, the same for the same seed."""
    return random.Random(f"{request.node.name} {request.config.getoption('--seed', default=0)}")


@dataclass(frozen=True)
class Built:
    """A complete experiment.

    Attributes:
        checkout: its folder; not to be changed.
        config: its configuration.
    """

    checkout: Checkout
    config: str

    def jobs(self, folder: Path) -> list[Job]:
        """The jobs of a copy to inject faults into."""
        return jobs_of(self.checkout.copy(folder), self.config)


def _built(name: str, folder: Path) -> Built:
    checkout, done = Checkout(folder / name), folder / f"{name}.done"
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            assert not checkout.folder.exists(), "the workflow failed on another worker"
            Checkout.of_repository(checkout.folder)
            config = checkout.changed_config(EXPERIMENTS[name])
            checkout.snakemake("--notemp", config=config)  # candidates stay, so that their jobs can run again
            done.write_text(config)
    return Built(checkout, done.read_text())


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Built]:
    """Make an experiment of ``EXPERIMENTS``, once for all tests and workers."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # the workers' common folder
        folder = folder.parent
    return partial(_built, folder=folder)


@pytest.fixture(scope="session", params=EACH)
def built(request: pytest.FixtureRequest, build: Callable[[str], Built]) -> Built:
    """Each experiment, complete."""
    return build(request.param)


@pytest.fixture(scope="module")
def jobs(built: Built, tmp_path_factory: pytest.TempPathFactory) -> list[Job]:
    """The jobs of a copy for the tests of a module. A test leaves the copy as it was."""
    import_all()
    return built.jobs(tmp_path_factory.mktemp("copy") / "experiment")
