"""Catalogs: which shared artifacts hold the fields of an experiment.

Experiments share raw and regridded data. A *part* is an artifact that a job made: some variables of one
source and period, regridded parts on one grid. It lies in a folder that depends on what it holds, and no
experiment owns it. An experiment's own artifact is a *catalog* of parts. So one more variable costs another
experiment that variable alone, and the parts that are there stay as they are.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from weatherpeft.artifacts.claim import UNFINISHED, bury
from weatherpeft.artifacts.manifest import DamagedError, checked, faults, shown
from weatherpeft.artifacts.store import artifact_digest, read_provenance
from weatherpeft.fields.variables import VariableSet
from weatherpeft.spec import Spec

PATHS = "paths.json"
"""File of a catalog with the places of its parts. They depend on the machine and count for no digest."""
_PARTS = "parts.json"


class Part(NamedTuple):
    """What an experiment takes of a shared artifact.

    Attributes:
        path: the artifact.
        digest: its content digest.
        variables: the variables that are taken.
        grid: label of the grid of regridded variables; empty for raw data.
    """

    path: Path
    digest: str
    variables: VariableSet
    grid: str = ""


def key(*parts: str) -> str:
    """A name for folders that tells apart what differs in any of some texts."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def file_states(files: Sequence[Path]) -> str:
    """Path, size and time of change of the user's own files, as a text that changes with any of them."""
    states = [(str(file), file.stat()) for file in files]
    return "\n".join(f"{name} {state.st_size} {state.st_mtime_ns}" for name, state in states)


def tidy(folder: Path) -> None:
    """Remove what dead jobs left in a folder of parts. The caller has the claim on the folder."""
    for pattern in (f".*{UNFINISHED}", f"*/.*{UNFINISHED}"):  # of raw and of regridded parts
        for unfinished in folder.glob(pattern):
            bury(unfinished)


def find(
    folder: Path,
    wanted: VariableSet,
    fits: Callable[[Mapping[str, Any]], bool],
    grid: str = "",
    least: float = 0.0,
) -> tuple[list[Part], VariableSet]:
    """Find the parts in a folder that hold some variables.

    A part counts only if all its files are as they were written. Those that hold most come first. Regridded
    parts have exactly the wanted levels, raw ones may have more.

    Args:
        folder: folder of the parts; it need not exist.
        wanted: variables to find.
        fits: whether the record of a part says that it is what is wanted, apart from its variables.
        grid: label of the grid.
        least: share of a part's fields of a time that must be wanted, because who reads one reads all.

    Returns:
        Parts whose variables do not overlap, and the variables that none of them has.
    """
    held: list[tuple[Path, str, VariableSet]] = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        try:
            record = read_provenance(path)
            if fits(record):
                variables = VariableSet.parse(record["spec"]["request"]["variables"])
                held.append((path, record["digest"], variables))
        except (ValueError, LookupError, TypeError):  # no part of this version
            continue
    found: list[Part] = []
    lacking = wanted
    while held and lacking.names:
        shares = [_shared(variables, lacking, exact=bool(grid)) for _, _, variables in held]
        best = max(range(len(held)), key=lambda place: len(shares[place]))
        path, digest, variables = held.pop(best)
        share = shares[best]
        if not share:
            break
        taken = lacking.only(share)
        fields, all_fields = len(taken.channels()), len(variables.channels())
        if (not fields or fields >= least * all_fields) and not any(faults(path)):
            found.append(Part(path, digest, taken, grid))
            lacking = lacking.only([name for name in lacking.names if name not in share])
    return found, lacking


def _shared(held: VariableSet, wanted: VariableSet, exact: bool) -> list[str]:
    """The wanted variables that a part has: at the wanted levels, and defined alike."""
    levels = held.levels_hpa == wanted.levels_hpa if exact else {*wanted.levels_hpa} <= {*held.levels_hpa}
    return [
        name
        for name in wanted.names
        if name in held.names
        and wanted.define.get(name) == held.define.get(name)
        and (levels or name not in wanted.atmospheric)
    ]


def write(directory: Path, parts: Sequence[Part], facts: dict[str, Any]) -> None:
    """Write a catalog into an artifact that is being made. ``PATHS`` is one of its varying files.

    Args:
        directory: the unfinished artifact.
        parts: its parts.
        facts: further entries of the artifact's record, to which the digests of the parts are added.
    """
    parts = sorted(parts, key=lambda part: (part.grid, part.variables.names))
    rows = [
        {"digest": part.digest, "grid": part.grid, "variables": part.variables.model_dump(mode="json")}
        for part in parts
    ]
    (directory / _PARTS).write_text(json.dumps(rows, indent=1) + "\n")
    (directory / PATHS).write_text(json.dumps([str(part.path) for part in parts], indent=1) + "\n")
    facts["parts"] = {"/".join(part.path.parts[-2:]): part.digest for part in parts}


def is_catalog(directory: Path) -> bool:
    """Whether an artifact is a catalog."""
    return (directory / _PARTS).is_file()


def read(directory: Path) -> list[Part]:
    """The parts of a catalog.

    Raises:
        DamagedError: the catalog is damaged, or a part is missing, damaged or another one by now. The message
            names it and the command that makes it again.
        ValueError: the artifact is of another version.
    """
    rows = json.loads(checked(directory / _PARTS).read_bytes())
    paths = json.loads(checked(directory / PATHS).read_bytes())
    parts = [
        Part(_place(path, directory), row["digest"], VariableSet.parse(row["variables"]), row["grid"])
        for row, path in zip(rows, paths, strict=True)
    ]
    for part in parts:
        _check(part, directory)
    return parts


def _place(path: str, catalog: Path) -> Path:
    """Where a part is, whose path is relative to the folder in which the workflow ran.

    That is the current folder or, for one who reads the catalog elsewhere, a folder above the catalog.
    """
    places = (folder / path for folder in catalog.absolute().parents)
    return Path(path) if Path(path).exists() else next(filter(Path.exists, places), Path(path))


def _check(part: Part, catalog: Path) -> None:
    if not part.path.exists():
        raise DamagedError(part.path, "missing", catalog)
    try:
        digest = artifact_digest(part.path)
    except DamagedError as error:
        raise DamagedError(error.file, error.problem, catalog) from error
    except ValueError as error:
        problem = str(error).removeprefix(f"{shown(part.path)}: ").partition("; make it again")[0]
        raise DamagedError(part.path, problem, catalog) from error
    if digest != part.digest:
        raise DamagedError(part.path, "made anew since, with other contents", catalog)


def folder(shared: Path, source: str, spec: Spec, label: str, *more: str) -> Path:
    """The folder of the parts that differ in their variables alone.

    Args:
        shared: folder of all parts of a kind.
        source: name of the source.
        spec: spec of the parts, without variables.
        label: label of the period.
        more: further texts that tell parts apart.
    """
    return shared / source / f"{label}-{key(spec.canonical_json(), *more)}"
