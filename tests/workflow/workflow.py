"""A copy of the workflow and the package in a folder of its own, to run, to change and to kill."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.workflow import preloaded

ROOT = Path(__file__).resolve().parents[2]
CONFIG = "config/test.yaml"
_PARTS = ("Snakefile", "workflow", "profiles", "slurm", "weatherpeft", "config", "environment.yml")
_SNAKEMAKE = ("snakemake", "--nocolor", "--cores", "2")


@dataclass(frozen=True)
class Checkout:
    """A folder with the workflow, the package, and what the workflow makes there.

    Attributes:
        folder: jobs run in it, and import the package from it.
    """

    folder: Path

    @classmethod
    def of_repository(cls, folder: Path) -> "Checkout":
        """Copy what the workflow consists of; nothing is computed yet."""
        folder.mkdir(parents=True)
        for part in _PARTS:
            if (ROOT / part).is_dir():
                shutil.copytree(
                    ROOT / part, folder / part, symlinks=True, ignore=shutil.ignore_patterns("__pycache__")
                )
            elif (ROOT / part).exists():
                shutil.copy2(ROOT / part, folder / part)
        checkout = cls(folder)
        place = checkout.run(
            sys.executable, "-P", "-c", "import weatherpeft; print(weatherpeft.__file__)"
        ).stdout
        assert Path(place.strip()).is_relative_to(folder), f"jobs would import {place}"
        return checkout

    def copy(self, folder: Path) -> "Checkout":
        """The same with its results and Snakemake's records, times of files included."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Checkout(folder)

    def run(
        self,
        *command: str | Path,
        check: bool = True,
        commands: Path | None = None,
        variables: Mapping[str, str] | None = None,
        fresh: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the folder, in a process group of its own; standard error joins the output.

        Args:
            command: program and arguments.
            check: whether it must succeed.
            commands: folder with programs that come before those of this Python's environment.
            variables: more of the process's environment, beside this process's own.
            fresh: whether commands import the libraries anew, as a user's do; else see ``preloaded``.
        """
        done = subprocess.run(
            [str(word) for word in command],
            cwd=self.folder,
            env=self.environment(commands, variables, fresh),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        if check:
            assert done.returncode == 0, f"{command} returned {done.returncode}\n{done.stdout}{self.logs()}"
        return done

    def environment(
        self,
        commands: Path | None = None,
        variables: Mapping[str, str] | None = None,
        fresh: bool = True,
    ) -> dict[str, str]:
        """The environment of what runs in the folder; arguments as of ``run``."""
        first = [*([commands] if commands else []), *([] if fresh else [preloaded.commands()])]
        folders = [*first, Path(sys.executable).parent, os.environ["PATH"]]
        return {
            **os.environ,
            "PATH": os.pathsep.join(map(str, folders)),
            "PYTHONPATH": str(self.folder),
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
            "WEATHERPEFT_LOG": "INFO",
            **(variables or {}),
        }

    def start(
        self,
        log: Path,
        *options: str,
        config: str = CONFIG,
        variables: Mapping[str, str] | None = None,
        fresh: bool = True,
    ) -> subprocess.Popen[bytes]:
        """Start Snakemake, in a process group of its own, and go on.

        Args:
            log: file for all that it prints.
            options: of Snakemake.
            config: configuration of the experiment.
            variables: more of the process's environment, beside this process's own.
            fresh: as in ``run``. What is killed must be.
        """
        with log.open("wb") as stream:
            return subprocess.Popen(
                [*_SNAKEMAKE, *options, "--configfile", config],
                cwd=self.folder,
                env=self.environment(variables=variables, fresh=fresh),
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def snakemake(
        self, *options: str, config: str = CONFIG, **settings: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run Snakemake; settings as in ``run``."""
        return self.run(*_SNAKEMAKE, *options, "--configfile", config, **settings)

    def planned(self, config: str = CONFIG) -> set[str]:
        """Jobs that Snakemake would run, as ``rule`` or ``rule wildcard``, without ``all``."""
        text = self.snakemake("--dry-run", config=config).stdout
        jobs: list[str] = []
        for line in text.splitlines():
            if rule := re.fullmatch(r"(?:local)?rule (\w+):", line):
                jobs.append(rule[1])
            elif wildcard := re.fullmatch(r" {4}wildcards: \w+=(\S+)", line):
                jobs[-1] += f" {wildcard[1]}"
        total = re.search(r"^total +(\d+)$", text, re.MULTILINE)
        assert len(jobs) == (int(total[1]) if total else 0), text
        assert total or "Nothing to be done" in text, text
        return set(jobs) - {"all"}

    def changed_config(self, change: Callable[[dict[str, Any]], object], base: str = CONFIG) -> str:
        """Write a changed configuration beside the original, and return its path."""
        values = yaml.safe_load((self.folder / base).read_text())
        change(values)
        path = Path(base).with_stem(f"{Path(base).stem}_changed")
        (self.folder / path).write_text(yaml.safe_dump(values, sort_keys=False))
        return str(path)

    def records(self) -> dict[str, dict[str, Any]]:
        """The provenance of every artifact, by its path."""
        files = [path for top in ("data", "results") for path in (self.folder / top).rglob("provenance.json")]
        return {str(file.parent.relative_to(self.folder)): json.loads(file.read_text()) for file in files}

    def store(self, artifact: str, grid: str, experiment: str = "test") -> Path:
        """The only store of a grid in a catalog of regridded data."""
        folder = self.folder / "results" / experiment / artifact
        rows, paths = (json.loads((folder / f"{name}.json").read_text()) for name in ("parts", "paths"))
        (path,) = (path for row, path in zip(rows, paths, strict=True) if row["grid"] == grid)
        return self.folder / path / f"{grid}.zarr"

    def logs(self) -> str:
        """What the jobs logged."""
        files = sorted(self.folder.glob("results/*/logs/*.log"))
        return "".join(f"\n--- {file.name}\n{file.read_text()}" for file in files)
