"""Stores of reanalysis: the fields of a request, and the canonical dataset of them.

A store holds arrays ``(time, [level,] latitude, longitude)``, with dimensions in any order, and static
fields ``(latitude, longitude)``. Levels are in hPa. Units are SI units unless the store states others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from weatherpeft.fields.grid import SNAP_TOLERANCE_DEG
from weatherpeft.fields.variables import Variable
from weatherpeft.interfaces import DataRequest
from weatherpeft.sources.formats.fields import (
    Key,
    Layout,
    canonical_layout,
    check_points,
    in_words,
    listed,
    not_hourly,
    to_minutes,
    variable_rows,
)
from weatherpeft.sources.formats.files import HOURLY_TIME
from weatherpeft.sources.formats.missing_times import how_to_declare
from weatherpeft.sources.formats.stores import cause
from weatherpeft.sources.formats.units import unit_conversion

if TYPE_CHECKING:
    import xarray as xr

_EDGE_DEG = 1e-4
"""How far outside of an area a center may lie, because axes are rounded."""
GRID = ("latitude", "longitude")
"""Horizontal dimensions of a field."""


@dataclass(frozen=True)
class Selected:
    """The part of a store's array that a request needs.

    Attributes:
        row: table row of the variable.
        array: lazy array with all times, the request's levels and area, and dimensions in the store's order.
        time: name of the time dimension, None for a static field.
        wanted: increasing positions along the time dimension, ``(time,)``; one zero for a static field.
        places: positions in the store of what ``array`` has along each other dimension.
    """

    row: Variable
    array: "xr.DataArray"
    time: str | None
    wanted: NDArray[np.intp]
    places: Mapping[str, NDArray[np.intp]]

    def at(self, number: int | NDArray[np.intp]) -> "xr.DataArray":
        """The fields at one or some of the wanted times, lazy."""
        return self.array if self.time is None else self.array.isel({self.time: self.wanted[number]})

    def key(self, number: int, level: int | None = None) -> Key:
        """The key of a field, for messages."""
        if self.time is None:
            return Key(self.row.name, level)
        moment = self.array[self.time].values[self.wanted[[number]]]
        return Key(self.row.name, level, to_minutes(moment)[0])


def select(
    arrays: "Mapping[Any, xr.DataArray]", label: str, request: DataRequest, names: Mapping[str, str]
) -> list[Selected]:
    """Find the requested fields, without reading values.

    Args:
        arrays: lazy arrays of the store, by name.
        label: URL or path of the store, for messages.
        request: fields to find.
        names: the store's names of variables, by the WeatherBench 2 names from which they differ.

    Raises:
        ValueError: a variable is missing, or see ``select_fields``. The message names store and cause.
    """
    found = []
    for row in variable_rows(request.variables):
        name = names.get(row.name, row.name)
        if name not in arrays:
            longer = [str(other) for other in arrays if str(other).startswith(f"{name}_")]
            sums = longer and row.kind == "accumulated"
            why = f"; found sums over more than an hour, {', '.join(longer)}" if sums else ""
            held = listed(list(map(str, arrays)))
            raise ValueError(f"{label}: {row.name} is missing (no array {name}){why}; the store holds {held}")
        found.append(select_fields(arrays[name], label, request, row))
    if not found:
        raise ValueError("the request names no variable")
    return found


def select_fields(
    array: "xr.DataArray",
    label: str,
    request: DataRequest,
    row: Variable,
    area: tuple[float, float, float, float] | None = None,
) -> Selected:
    """The requested levels and times of a variable, without reading values.

    Args:
        array: lazy array of the variable.
        label: URL or path of the store, for messages.
        request: levels and times to find.
        row: table row of the variable.
        area: north, west, south and east border in degrees of the part to take; None takes all of it.

    Raises:
        ValueError: a level or time is missing, sums are not hourly, the area holds no point, or the array has
            another layout. The message names the store and the cause.
    """
    time = time_name(array)
    _check_layout(array, time, label, row)
    places = {str(axis): np.arange(array.sizes[axis]) for axis in array.dims if axis != time}
    if row.kind == "atmospheric":
        places["level"] = _levels(array, request.variables.levels_hpa, label, row)
    if area is not None:
        places |= _inside(array, area, label)
    array = array.isel({axis: _as_slice(found) for axis, found in places.items()})
    if time is None:
        return Selected(row, array, None, np.zeros(1, np.intp), places)
    wanted = request.hourly_times() if row.kind == "accumulated" else request.times()
    return Selected(row, array, time, _positions(array[time].values, wanted, label, row), places)


def check_one_grid(selected: Sequence[Selected], label: str) -> None:
    """Refuse arrays whose rows or columns are not the same in the same order, since a copy has one of each.

    Raises:
        ValueError: an array is on another grid than the first. The message names both.
    """
    first = selected[0]
    for each in selected[1:]:
        for axis in GRID:
            mine, its = (one.array[axis].values for one in (first, each))
            if mine.shape != its.shape or np.abs(mine - its).max() > SNAP_TOLERANCE_DEG:
                raise ValueError(
                    f"{label}: {each.row.name}: expected the {axis}s of {first.row.name}, {mine.size} from "
                    f"{mine[0]:g} to {mine[-1]:g}, found {its.size} from {its[0]:g} to {its[-1]:g}"
                )


def _levels(array: "xr.DataArray", wanted: Sequence[int], label: str, row: Variable) -> NDArray[np.intp]:
    """Positions of the wanted levels."""
    levels = array["level"].values.tolist()
    for level in wanted:
        if level not in levels:
            found = ", ".join(f"{one:g}" for one in levels)
            raise ValueError(f"{label}: {Key(row.name, level)} is missing; found {found} hPa")
    return np.array([levels.index(level) for level in wanted])


def _inside(
    array: "xr.DataArray", area: tuple[float, float, float, float], label: str
) -> dict[str, NDArray[np.intp]]:
    """Positions of the rows and columns whose centers lie in an area or on its borders."""
    north, west, south, east = area
    latitude, longitude = (array[axis].values.astype(np.float64) for axis in GRID)
    rows = (latitude <= north + _EDGE_DEG) & (latitude >= south - _EDGE_DEG)
    eastward = (longitude - west + _EDGE_DEG) % 360
    columns = eastward <= east - west + 2 * _EDGE_DEG
    if not (rows.any() and columns.any()):
        raise ValueError(
            f"{label}: no point lies in the area {list(area)}; found latitudes from {latitude.min():g} to "
            f"{latitude.max():g} and longitudes from {longitude.min():g} to {longitude.max():g}"
        )
    return {"latitude": np.flatnonzero(rows), "longitude": np.flatnonzero(columns)}


def _as_slice(places: NDArray[np.intp]) -> NDArray[np.intp] | slice:
    """A slice where the positions follow one another."""
    whole = (np.diff(places) == 1).all()
    return slice(int(places[0]), int(places[-1]) + 1) if whole else places


def time_name(array: "xr.DataArray") -> str | None:
    """Name of an array's time dimension, None for a static field."""
    return next((name for name in ("time", HOURLY_TIME) if name in array.dims), None)


