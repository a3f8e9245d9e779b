"""The Zarr layout of anemoi-datasets: one array ``data`` of all variables, on a flattened grid.

``data`` has the dimensions (dates, variables, ensemble, grid). Beside it lie ``dates``, ``latitudes`` and
``longitudes``. The attribute ``variables`` names the variables: ``2t``, ``t_850``. The attribute
``variables_metadata`` may give their units and the period of sums.
"""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.core import indexing

from weatherpeft.fields.variables import Variable
from weatherpeft.interfaces import DataRequest
from weatherpeft.sources.formats.fields import in_words, to_minutes, variable_rows
from weatherpeft.sources.formats.missing_times import how_to_declare
from weatherpeft.sources.formats.names import Match, Named, recognize
from weatherpeft.sources.formats.stores import cause, check_arrays, zarr_store
from weatherpeft.sources.formats.units import GRAVITY, conversion

if TYPE_CHECKING:
    import xarray as xr

_ARRAYS = ("data", "dates", "latitudes", "longitudes")
_EXACT_DEG = 1e-4
"""How far points of a row or a column may be apart, because coordinates are rounded."""


def open_anemoi(path: str, options: Mapping[str, Any]) -> Any:
    """Open a dataset as a Zarr group.

    Raises:
        ValueError: there is no Zarr store, it is refused (see ``stores.open_zarr``), or it has another
            layout. The message names it.
    """
    import zarr

    try:
        group = zarr.open_group(zarr_store(path, options), mode="r")
        missing = [name for name in _ARRAYS if name not in group]
        check_arrays({name: group[name] for name in _ARRAYS if name not in missing})
    except Exception as error:  # depends on the file system
        raise ValueError(f"{path}: cannot open a Zarr store there ({cause(error)})") from error
    if missing or "variables" not in group.attrs:
        what = f"array {missing[0]}" if missing else "attribute variables"
        raise ValueError(f"{path}: expected the layout of anemoi-datasets, found no {what}")
    return group


def anemoi_arrays(
    group: Any, label: str, request: DataRequest, rename: Mapping[str, str]
) -> "dict[str, xr.DataArray]":
    """Those of the requested variables that a dataset has, ``(time, [level,] latitude, longitude)``, lazy.

    Args:
        group: opened dataset.
        label: its path or URL, for messages.
        request: variables and times to find.
        rename: our names of variables by the dataset's, without levels (see ``names.recognize``).

    Raises:
        ValueError: the grid is not regular, there is an ensemble, a variable could be either of two, has
            units that cannot be converted or is a sum over more than an hour, or a requested time is one of
            ``missing_dates``. The message names the dataset and the cause.
    """
    import xarray as xr

    names = [str(name) for name in group.attrs["variables"]]
    try:
        latitude, longitude = _axes(group)
        if group["data"].shape[2] != 1:
            raise ValueError(f"expected a dataset of one member, found {group['data'].shape[2]}")
        found = {
            row: places for row in variable_rows(request.variables) if (places := _find(names, row, rename))
        }
        units = {
            row: _units(group, [names[place] for place in levels.values()], row, match)
            for row, (levels, match) in found.items()
        }
    except ValueError as error:
        raise ValueError(f"{label}: {error}") from error
    _check_dates(group, label, request)
    times = to_minutes(group["dates"][:]).astype("datetime64[ns]")
    frames = _Frames(
        group["data"], sorted({place for levels, _ in found.values() for place in levels.values()})
    )
    arrays = {}
    for row, (levels, _) in found.items():
        axes: dict[str, Any] = {"time": times, "latitude": latitude, "longitude": longitude}
        if row.kind == "atmospheric":
            axes = {"time": times, "level": sorted(levels), **axes}
        wanted = _Variable(
            frames, [levels[level] for level in sorted(levels)], [len(a) for a in axes.values()]
        )
        variable = xr.Variable(list(axes), indexing.LazilyIndexedArray(wanted))
        array = xr.DataArray(variable, axes, name=row.name)
        array.attrs["units"] = units[row]
        array.encoding["preferred_chunks"] = {"time": group["data"].chunks[0]}
        arrays[row.name] = array.isel(time=0, drop=True) if row.kind == "static" else array
    return arrays


def _find(
    names: Sequence[str], row: Variable, rename: Mapping[str, str]
) -> tuple[dict[int, int], Match] | None:
    """Positions of a variable in the dataset by level, 0 for a field without; None if it is not there."""
    candidates: dict[str, tuple[dict[int, int], Match]] = {}
    for place, name in enumerate(names):
        levels = re.fullmatch(r"(.+)_(\d+)", name)
        on_levels = row.kind == "atmospheric"
        plain = levels[1] if levels and on_levels else name
        match = recognize(Named(plain, on_levels=on_levels and levels is not None), row, rename)
        if match and (match.sure or match.height):  # the units of others are not known
            candidates.setdefault(plain, ({}, match))[0][int(levels[2]) if levels and on_levels else 0] = (
                place
            )
    sure = [name for name, (_, match) in candidates.items() if match.sure] or list(candidates)
    if len(sure) > 1:
        raise ValueError(
            f"{row.name}: could be either of {sure[0]} and {sure[1]}; say which one in the source, such as "
            f"rename: {{{sure[0]}: {row.name}}}"
        )
    return candidates[sure[0]] if sure else None


