"""Stores for reading along time: the values of one variable at one hour of day."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from weatherpeft.artifacts import store
from weatherpeft.artifacts.fields import FieldReader
from weatherpeft.artifacts.times import JoinedTimes, hour_of_day

_BLOCK_TIMES = 16
_CHUNK_POINTS = 2048


def write_series(
    reader: FieldReader, name: str, times: Sequence[np.datetime64], members: Sequence[int], directory: Path
) -> None:
    """Write ``<name>-<hour>.zarr`` for each hour of day, in chunks of some rows and many times.

    Args:
        reader: reader of the variable.
        name: name of the variable.
        times: valid times, in order.
        members: ensemble members to keep; empty if the data has no member dimension.
        directory: directory of the stores.

    Raises:
        ValueError: the data lacks one of the members.
    """
    import zarr

    template = reader.template(name)
    if members:
        template = template.isel(member=0, drop=True).expand_dims(member=list(members))
    hours = hour_of_day(np.asarray(times, "datetime64[ns]"))
    for hour in np.unique(hours):
        chosen = [time for time, own in zip(times, hours, strict=True) if own == hour]
        path = directory / f"{name}-{hour:02d}.zarr"
        _create(path, name, template, chosen)
        array: Any = zarr.open_group(path, mode="r+")[name]
        for first in range(0, len(chosen), _BLOCK_TIMES):
            block = slice(first, min(first + _BLOCK_TIMES, len(chosen)))
            fields = [reader.read(time, each)[name] for time in chosen[block] for each in members or (None,)]
            array[block] = np.stack(fields).reshape(-1, *template.shape)


def _create(path: Path, name: str, like: xr.DataArray, times: Sequence[np.datetime64]) -> None:
    """Write the metadata and coordinates of a store; the values are not written yet."""
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


class SeriesReader:
    """The series of one variable at one hour of day, over several periods.

    Attributes:
        times: times of the samples in order, ``(sample,)``. The members of an ensemble count as samples of
            the same time.
        template: one field of the first sample, ``([level,] latitude, longitude)``.

    Args:
        directories: artifacts of the series stage.
        name: WeatherBench 2 name of the variable.
        hour: hour of day in UTC.

    Raises:
        ValueError: there is no series of the variable at the hour, or two stores hold the same time.
    """

    def __init__(self, directories: Sequence[Path], name: str, hour: int) -> None:
        paths = [directory / f"{name}-{hour:02d}.zarr" for directory in directories]
        arrays = {path: store.open_dataset(path)[name] for path in paths if path.is_dir()}
        if not arrays:
            raise ValueError(f"no series of {name} at {hour:02d} UTC in {', '.join(map(str, directories))}")
        JoinedTimes([(path, array["time"].values) for path, array in arrays.items()])  # no time twice
        self._arrays = sorted(arrays.values(), key=lambda array: array["time"].values[0])
        per_time = self._arrays[0].sizes.get("member", 1)
        self.times = np.concatenate([np.repeat(array["time"].values, per_time) for array in self._arrays])
        first = self._arrays[0].isel(time=0, drop=True)
        self.template = first.isel(member=0, drop=True) if "member" in first.dims else first

    def bands(self) -> Iterator[slice]:
        """Slices of the rows that are stored together."""
        rows = self._arrays[0].encoding["chunks"][-2]
        total = self.template.sizes["latitude"]
        return (slice(start, min(start + rows, total)) for start in range(0, total, rows))

    def read(self, rows: slice, level: int | None) -> NDArray[np.float32]:
        """All values of some rows at one level.

        Args:
            rows: slice of the rows.
            level: index of the level; None for a variable without levels.

        Returns:
            ``(sample, latitude, longitude)``.
        """
        place = {"latitude": rows} | ({} if level is None else {"level": level})
        parts = [array.isel(place).values for array in self._arrays]
        return np.concatenate([part.reshape(-1, *part.shape[-2:]) for part in parts])
