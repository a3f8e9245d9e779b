"""The headers of NetCDF files, with the time axes apart: files of a series differ in these alone."""

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from weatherpeft.sources.formats.fields import COORDINATES, FileKind, to_minutes
from weatherpeft.sources.formats.netcdf import check_classic

if TYPE_CHECKING:
    import netCDF4

_NOT_COMPARED = ("history", "date_created", "creation_date", "uuid", "tracking_id", "_NCProperties")
"""Attributes of a file that say when it was written."""

_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
_SINCE = re.compile(
    r"(second|minute|hour|day)s? since ((?:1[6-9]|2\d)\d\d-\d\d-\d\d(?:[ T]\d\d:\d\d(?::\d\d)?)?)(?:\.0+)?"
)
"""Units of a time axis whose start has one meaning in all standard calendars."""
_STANDARD = ("standard", "gregorian", "proleptic_gregorian")


class Header(NamedTuple):
    """The header of a file: what files with the same one hold, and when.

    Attributes:
        digest: of all but the time axes; files with the same one hold the same fields at other times.
        times: values of each time axis (UTC, to the minute), ``(time,)`` each, in the order of the file.
    """

    digest: str
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
            opened.set_auto_maskandscale(False)
            return _header(opened)
    except (OSError, ValueError, RuntimeError, AttributeError):
        return None


def _header(opened: "netCDF4.Dataset") -> Header:
    """See ``header``.

    Raises:
        ValueError: a coordinate is too long, or its times are of another calendar.
    """
    times, moving = [], {name for name, array in opened.variables.items() if _is_time(array)}
    along = {name for time in moving for name in opened.variables[time].dimensions}
    parts: list[Any] = [
        {name: len(size) for name, size in opened.dimensions.items() if name not in along},
        {name: value for name, value in vars(opened).items() if name not in _NOT_COMPARED},
    ]
    for name, array in opened.variables.items():
        attributes = dict(vars(array))
        if array.ndim < 2 and array.size > COORDINATES:
            raise ValueError(f"expected up to {COORDINATES} values of {name}, found {array.size}")
        if name in moving:
            del attributes["units"]
            times.append(_decoded(array))
        elif array.ndim < 2:
            parts.append(np.asarray(array[...]).tolist())
        parts += [name, array.dimensions, array.dtype, attributes]
    return Header(hashlib.sha256(repr(parts).encode()).hexdigest(), times)


def _is_time(array: "netCDF4.Variable") -> bool:
    return array.ndim < 2 and " since " in str(getattr(array, "units", ""))


def _decoded(array: "netCDF4.Variable") -> NDArray[np.datetime64]:
    """The times of an axis, as xarray decodes them; those of whole numbers in a fifth of the time."""
    values = np.atleast_1d(np.asarray(array[...]))
    calendar = getattr(array, "calendar", "standard")
    match = _SINCE.fullmatch(array.units)
    if match and values.dtype.kind == "i" and calendar in _STANDARD:
        seconds = values.astype("timedelta64[s]") * _SECONDS[match[1]]
        return to_minutes(np.datetime64(match[2], "s") + seconds)
    from xarray.coding.times import decode_cf_datetime

    times = decode_cf_datetime(values, array.units, calendar)
    if times.dtype.kind != "M":
        raise ValueError(f"expected times of the standard calendar, found {times[0]!r}")
    return to_minutes(times)
