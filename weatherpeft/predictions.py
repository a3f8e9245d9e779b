"""Predictions as Zarr stores with WeatherBench 2 names, written one time after the other."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
import zarr

from weatherpeft import store

if TYPE_CHECKING:
    from weatherpeft.frames import SampleFrames

Predict = Callable[[int], Mapping[str, np.ndarray]]


def write_predictions(predict: Predict, samples: "SampleFrames", path: Path) -> None:
    """Predict every sample of a split and write the fields as they come.

    Args:
        predict: fields ``([level,] latitude, longitude)`` by name, of the sample with this index.
        samples: the split.
        path: the store, with dims ``([member,] time, [level,] latitude, longitude)``; ``time`` is valid time.

    Raises:
        ValueError: a prediction that is not finite; the message names the variable and the time.
    """
    import dask.array as da

    variables, grid = samples.fields.measured, samples.window.target_grid
    members = samples.split.members
    lead = np.timedelta64(samples.window.target_hours, "h")
    times = np.unique([sample.time for sample in samples.samples]) + lead
    leading = ("member", "time") if members else ("time",)
    counts = (len(members), len(times)) if members else (len(times),)
    sizes = {"level": len(variables.levels_hpa), "latitude": grid.shape[0], "longitude": grid.shape[1]}

    def empty(*dims: str) -> xr.Variable:
        shape = (*counts, *(sizes[dim] for dim in dims))
        chunks = (*(1 for _ in counts), *(sizes[dim] for dim in dims))
        return xr.Variable((*leading, *dims), da.zeros(shape, chunks=chunks, dtype=np.float32))

    coordinates: dict[str, np.ndarray] = {
        "time": times.astype("datetime64[ns]"),
        "level": np.asarray(variables.levels_hpa, dtype=np.int64),
        "latitude": grid.latitude,
        "longitude": grid.longitude,
    }
    if members:
        coordinates["member"] = np.asarray(members, dtype=np.int64)
    template = xr.Dataset(
        {
            **{name: empty("latitude", "longitude") for name in variables.surface},
            **{name: empty("level", "latitude", "longitude") for name in variables.atmospheric},
        },
        coords=coordinates,
    )
    store.write_dataset(template, path, compute=False)
    arrays = dict(zarr.open_group(path, mode="r+").arrays())
    position = {time: index for index, time in enumerate(times)}
    for index, sample in enumerate(samples.samples):
        column = position[sample.time + lead]
        place = (column,) if sample.member is None else (members.index(sample.member), column)
        fields = predict(index)
        for name in map(str, template.data_vars):
            if not np.isfinite(fields[name]).all():
                raise ValueError(f"prediction of {name} at {sample.time + lead} is not finite")
            arrays[name][place] = fields[name]