def _check_layout(array: "xr.DataArray", time: str | None, label: str, row: Variable) -> None:
    expected = {*GRID}
    expected |= {"level"} if row.kind == "atmospheric" else set()
    expected |= {time or "time"} if row.kind != "static" else set()
    named = [str(name) if name in array.coords else f"{name} without a coordinate" for name in array.dims]
    if set(named) != expected:
        raise ValueError(
            f"{label}: {row.name}: expected the dimensions {', '.join(sorted(expected))}, "
            f"found {', '.join(named)}; the store has another layout"
        )
    packed = [name for name in ("scale_factor", "add_offset") if name in array.attrs]
    try:
        if packed:
            raise ValueError(f"expected plain values, found packed ones ({', '.join(packed)})")
        check_points(array.sizes["latitude"], array.sizes["longitude"])
        canonical_layout(array["latitude"].values, array["longitude"].values)
        _conversion(array, row)
    except ValueError as error:
        raise ValueError(f"{label}: {row.name}: {error}") from error


def _conversion(array: "xr.DataArray", row: Variable) -> tuple[float, float]:
    return unit_conversion(str(array.attrs.get("units", row.units)), row.units)


def _positions(
    times: NDArray[Any], wanted: NDArray[np.datetime64], label: str, row: Variable
) -> NDArray[np.intp]:
    """Positions of the wanted times on a time axis."""
    if times.dtype.kind != "M" or not (np.diff(times) > np.timedelta64(0)).all():
        raise ValueError(f"{label}: {row.name}: expected increasing times of the standard calendar")
    times = to_minutes(times)
    positions = np.searchsorted(times, wanted)
    held = times[np.minimum(positions, times.size - 1)] == wanted
    if not held.all():
        first = Key(row.name, time=wanted[~held][0])
        advice = not_hourly(row, times) or how_to_declare(wanted, times, row.kind == "accumulated")
        raise ValueError(f"{label}: {first} is missing; found {in_words(times)}{advice}")
    return positions


