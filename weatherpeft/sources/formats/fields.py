"""Fields of raw files, for all readers: their keys, places and layouts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from weatherpeft.fields.grid import SNAP_TOLERANCE_DEG, Axis, longitude_cells, snap_latitude
from weatherpeft.fields.variables import Variable, VariableSet

FileKind = Literal["GRIB", "NetCDF3", "NetCDF4", "ZIP archive", "HTML page", "empty", "unknown"]
"""Kind of a file, by its content."""
PRESSURE = "isobaricInhPa"
"""The type of level that ecCodes gives pressure levels in hPa."""

POINTS = 2**26
"""Most points of a field, some 0.03° on the globe: a header that claims more is not believed."""
COORDINATES = 2**22
"""Most values of a coordinate, and most fields of a variable in a file."""
CHUNK_BYTES = 2**31
"""Most bytes of a chunk, which is read as a whole."""
_LISTED = 20
"""Most names in a message."""


class Key(NamedTuple):
    """Identity of a field; ``level``, ``time`` (to the minute) and ``member`` are None where it has none."""

    variable: str
    level: int | None = None
    time: np.datetime64 | None = None
    member: int | None = None

    def __str__(self) -> str:
        level = "" if self.level is None else f" at {self.level} hPa"
        time = "" if self.time is None else f", {self.time} UTC"
        return f"{self.variable}{level}{time}" + ("" if self.member is None else f", member {self.member}")


@dataclass(frozen=True, slots=True)
class Layout:
    """The canonical axes of a file, their positions in it, and the order of its values.

    Attributes:
        latitude: canonical row centers in degrees, ``(latitude,)``.
        longitude: canonical column centers in degrees, ``(longitude,)``.
        rows: position of each canonical row among those of the file.
        columns: position of each canonical column among those of the file.
        by_column: whether columns, not rows, stand one after another.
        alternating: whether every second line goes backward.
    """

    latitude: Axis
    longitude: Axis
    rows: NDArray[np.intp] | slice
    columns: NDArray[np.intp] | slice
    by_column: bool = False
    alternating: bool = False

    def arrange(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Bring a field ``(latitude, longitude)`` from the order of the file to the canonical order."""
        if self.by_column:
            values = values.reshape(self.longitude.size, self.latitude.size)
        if self.alternating:
            values = values.copy()
            values[1::2] = values[1::2, ::-1].copy()
        if self.by_column:
            values = values.T
        return np.ascontiguousarray(values[self.rows][:, self.columns], dtype=np.float32)

    def matches(self, other: "Layout") -> bool:
        """Whether the canonical axes agree to within millidegree rounding."""
        return all(
            mine.shape == its.shape and bool(np.abs(mine - its).max() <= SNAP_TOLERANCE_DEG)
            for mine, its in ((self.latitude, other.latitude), (self.longitude, other.longitude))
        )

    def __str__(self) -> str:
        axes = (f"{axis[0]:g} … {axis[-1]:g}" for axis in (self.latitude, self.longitude))
        return f"{self.latitude.size}×{self.longitude.size} ({', '.join(axes)})"


@dataclass(frozen=True, slots=True)
class RawField:
    """Place of a field; ``read()`` gives its canonical values in float32, ``(latitude, longitude)``.

    ``name`` is that in the file. ``sure`` says that no other quantity has it (see ``names.Match``).
    """

    file: Path
    expver: str
    member: int | None
    layout: Layout
    read: Callable[[], NDArray[np.float32]]
    name: str = ""
    sure: bool = True


def check_points(rows: int, columns: int) -> None:
    """Refuse a field before memory is taken for it.

    Raises:
        ValueError: a field has no row or column, or more than ``POINTS`` points.
    """
    if rows < 1 or columns < 1 or rows * columns > POINTS:
        raise ValueError(f"expected a field of 1 to {POINTS} points, found {rows} x {columns}")


def canonical_layout(latitude: Axis, longitude: Axis) -> Layout:
    """The layout that brings a file's rows and columns to north first and eastward in [0, 360).

    Args:
        latitude: row centers in degrees, north or south first, shape ``(latitude,)``.
        longitude: column centers in degrees, in any order, shape ``(longitude,)``.

    Raises:
        ValueError: an axis is not finite, longitudes are not regular, latitudes neither regular nor Gaussian,
            or a meridian is there twice.
    """
    latitude = snap_latitude(latitude)
    rows = np.argsort(-latitude)
    west, width = longitude_cells(longitude)
    longitude = np.round(west + width / 2, 9) % 360
    columns = np.argsort(longitude)
    return Layout(latitude[rows], longitude[columns], _index(rows), _index(columns))


def _index(order: NDArray[np.intp]) -> NDArray[np.intp] | slice:
    """A slice, which copies nothing, where the order is that of the file."""
    return slice(None) if bool((np.diff(order) == 1).all()) else order


def variable_rows(variables: VariableSet) -> list[Variable]:
    """The table rows of all variables in a set: surface, atmospheric, accumulated, static."""
    return [variables.row(name) for name in variables.names]


def listed(names: Sequence[str]) -> str:
    """Names for a message of one line, the first ``_LISTED`` of them.

    >>> listed(["t", "u"])
    't, u'
    """
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def to_minutes(times: NDArray[Any]) -> NDArray[np.datetime64]:
    """Times to the nearest minute, in their shape: those that a file gives in parts of days are not exact."""
    return (times + np.timedelta64(30, "s")).astype("datetime64[m]")


def in_words(times: NDArray[np.datetime64]) -> str:
    """Times for a message of one line: the first and the last, and how far apart they are if all are so.

    Args:
        times: increasing times, to the minute, ``(time,)``.

    >>> in_words(np.array(["2020-01-01T00:00", "2020-01-01T06:00", "2020-01-01T12:00"], "datetime64[m]"))
    '3 times from 2020-01-01T00:00 to 2020-01-01T12:00, every 6 h'
    """
    if times.size < 2:
        return f"one time, {times[0]}" if times.size else "no time"
    steps = np.unique(np.diff(times).astype(int))
    every = f", every {steps[0] / 60:g} h" if steps.size == 1 else ""
    return f"{times.size} times from {times[0]} to {times[-1]}{every}"


def not_hourly(row: Variable, times: NDArray[Any]) -> str:
    """The end of an error message that explains why sums over more than an hour are refused.

    Args:
        row: table row of the variable.
        times: increasing times that were found, ``(time,)``.

    Returns:
        The explanation; empty where the variable is not accumulated or its times are hourly.
    """
    if row.kind != "accumulated" or times.size < 2 or np.diff(times).min() <= np.timedelta64(1, "h"):
        return ""
    hours = np.diff(times).min() // np.timedelta64(1, "h")
    return f", every {hours} h; each is the sum over 1 hour, so no sums over {hours} h can be made of them"
