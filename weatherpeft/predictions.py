"""Predictions as Zarr stores with WeatherBench 2 names, written one time after the other."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from weatherpeft import store

if TYPE_CHECKING:
    from weatherpeft.batch import Samples

Predict = Callable[[int], Mapping[str, np.ndarray]]


def write_predictions(predict: Predict, samples: "Samples", path: Path) -> None:
    """Predict every sample of a split and write the fields as they come.

    Args:
        predict: fields ``([level,] latitude, longitude)`` by name, of the sample with this index.
        samples: the split.
        path: the store, with dims ``([member,] time, [level,] latitude, longitude)`` and ``time`` the valid time.

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
    position = {time: index for index, time in enumerate(times)}
    for index, sample in enumerate(samples.samples):
        fields = predict(index)
        region = {"time": slice(position[sample.time + lead], position[sample.time + lead] + 1)}
        if sample.member is not None:
            row = members.index(sample.member)
            region["member"] = slice(row, row + 1)
        moment = {}
        for name in template.data_vars:
            field = fields[str(name)]
            if not np.isfinite(field).all():
                raise ValueError(f"prediction of {name} at {sample.time + lead} is not finite")
            moment[name] = (template[name].dims, field[(np.newaxis,) * len(counts)])
        store.write_dataset(xr.Dataset(moment), path, mode="r+", region=region)