def _units(group: Any, names: Sequence[str], row: Variable, match: Match) -> str:
    """Units of a variable on its levels; ECMWF's where the dataset states none.

    Raises:
        ValueError: they cannot be converted or are not the same on all levels, or the values are sums over
            more than an hour.
    """
    metadata = group.attrs.get("variables_metadata", {})
    stated = set()
    for name in names:
        its = metadata.get(name, {})
        if row.kind == "accumulated" and "period" in its:
            start, end = map(_hours, its["period"])
            if end - start != 1:
                raise ValueError(
                    f"{row.name}: expected sums over 1 hour, found sums over {end - start:g} h, {name}"
                )
        stated.add(str(its.get("units") or "unknown"))
    if len(stated) > 1:
        raise ValueError(
            f"{row.name}: expected the same units on all levels, found {', '.join(sorted(stated))}"
        )
    units = stated.pop()
    if units == "unknown":
        return f"{GRAVITY!r} {row.units}" if match.height else row.units
    try:
        factor, _ = conversion(units, row, match.height)
    except ValueError as error:
        raise ValueError(f"{row.name}: {error}") from error
    return f"{factor!r} {row.units}" if match.height else units


def _hours(step: int | str) -> float:
    """A step in hours, which datasets write as a number or as ``6h``, ``1d`` or ``30m``."""
    found = re.fullmatch(r"(\d+)([dhms]?)", str(step))
    if not found:
        raise ValueError(f"expected a period of steps such as 0h and 1h, found {step}")
    return int(found[1]) * {"d": 24, "m": 1 / 60, "s": 1 / 3600}.get(found[2], 1)


def _axes(group: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Latitudes of the rows and longitudes of the columns of a grid that is stored row by row.

    Raises:
        ValueError: the points are not those of rows and columns. The message says what to do.
    """
    latitudes, longitudes = (group[name][:].astype(np.float64) for name in ("latitudes", "longitudes"))
    columns = int(np.argmax(np.append(np.abs(np.diff(latitudes)) > _EXACT_DEG, True))) + 1
    if latitudes.size % columns == 0 and columns > 1:
        rows, meridians = latitudes.reshape(-1, columns), longitudes.reshape(-1, columns)
        if np.ptp(rows, axis=1).max() <= _EXACT_DEG and np.ptp(meridians, axis=0).max() <= _EXACT_DEG:
            return rows[:, 0], meridians[0]
    resolution = group.attrs.get("resolution", "unknown")
    raise ValueError(
        f"expected a grid of rows and columns, found {latitudes.size} points of resolution {resolution}, as "
        "of a reduced Gaussian or unstructured grid; build the dataset on a regular grid, with "
        "grid: 0.25/0.25 in the source mars of its recipe, or with the filter regrid"
    )


def _check_dates(group: Any, label: str, request: DataRequest) -> None:
    """Refuse times that the dataset declares as missing; their values are NaN."""
    missing = to_minutes(np.array(group.attrs.get("missing_dates", []), "datetime64[s]"))
    hourly = bool(request.variables.accumulated)
    asked = request.hourly_times() if hourly else request.times()
    wanted = np.intersect1d(asked, missing)
    if wanted.size:
        raise ValueError(
            f"{label}: {wanted[0]} UTC is one of the dataset's missing_dates, of which the request has "
            f"{in_words(wanted)}{how_to_declare(asked, np.setdiff1d(asked, missing), hourly)}"
        )


class _Frames:
    """All wanted variables of a dataset, of which the last block of times that was read is kept.

    A chunk of the dataset has all variables, and reading one of them costs as much as reading all.
    """

    def __init__(self, data: Any, places: Sequence[int]) -> None:
        self.data, self.places = data, np.array(places)
        self._key: tuple[int, ...] = ()
        self._values = np.empty(0, np.float32)

    def read(self, times: NDArray[np.intp], places: Sequence[int]) -> NDArray[np.float32]:
        """Values of some variables, ``(time, variable, grid)``."""
        if tuple(times.tolist()) != self._key:
            self._values = self.data.oindex[times, self.places, 0, :].astype(np.float32)
            self._key = tuple(times.tolist())
        return self._values[:, np.searchsorted(self.places, places)]


class _Variable(BackendArray):
    """A variable as an array ``(time, [level,] latitude, longitude)`` that xarray reads lazily."""

    dtype = np.dtype(np.float32)

    def __init__(self, frames: _Frames, places: Sequence[int], shape: Sequence[int]) -> None:
        self.shape = tuple(shape)
        self._frames, self._places = frames, places

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._outer
        )

    def _outer(self, key: tuple[Any, ...]) -> NDArray[np.float32]:
        times = np.atleast_1d(np.arange(self.shape[0])[key[0]])
        values = self._frames.read(times, self._places).reshape(times.size, *self.shape[1:])
        for axis in range(values.ndim - 1, 0, -1):
            values = values[(slice(None),) * axis + (key[axis],)]
        return values[0] if isinstance(key[0], int | np.integer) else values
