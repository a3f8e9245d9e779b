"""Fields by valid time, sums of hours among them, and their stores for reading along time."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from weatherpeft.artifacts import store
from weatherpeft.fields.grid import Grid
from weatherpeft.fields.variables import VARIABLES, accumulation
from weatherpeft.spec import Period

_HOUR = np.timedelta64(1, "h")
_BLOCK_TIMES = 16
_CHUNK_POINTS = 2048


class FieldReader:
    """One variable of the regridded stores, a valid time at a time.

    ``total_precipitation_6hr`` is the sum of the six hourly fields that end at the valid time (T − 5 h … T),
    likewise any other number of hours up to 24.

    Args:
        directories: artifacts of the regrid stage.
        grid: which of their grids.
        name: WeatherBench 2 name.

    Raises:
        ValueError: an unknown name, a store without the variable, or a time that is in two stores.
    """

    def __init__(self, directories: Sequence[Path], grid: Grid, name: str) -> None:
        stored, self.hours = accumulation(name) or (name, 0)
        if stored not in VARIABLES or not 0 <= self.hours <= 24:
            raise ValueError(f"{name}: expected a known variable, or a sum of at most 24 hours")
        self.name = name
        self._axis = "hourly_time" if self.hours else "time"
        self._place: dict[np.datetime64, tuple[xr.DataArray, int]] = {}
        for directory in directories:
            path = directory / f"{grid.label}.zarr"
            dataset = store.open_dataset(path)
            if stored not in dataset:
                found = ", ".join(map(str, dataset.data_vars))
                raise ValueError(f"{path}: variable {stored} is missing; found {found}")
            for index, time in enumerate(dataset[self._axis].values):
                if time in self._place:
                    raise ValueError(f"{path}: time {time} is in another store too")
                self._place[time] = (dataset[stored], index)

    def times(self, periods: Sequence[Period], step_hours: int) -> list[np.datetime64]:
        """Valid times in order, every ``step_hours`` from 00 UTC, whose whole sum lies in one period."""
        found = []
        for period in periods:
            first = np.datetime64(period.start, "ns")
            end = np.datetime64(period.end + timedelta(days=1), "ns")
            inside = {time for time in self._place if first <= time < end}
            found += [
                time
                for time in inside
                if (time - first) % (step_hours * _HOUR) == np.timedelta64(0)
                and inside.issuperset(self._parts(time))
            ]
        return sorted(found)

    def read(self, time: np.datetime64) -> xr.DataArray:
        """The field of a valid time, float32, ``([member,] [level,] latitude, longitude)``.

        Raises:
            ValueError: a time that is not in the data.
        """
        parts = []
        for part in self._parts(time):
            if part not in self._place:
                raise ValueError(f"{self.name} at {time}: the regridded data has no {part}")
            array, index = self._place[part]
            parts.append(array.isel({self._axis: index}, drop=True).load())
        if len(parts) == 1:
            return parts[0]
        total = np.sum([part.values for part in parts], axis=0, dtype=np.float64)
        return parts[0].copy(data=total.astype(np.float32))

    def _parts(self, time: np.datetime64) -> list[np.datetime64]:
        return [time - hours * _HOUR for hours in range(max(self.hours, 1) - 1, -1, -1)]


def hour_of_day(times: NDArray[np.datetime64]) -> NDArray[np.int64]:
    """Whole hours since 00 UTC."""
    return (times - times.astype("datetime64[D]")) // _HOUR


def write_series(
    reader: FieldReader, times: Sequence[np.datetime64], members: Sequence[int], directory: Path
) -> None:
    """Write ``<name>-<hour>.zarr`` for each hour of day, in chunks of some rows and many times.

    Args:
        reader: of one variable.
        times: valid times, in order.
        members: ensemble members to keep; empty where the data has no member dimension.
        directory: of the stores.

    Raises:
        ValueError: a member that is not in the data.
    """
    import zarr

    hours = hour_of_day(np.asarray(times, "datetime64[ns]"))
    for hour in np.unique(hours):
        chosen = [time for time, own in zip(times, hours, strict=True) if own == hour]
        path = directory / f"{reader.name}-{hour:02d}.zarr"
        _create(path, reader.name, _of_members(reader.read(chosen[0]), members), chosen)
        array: Any = zarr.open_group(path, mode="r+")[reader.name]
        for first in range(0, len(chosen), _BLOCK_TIMES):
            block = slice(first, min(first + _BLOCK_TIMES, len(chosen)))
            array[block] = np.stack([_of_members(reader.read(time), members) for time in chosen[block]])


def _create(path: Path, name: str, like: xr.DataArray, times: Sequence[np.datetime64]) -> None:
    """Write the metadata and coordinates of a store, its values still unwritten."""
    import dask.array

    *outer, latitude, longitude = like.shape
    rows = min(max(1, _CHUNK_POINTS // longitude), latitude)
    block = min(_BLOCK_TIMES, len(times))
    encoding = {
        "chunks": (block, *(1 for _ in outer), rows, longitude),
        "shards": (block, *outer, -(-latitude // rows) * rows, longitude),
        "_FillValue": None,
    }
    shape = (len(times), *like.shape)
    values = dask.array.zeros(shape, dtype=np.float32, chunks=shape)
    dataset = xr.Dataset({name: (("time", *like.dims), values, like.attrs)}, like.coords)
    dataset = dataset.assign_coords(time=list(times))
    store.write_dataset(dataset, path, compute=False, encoding={name: encoding})


def _of_members(field: xr.DataArray, members: Sequence[int]) -> xr.DataArray:
    if not members:
        return field
    missing = set(members) - set(field["member"].values.tolist() if "member" in field.dims else [])
    if missing:
        raise ValueError(f"{field.name}: the regridded data has no members {sorted(missing)}")
    return field.sel(member=list(members))


class SeriesReader:
    """The series of one variable at one hour of day, over several periods.

    Attributes:
        times: of the samples, in order; members of an ensemble count as samples of the same time.
        template: one field of the first sample, ``([level,] latitude, longitude)``.

    Args:
        directories: artifacts of the series stage.
        name: WeatherBench 2 name.
        hour: of day, UTC.
    """

    def __init__(self, directories: Sequence[Path], name: str, hour: int) -> None:
        paths = [directory / f"{name}-{hour:02d}.zarr" for directory in directories]
        arrays = [store.open_dataset(path)[name] for path in paths if path.is_dir()]
        if not arrays:
            raise ValueError(f"no series of {name} at {hour:02d} UTC in {', '.join(map(str, directories))}")
        self._arrays = sorted(arrays, key=lambda array: array["time"].values[0])
        per_time = self._arrays[0].sizes.get("member", 1)
        self.times = np.concatenate([np.repeat(array["time"].values, per_time) for array in self._arrays])
        if (np.diff(self.times[::per_time]) <= np.timedelta64(0)).any():
            raise ValueError(f"{name} at {hour:02d} UTC: two periods hold the same time")
        first = self._arrays[0].isel(time=0, drop=True)
        self.template = first.isel(member=0, drop=True) if "member" in first.dims else first

    def bands(self) -> Iterator[slice]:
        """The rows that are stored together."""
        rows = self._arrays[0].encoding["chunks"][-2]
        total = self.template.sizes["latitude"]
        return (slice(start, min(start + rows, total)) for start in range(0, total, rows))

    def read(self, rows: slice, level: int | None) -> NDArray[np.float32]:
        """All values of some rows at the level with this index, ``(sample, latitude, longitude)``."""
        place = {"latitude": rows} | ({} if level is None else {"level": level})
        parts = [array.isel(place).values for array in self._arrays]
        return np.concatenate([part.reshape(-1, *part.shape[-2:]) for part in parts])
