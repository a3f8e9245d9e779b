"""Checks of an experiment before any job starts, for the command line and for the workflow.

The package imports nothing heavy at its top. What a check needs of the user's files it reads from their
headers.
"""

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from weatherpeft.checks.files import files as own_files
from weatherpeft.checks.methods import methods
from weatherpeft.checks.requests import requests
from weatherpeft.checks.samples import too_few
from weatherpeft.checks.schedule import hours, steps
from weatherpeft.checks.weights import weights
from weatherpeft.config import Experiment
from weatherpeft.config_errors import RefusedError, problems
from weatherpeft.config_file import merged, where


def checked(files: Sequence[Path], entries: Sequence[str] = (), work: bool = True) -> Experiment:
    """Read and validate an experiment and what it is about to work on.

    Args:
        files: YAML files of the configuration; a later one changes what stands in the ones before.
        entries: settings of a command line, ``key=value`` each, which come last.
        work: whether to check, beyond the configuration itself, what the jobs will do.

    Raises:
        RefusedError: the experiment is wrong. Each line names file, line and key.
        ValueError: a file is refused (see ``config_file.read``).
    """
    values = merged(files, entries)
    try:
        experiment = Experiment.parse(values)
    except ValidationError as error:
        raise RefusedError(_located(problems(error, values, Experiment), files, entries)) from error
    except ValueError as error:
        raise RefusedError(_located([str(error)], files, entries)) from error
    if work:
        written = merged(files) if entries else values
        lines = [*hours(experiment), *steps(written)]
        lines = lines or [*requests(experiment)]
        lines = lines or [*too_few(experiment), *weights(experiment), *own_files(experiment)]
        lines = lines or [*methods(experiment)]
        if lines:
            raise RefusedError(_located(lines, files, entries))
    return experiment


def _located(lines: Sequence[str], files: Sequence[Path], entries: Sequence[str]) -> list[str]:
    """Lines that begin with a key, after the file and the line, or the setting, in which it stands."""
    located = []
    for line in lines:
        keys = line.partition(" ")[0].rstrip(":").split(".")
        place = where(files, [int(key) if key.isdecimal() else key for key in keys], entries)
        located.append(f"{place}: {line}" if place else line)
    return located
