"""The experiments that faults are injected into, and their jobs, one by one, as Snakemake would run them."""

import ctypes
import importlib
import json
import multiprocessing
import os
import pkgutil
import re
import shlex
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NoReturn

import weatherpeft.backbones
import weatherpeft.stages
from tests.workflow.test_precipitation import rain
from tests.workflow.workflow import Checkout
from weatherpeft.artifacts.catalog import PATHS
from weatherpeft.artifacts.claim import UNFINISHED
from weatherpeft.artifacts.manifest import PROVENANCE, check_artifact
from weatherpeft.cli import main

FORK = multiprocessing.get_context("fork")
CRASH = 99
"""Exit status of a job that ends with a traceback."""
INTERRUPTED = 130
"""Exit status of a job that Ctrl-C has ended."""
PATIENCE_S = 300
"""Within this time a job ends, or it hangs."""
_DAC = 0b110
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, with which root ignores permissions."""


def downscaling(config: dict[str, Any]) -> None:
    """The tiny experiment, with packed fields, and with candidates in place of full tuning."""
    config["training_store"] = "int16"
    config["baselines"] = ["regression"]
    del config["runs"]["full"]
    config["runs"]["lora"] = {"methods": [{"name": "lora", "rank": [2, 3]}]}


def ensemble(config: dict[str, Any]) -> None:
    """Post-processing of three members, of which the small planet makes forecasts."""
    config["source"]["ensemble"] = {"members": 3, "truncation": 21, "resolution_deg": 7.5}
    last_days = {1: 24, 2: 18, 3: 18}  # EMOS has four coefficients to fit
    spans = [{"start": f"200{year}-01-15", "end": f"200{year}-01-{day}"} for year, day in last_days.items()]
    config["source"]["spans"] = spans
    config["splits"] = {
        name: {"periods": [span]} for name, span in zip(("train", "validation", "test"), spans, strict=True)
    }
    config["variables"]["surface"] = ["2m_temperature", "10m_u_component_of_wind", "10m_v_component_of_wind"]
    config["forecasts"] = {
        "members": [1, 2, 3],
        "variables": {
            "surface": [*config["variables"]["surface"], "total_precipitation_48hr"],
            "atmospheric": ["temperature", "geopotential"],
            "levels_hpa": [500, 850],
        },
    }
    config["task"] = {"name": "postprocessing", "grid": {"resolution_deg": 11.25}, "members": 3}
    config["baselines"] = ["ensemble", "emos"]
    config["training"] |= {"steps": 2, "validate_every": 2}


EXPERIMENTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "downscaling": downscaling,
    "rain": rain,
    "ensemble": ensemble,
}


@dataclass(frozen=True)
class Job:
    """A command line of the workflow.

    Attributes:
        arguments: words after ``weatherpeft``.
        folder: folder of the experiment, relative to which paths are.
    """

    arguments: tuple[str, ...]
    folder: Path

    @property
    def stage(self) -> str:
        return self.arguments[0]

    @property
    def output(self) -> Path:
        """The artifact that it makes."""
        return self.folder / self.arguments[self.arguments.index("--output") + 1]

    @property
    def artifacts(self) -> list[Path]:
        """The artifact that it makes, and those that this one is a catalog of."""
        paths = self.output / PATHS
        parts = json.loads(paths.read_text()) if paths.is_file() else []
        return [self.output, *(self.folder / part for part in parts)]

    @property
    def name(self) -> str:
        return f"{self.stage} {self.output.name}"

    def reads(self, artifact: Path) -> bool:
        """Whether an artifact is among its inputs."""
        return any((self.folder / word).is_relative_to(artifact) for word in self.arguments[1:-1])

    def into(self, output: Path, shared: Path | None = None) -> "Job":
        """The same job with another output, and another folder of what it shares if that is given."""
        words = list(self.arguments)
        words[words.index("--output") + 1] = str(output)
        if shared and "--shared" in words:
            words[words.index("--shared") + 1] = str(shared)
        return Job(tuple(words), self.folder)

    def start(self, log: Path, *, as_anyone: bool = False) -> BaseProcess:
        """Start it in a process of its own.

        Args:
            log: file for what it prints.
            as_anyone: whether permissions hold for it, if the user is root.
        """
        process = FORK.Process(target=run_and_exit, args=(self, log, as_anyone))
        # Ctrl-C while Python forks is printed and lost, with the locks of ``logging`` held for ever. A job of
        # the workflow is not forked so.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return process

    def run(self, log: Path, *, as_anyone: bool = False) -> int | None:
        """Run it to its end, and return its exit status."""
        return ended(self.start(log, as_anyone=as_anyone))

    def record(self) -> dict[str, Any]:
        """The record of what it has made, all bytes of which are compared with their checksums."""
        check_artifact(self.output)
        found: dict[str, Any] = json.loads((self.output / PROVENANCE).read_bytes())
        return found

    def remove_output(self) -> None:
        for artifact in self.artifacts[::-1]:
            shutil.rmtree(artifact, ignore_errors=True)

    def leftovers(self) -> list[Path]:
        """What of unfinished artifacts lies beside them or in the work folder."""
        found = [path for each in self.artifacts for path in each.parent.glob(f".{each.name}.*")]
        if "--shared" in self.arguments:
            shared = self.folder / self.arguments[self.arguments.index("--shared") + 1]
            found += shared.rglob(f"*{UNFINISHED}")
        if "--work" in self.arguments:
            work = self.folder / self.arguments[self.arguments.index("--work") + 1]
            found += work.glob(f"{self.output.name}-*")
        return found


def ended(process: BaseProcess) -> int | None:
    """Wait for a job, and return its exit status, negative for a signal."""
    process.join(PATIENCE_S)
    if process.is_alive():
        assert process.pid
        os.kill(process.pid, signal.SIGABRT)  # pytest's handler prints where it hangs
        process.join()
        raise AssertionError("the job hangs")
    return process.exitcode


def run_and_exit(job: Job, log: Path, as_anyone: bool = False) -> NoReturn:
    """Run a job in this process, which ends with it; arguments as of ``Job.start``."""
    status = CRASH
    # pytest's hook parses source code; called by the garbage collector while a job parses its own, it would
    # make that fail (SystemError of CPython 3.11). A job of the workflow has no such hook.
    sys.unraisablehook = sys.__unraisablehook__
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        os.setsid()
        os.chdir(job.folder)
        sys.stdout = sys.stderr = log.open("w", buffering=1)
        if as_anyone and os.geteuid() == 0:
            _obey_permissions()
        status = main(job.arguments)
    except SystemExit as left:
        status = left.code if isinstance(left.code, int) else 1
    except KeyboardInterrupt:  # before or after the job itself, which answers it with one line
        status = INTERRUPTED
    except BaseException:
        traceback.print_exc()
    os._exit(status)


def _obey_permissions() -> None:
    """Give up what lets root read and write everything."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capget(header, sets) == 0:
        sets[0] &= ~_DAC
        if libc.capset(header, sets) == 0:
            return
    raise OSError(ctypes.get_errno(), "capset")


def import_all() -> None:
    """Import what jobs need, before they are forked; each one would take seconds for it."""
    import matplotlib.pyplot  # noqa: F401

    for package in (weatherpeft.stages, weatherpeft.backbones):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)


def jobs_of(checkout: Checkout, config: str) -> list[Job]:
    """All jobs of an experiment in the order in which Snakemake names them."""
    text = checkout.snakemake("--dry-run", "--printshellcmds", "--forceall", config=config).stdout
    lines = re.findall(r"^Shell command: +weatherpeft (.+) 2> \S+$", text, re.MULTILINE)
    jobs = [Job(tuple(shlex.split(line)), checkout.folder) for line in lines]
    assert jobs and len({job.output for job in jobs}) == len(jobs)
    return jobs


def until(condition: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
    """Wait until something holds."""
    end = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.01)
