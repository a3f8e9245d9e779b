"""Definitions of the variables in some files that the table of variables lacks."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from weatherpeft.fields.definition import Definition
from weatherpeft.fields.variables import VariableSet
from weatherpeft.sources.formats.coordinates import choose, roles
from weatherpeft.sources.formats.fields import PRESSURE, FileKind, variable_rows
from weatherpeft.sources.formats.files import sniff
from weatherpeft.sources.formats.grib import grib_fields, grib_parameters
from weatherpeft.sources.formats.netcdf import netcdf_fields, open_netcdf


def defined(files: Sequence[Path], known: VariableSet) -> tuple[dict[str, Definition], list[str]]:
    """Define what files hold beside some variables, as far as their headers tell what it is.

    Of each variable the first field is read: one with missing values cannot be defined.

    Args:
        files: GRIB and NetCDF files.
        known: variables that they may hold and that are not looked for.

    Returns:
        Definitions by name, and lines about what cannot be defined, and why.
    """
    found: dict[str, Definition] = {}
    left_out: list[str] = []
    for path in files:
        kind = sniff(path)
        for theirs, values in _described(path, kind, known):
            name = re.sub(r"\W+", "_", theirs, flags=re.ASCII).strip("_").lower()
            if name in found or not name:
                continue
            try:
                own = Definition(**values, aliases=() if name == theirs else (theirs,))
                _check_first(path, kind, name, own)
                together(known, {**found, name: own})
                found[name] = own
            except ValidationError as error:
                left_out.append(f"{theirs}: {error.errors()[0]['msg'].removeprefix('Value error, ')}")
            except ValueError as error:
                left_out.append(f"{theirs}: {str(error).removeprefix(f'{path}: ').removeprefix(f'{name}: ')}")
    return found, left_out


def together(known: VariableSet, own: Mapping[str, Definition]) -> VariableSet:
    """The variables of a set and some others, at any levels.

    Raises:
        pydantic.ValidationError: files could not tell two of them apart.
    """
    names = {
        kind: (*getattr(known, kind), *(name for name, each in own.items() if each.kind == kind))
        for kind in ("surface", "accumulated", "atmospheric", "static")
    }
    levels = (known.levels_hpa or (500,)) if names["atmospheric"] else ()
    return VariableSet(define={**known.define, **own}, levels_hpa=levels, **names)


def _check_first(path: Path, kind: FileKind, name: str, own: Definition) -> None:
    """Read the first field of a variable."""
    alone = together(VariableSet(), {name: own})
    fields = grib_fields(path, alone, 0, {}) if kind == "GRIB" else netcdf_fields(path, kind, alone, {})
    for _, field in fields:
        if not np.isfinite(field.read()).all():
            raise ValueError("has missing values")
        return
    raise ValueError("is at no single level and on no pressure levels")


def _described(path: Path, kind: FileKind, known: VariableSet) -> Iterator[tuple[str, dict[str, Any]]]:
    """Names in a file, each with what its header says of a definition."""
    if kind == "GRIB":
        yield from _grib(path, known)
    elif kind in ("NetCDF3", "NetCDF4"):
        yield from _netcdf(path, kind, known)


def _grib(path: Path, known: VariableSet) -> Iterator[tuple[str, dict[str, Any]]]:
    """Short name and definition of the parameters of a GRIB file; none where ecCodes does not know them."""
    for message, name, units in grib_parameters(path, known):
        if "unknown" not in (name, units):
            kind = "atmospheric" if message.type_of_level == PRESSURE else "surface"
            yield name, {"kind": kind, "units": _plain(units), "param_id": message.param_id}


def _netcdf(path: Path, kind: FileKind, known: VariableSet) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and definition of the arrays of a NetCDF file."""
    with open_netcdf(path, kind) as dataset:
        held = {str(name): roles(array) for name, array in dataset.data_vars.items()}
        taken = {name for row in variable_rows(known) for name in choose(dataset, held, row, {})}
        for name, its in held.items():
            array = dataset[name]
            if name in taken or array.dtype.kind not in "fiu" or not {"latitude", "longitude"} <= {*its}:
                continue
            place = "static" if "time" not in its else "atmospheric" if "level" in its else "surface"
            units, long_name = (str(array.attrs.get(key, "")) for key in ("units", "long_name"))
            yield name, {"kind": place, "units": _plain(units), "long_name": long_name}


def _plain(units: str) -> str:
    """Units as UDUNITS reads them; ECMWF writes a share as ``(0 - 1)`` and no unit as ``~``."""
    return "1" if units in ("(0 - 1)", "~", "dimensionless") else units
