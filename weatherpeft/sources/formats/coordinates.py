"""What the coordinates of an array are: by their names, and by the attributes of the CF conventions."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from weatherpeft.fields.variables import Variable
from weatherpeft.sources.formats.fields import PRESSURE
from weatherpeft.sources.formats.names import Match, Named, recognize
from weatherpeft.sources.formats.units import levels_hpa, unit_conversion

if TYPE_CHECKING:
    import xarray as xr

_BY_NAME = {  # the first of a role counts: the valid time comes before other times
    "valid_time": "time", "time": "time", "number": "member", "member": "member",
    "realization": "member", "pressure_level": "level", "level": "level", PRESSURE: "level",
    "plev": "level", "latitude": "latitude", "lat": "latitude", "longitude": "longitude",
    "lon": "longitude", "expver": "expver", "lev": "level", "isobaricInPa": "level", "pressure": "level",
}  # fmt: skip
_BY_STANDARD_NAME = {
    "latitude": "latitude", "longitude": "longitude", "time": "time", "air_pressure": "level",
    "realization": "member", "height": "height",
}  # fmt: skip
_BY_UNITS = {
    **dict.fromkeys(("degrees_north", "degree_north", "degrees_N", "degree_N", "degreesN"), "latitude"),
    **dict.fromkeys(("degrees_east", "degree_east", "degrees_E", "degree_E", "degreesE"), "longitude"),
}
_BY_AXIS = {"X": "longitude", "Y": "latitude", "T": "time"}
_WITHOUT_VALUES = ("member", "expver")
"""Roles of dimensions that need no coordinate."""


def roles(array: "xr.DataArray") -> dict[str, str]:
    """The coordinates of an array by role: time, level, latitude, longitude, member, expver and height.

    Names come before attributes. Among attributes the standard name comes before units and axis, and a
    dimension before other coordinates.
    """
    found: dict[str, str] = {}
    for name, role in _BY_NAME.items():
        if name in array.coords or name in array.dims and role in _WITHOUT_VALUES:
            found.setdefault(role, name)
    for name in sorted(map(str, array.coords), key=lambda name: name not in array.dims):
        if name not in _BY_NAME and (by_attributes := _role(array[name], name in array.dims)):
            found.setdefault(by_attributes, name)
    return found


def _role(coordinate: "xr.DataArray", dimension: bool) -> str | None:
    """The role of a coordinate by its attributes."""
    standard = str(coordinate.attrs.get("standard_name", ""))
    units, axis = str(coordinate.attrs.get("units", "")), str(coordinate.attrs.get("axis", ""))
    if standard in _BY_STANDARD_NAME:
        return _BY_STANDARD_NAME[standard]
    if units in _BY_UNITS:
        return _BY_UNITS[units]
    if standard and not (standard == "pressure" or dimension and coordinate.dtype.kind == "M"):
        return None  # another quantity, such as the latitude of a rotated grid or the start of a forecast
    if axis in ("X", "Y") and units in ("degrees", "degree") or axis == "T":
        return _BY_AXIS[axis]
    if units == "m" and str(coordinate.name).lower().startswith("height"):
        return "height"
    vertical = dimension or axis == "Z" or "positive" in coordinate.attrs
    return "level" if units and vertical and _is_pressure(units) else None


def _is_pressure(units: str) -> bool:
    try:
        unit_conversion(units, "hPa")
    except ValueError:
        return False
    return True


def levels(coordinate: "xr.DataArray") -> list[int | float]:
    """Pressure levels in hPa; whole numbers are integers, as in requests.

    Raises:
        ValueError: see ``units.levels_hpa``. The message names the coordinate.
    """
    units = coordinate.attrs.get("units")
    try:
        return levels_hpa(
            np.atleast_1d(coordinate.values).astype(np.float64), None if units is None else str(units)
        )
    except ValueError as error:
        raise ValueError(f"{coordinate.name}: {error}") from error


def named(array: "xr.DataArray", found: Mapping[str, str]) -> Named:
    """What an array says about itself.

    Args:
        array: array of an opened file or store.
        found: its ``roles``.
    """
    height = array[found["height"]] if "height" in found else None
    param_id = array.attrs.get("GRIB_paramId")
    return Named(
        name=str(array.name),
        standard_name=str(array.attrs.get("standard_name", "")),
        param_id=None if param_id is None else int(param_id),
        on_levels="level" in found,
        height_m=float(height.values.reshape(-1)[0]) if height is not None and height.size == 1 else None,
        cell_methods=str(array.attrs.get("cell_methods", "")),
    )


def choose(
    dataset: "xr.Dataset", found: Mapping[str, dict[str, str]], row: Variable, rename: Mapping[str, str]
) -> dict[str, Match]:
    """The arrays of a dataset that are a variable of the table, by name; a sure name comes before others.

    Args:
        dataset: opened file or store.
        found: the ``roles`` of each array.
        row: table row of the variable.
        rename: our names of variables, by names in the file.

    Raises:
        ValueError: two arrays have the same claim to be the variable. The message names both.
    """
    matches = {}
    for name, its in found.items():
        if match := recognize(named(dataset[name], its), row, rename):
            matches[name] = match
    first = [name for name, match in matches.items() if match.sure] or list(matches)
    if len(first) > 1:
        raise ValueError(
            f"could be either of {first[0]} and {first[1]}; say which one in the source, such as "
            f"rename: {{{first[0]}: {row.name}}}"
        )
    return {name: matches[name] for name in first}


def contents(dataset: "xr.Dataset") -> list[str]:
    """The variables of a dataset for messages, with what tells what they are, such as ``ta (K)``."""
    held = []
    for name, array in dataset.data_vars.items():
        if array.ndim > 1:
            known = [array.attrs[key] for key in ("standard_name", "units") if array.attrs.get(key)]
            held.append(f"{name} ({', '.join(map(str, known))})" if known else str(name))
    return held


def at_one_height(array: "xr.DataArray", found: Mapping[str, str]) -> "xr.DataArray":
    """The array without a dimension of height that has one value, such as 2 m."""
    name = found.get("height")
    return array.isel({name: 0}) if name in array.dims and array.sizes[name] == 1 else array


def is_coordinate(name: str, dimensions: tuple[str, ...]) -> bool:
    """Whether a variable of a file is a coordinate, by its name and its dimensions."""
    return name in _BY_NAME or dimensions == (name,)