class _Frames:
    """A variable as an array ``(time, [level,] latitude, longitude)`` that reads the indexed part."""

    dtype = np.dtype(np.float32)

    def __init__(self, each: Selected, layout: Layout, label: str) -> None:
        sizes = [each.array.sizes["level"]] if "level" in each.array.dims else []
        times = [] if each.time is None else [each.wanted.size]
        self.shape = (*times, *sizes, layout.latitude.size, layout.longitude.size)
        self.ndim = len(self.shape)
        self._each, self._layout, self._label = each, layout, label

    def __getitem__(self, index: tuple[slice, ...]) -> NDArray[np.float32]:
        if self._each.time is None:
            return self._read(0)[index]
        numbers = range(self.shape[0])[index[0]]
        result: NDArray[np.float32] = np.stack([self._read(number)[index[1:]] for number in numbers])
        return result

    def _read(self, number: int) -> NDArray[np.float32]:
        """All fields at one time."""
        each = self._each
        try:
            values = each.at(number).transpose(..., *GRID).values
        except Exception as error:  # depends on the codec
            what = f"{each.key(number)}: cannot read the values ({cause(error)})"
            raise ValueError(f"{self._label}: {what}") from error
        factor, offset = _conversion(each.array, each.row)
        if (factor, offset) != (1.0, 0.0):
            values = values * factor + offset
        fields = [self._layout.arrange(field) for field in values.reshape(-1, *values.shape[-2:])]
        return np.stack(fields).reshape(self.shape[-values.ndim :])


def canonical(selected: Sequence[Selected], label: str) -> "xr.Dataset":
    """The canonical dataset of ``interfaces.Source.decode``, lazy, with one dask chunk per time.

    Args:
        selected: arrays that the dataset holds.
        label: path of the store, for messages.
    """
    import dask.array
    import xarray as xr

    first = selected[0].array
    layout = canonical_layout(first["latitude"].values, first["longitude"].values)
    coordinates: dict[str, Any] = {"latitude": layout.latitude, "longitude": layout.longitude}
    arrays = {}
    for each in selected:
        frames = _Frames(each, layout, label)
        axes = []
        if each.time is not None:
            axes.append(HOURLY_TIME if each.row.kind == "accumulated" else "time")
            moments = to_minutes(each.array[each.time].values[each.wanted])
            coordinates[axes[-1]] = moments.astype("datetime64[ns]")
        if "level" in each.array.dims:
            axes.append("level")
            coordinates["level"] = each.array["level"].values.astype(np.int64)
        chunks = tuple(1 if name.endswith("time") else -1 for name in axes) + (-1, -1)
        data = dask.array.from_array(frames, chunks=chunks, name=False, asarray=False, fancy=False)
        row = each.row
        attributes = {"units": row.units, "long_name": row.long_name, "short_name": row.short_name}
        arrays[row.name] = ((*axes, *GRID), data, attributes)
    return xr.Dataset(arrays, coordinates)
