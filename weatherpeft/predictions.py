"""Predictions as Zarr stores with WeatherBench 2 names, written one time after the other."""

from collections.abc import Callable, Iterable, Mapping
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
    create_predictions(samples, path)
    fill_predictions(predict, samples, path, range(len(samples)))


def create_predictions(samples: "SampleFrames", path: Path) -> None:
    """Write the store of ``write_predictions`` without the fields."""
    import dask.array as da

    variables, grid = samples.fields.measured, samples.window.target_grid
    members = samples.split.members
    times = _valid_times(samples)
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


def fill_predictions(predict: Predict, samples: "SampleFrames", path: Path, indices: Iterable[int]) -> None:
    """Predict some samples and write them into the store; others may be written at the same time.

    Args:
        predict: as of ``write_predictions``.
        samples: the split.
        path: what ``create_predictions`` has written.
        indices: of the samples to predict.

    Raises:
        ValueError: a prediction that is not finite; the message names the variable and the time.
    """
    arrays = dict(zarr.open_group(path, mode="r+").arrays())
    lead = np.timedelta64(samples.window.target_hours, "h")
    position = {time: index for index, time in enumerate(_valid_times(samples))}
    variables, members = samples.fields.measured, samples.split.members
    for index in indices:
        sample = samples.samples[index]
        column = position[sample.time + lead]
        place = (column,) if sample.member is None else (members.index(sample.member), column)
        fields = predict(index)
        for name in (*variables.surface, *variables.atmospheric):
            if not np.isfinite(fields[name]).all():
                raise ValueError(f"prediction of {name} at {sample.time + lead} is not finite")
            arrays[name][place] = fields[name]


def _valid_times(samples: "SampleFrames") -> np.ndarray:
    lead = np.timedelta64(samples.window.target_hours, "h")
    return np.unique([sample.time for sample in samples.samples]) + lead
