"""The headers of NetCDF files, with the time axes apart: files of a series differ in these alone."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from weatherpeft.sources.formats.fields import FileKind, to_minutes
from weatherpeft.sources.formats.netcdf import check_classic, check_sizes

if TYPE_CHECKING:
    import netCDF4
    import xarray as xr

_MOST_VALUES = 2**16
"""Most values of a coordinate that are kept."""
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
_SINCE = re.compile(
    r"(second|minute|hour|day)s? since ((?:1[6-9]|2\d)\d\d-\d\d-\d\d(?:[ T]\d\d:\d\d(?::\d\d)?)?)(?:\.0+)?"
)
"""Units of a time axis whose start has one meaning in all standard calendars."""
_STANDARD = ("standard", "gregorian", "proleptic_gregorian")
_OF_TIMES = ("units", "calendar", "dtype", "_FillValue", "missing_value")
"""Attributes of a time axis that its decoded times do without."""
_PACKED = ("scale_factor", "add_offset", "_Unsigned")


class Header(NamedTuple):
    """What a file holds, and when.

    Attributes:
        structure: dimensions, variables, attributes and coordinates, but for the time axes, as JSON has them.
        times: values of each time axis (UTC, to the minute), ``(time,)`` each, in the order of the file.
    """

    structure: dict[str, Any]
    times: list[NDArray[np.datetime64]]


def header(path: Path, kind: FileKind) -> Header | None:
    """Read the header of a NetCDF file, without any field.

    Args:
        path: NetCDF file.
        kind: ``NetCDF3`` or ``NetCDF4``.

    Returns:
        The header; None where the file is damaged or of an unusual kind, so that it takes a closer look.
    """
    import netCDF4

    try:
        if kind == "NetCDF3":
            check_classic(path)
        with netCDF4.Dataset(path) as opened:
            check_sizes(opened)
            opened.set_auto_maskandscale(False)
            opened.set_auto_chartostring(False)
            return _header(opened, kind)
    except (OSError, ValueError, RuntimeError, AttributeError, TypeError):
        return None


def _header(opened: "netCDF4.Dataset", kind: FileKind) -> Header:
    """See ``header``.

    Raises:
        ValueError: a coordinate is too long, or a variable is of a compound type.
    """
    times: dict[str, NDArray[np.datetime64]] = {}
    for name, array in opened.variables.items():
        if array.ndim < 2 and (found := _decoded(array)) is not None:
            times[name] = found
    along = {dimension for name in times for dimension in opened.variables[name].dimensions}
    general = {"coordinates": opened.getncattr("coordinates")} if "coordinates" in opened.ncattrs() else {}
    named = _named_coordinates(opened)
    variables = {}
    for name, array in opened.variables.items():
        attributes = {key: array.getncattr(key) for key in array.ncattrs()}
        if name in times:
            attributes = {key: value for key, value in attributes.items() if key not in _OF_TIMES}
        text = array.dtype is str
        if not text and array.dtype.kind not in "biufS":
            raise ValueError(f"expected numbers or texts, found {name} of {array.dtype}")
        values = None
        is_coordinate = array.dimensions == (name,) or name in named or _since(array)
        moves = name in times or not along.isdisjoint(array.dimensions)
        if is_coordinate and not moves and (array.ndim < 2 or array.size < 2 or text or array.dtype == "S1"):
            if array.size > _MOST_VALUES:
                raise ValueError(f"expected up to {_MOST_VALUES} values of {name}, found {array.size}")
            values = _plain(np.asarray(array[...]))
        variables[name] = [
            array.dimensions,
            "O" if text else array.dtype.str,
            {key: _plain(value) for key, value in attributes.items()},
            values,
            list(times).index(name) if name in times else None,
        ]
    sizes = {
        name: min(len(size), 1) if name in along else len(size) for name, size in opened.dimensions.items()
    }
    structure = {"kind": kind, "attributes": general, "sizes": sizes, "variables": variables}
    return Header(structure, list(times.values()))


def _named_coordinates(opened: "netCDF4.Dataset") -> set[str]:
    """The variables that an attribute ``coordinates`` names."""
    holders: tuple[Any, ...] = (opened, *opened.variables.values())
    texts = (str(each.getncattr("coordinates")) for each in holders if "coordinates" in each.ncattrs())
    return {name for text in texts for name in text.split()}


def _plain(value: Any) -> Any:
    """A value of an attribute or an array as JSON has it: texts as they are, numbers with their type."""
    if isinstance(value, str | list):
        return value
    array = np.asarray(value)
    if array.dtype.kind == "S":
        return {"type": array.dtype.str, "values": np.char.decode(array, "latin-1").tolist()}
    return {"type": "O" if array.dtype.kind in "OU" else array.dtype.str, "values": array.tolist()}


def _restored(value: Any) -> Any:
    """What ``_plain`` was given."""
    if not isinstance(value, dict):
        return value
    kind, values = np.dtype(value["type"]), value["values"]
    array = np.char.encode(np.asarray(values, "U"), "latin-1") if kind.kind == "S" else np.asarray(values)
    return array.astype(kind)[()]


def _since(array: "netCDF4.Variable") -> bool:
    return array.ndim < 2 and " since " in str(getattr(array, "units", ""))


def _decoded(array: "netCDF4.Variable") -> NDArray[np.datetime64] | None:
    """The times of an axis, as xarray decodes them; those of whole numbers in a fifth of the time.

    None where it is no time axis of a standard calendar, or has missing or packed values.
    """
    if not _since(array) or array.dtype is str or array.dtype.kind not in "iuf":
        return None
    attributes = array.ncattrs()
    values = np.atleast_1d(np.asarray(array[...]))
    missing = [array.getncattr(key) for key in ("_FillValue", "missing_value") if key in attributes]
    if any(key in attributes for key in _PACKED) or np.isin(values, missing).any():
        return None
    calendar = getattr(array, "calendar", "standard")
    match = _SINCE.fullmatch(array.units)
    if match and values.dtype.kind == "i" and calendar in _STANDARD:
        seconds = values.astype("timedelta64[s]") * _SECONDS[match[1]]
        return to_minutes(np.datetime64(match[2], "s") + seconds)
    from xarray.coding.times import decode_cf_datetime

    try:
        times = decode_cf_datetime(values, array.units, calendar)
    except (ValueError, OverflowError):
        return None
    return to_minutes(times) if times.dtype.kind == "M" and not np.isnat(times).any() else None


def empty_dataset(structure: dict[str, Any], starts: Sequence[np.datetime64]) -> "xr.Dataset":
    """The dataset that a file with some header is, with one time on each time axis, and zeros for values.

    Args:
        structure: that of a ``Header``.
        starts: time that stands on each time axis.

    Raises:
        ValueError: xarray cannot decode the file.
    """
    import xarray as xr

    sizes, variables = structure["sizes"], {}
    for name, (dimensions, kind, attributes, values, axis) in structure["variables"].items():
        shape = [sizes[dimension] for dimension in dimensions]
        if axis is not None:
            data = np.full(shape, starts[axis], "datetime64[s]")
        elif values is not None:
            data = np.asarray(_restored(values), kind).reshape(shape)
        else:
            data = np.broadcast_to(np.array("" if kind == "O" else 0, kind), shape)
        attributes = {key: _restored(value) for key, value in attributes.items()}
        variables[name] = xr.Variable(dimensions, data, attributes)
    try:
        undecoded = xr.Dataset(variables, attrs=structure["attributes"])
        return xr.decode_cf(undecoded, decode_timedelta=False)
    except (ValueError, RuntimeError, OverflowError) as error:  # xarray's messages have several lines
        raise ValueError(f"cannot decode {structure['kind']} ({' '.join(str(error).split())})") from error
