"""Checks of an experiment before any job starts, for the command line and for the workflow.

The package imports nothing heavy at its top. What a check needs of the user's files it reads from their
headers.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from weatherpeft.checks.samples import too_few
from weatherpeft.checks.schedule import hours, steps
from weatherpeft.config import Experiment
from weatherpeft.config_errors import RefusedError, problems
from weatherpeft.config_file import where


def checked(values: Mapping[str, Any], files: Sequence[Path], work: bool = True) -> Experiment:
    """Validate an experiment and what it is about to work on.

    Args:
        values: what ``config_file.merged`` read.
        files: files of the configuration, which messages name.
        work: whether to check, beyond the configuration itself, what the jobs will do.

    Raises:
        RefusedError: the experiment is wrong. Each line names file, line and key.
    """
    try:
        experiment = Experiment.parse(values)
    except ValidationError as error:
        raise RefusedError(_located(problems(error, values, Experiment), files)) from error
    except ValueError as error:
        raise RefusedError(_located([str(error)], files)) from error
    if work and (lines := [*hours(experiment), *steps(experiment)] or [*too_few(experiment)]):
        raise RefusedError(_located(lines, files))
    return experiment


def _located(lines: Sequence[str], files: Sequence[Path]) -> list[str]:
    """Lines that begin with a key, after the file and the line in which it stands."""
    located = []
    for line in lines:
        keys = line.partition(" ")[0].rstrip(":").split(".")
        place = where(files, [int(key) if key.isdecimal() else key for key in keys])
        located.append(f"{place}: {line}" if place else line)
    return located
