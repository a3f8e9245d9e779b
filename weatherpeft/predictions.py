"""Predictions as Zarr stores in WeatherBench 2's layout, written one time after the other.

``time`` is when a forecast starts: its last input. ``prediction_timedelta`` is how much later it is valid; a
store of analyses, as of downscaling, has none.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
import zarr

from weatherpeft import store
from weatherpeft.variables import VARIABLES, VariableSet

if TYPE_CHECKING:
    from weatherpeft.frames import SampleFrames

Predict = Callable[[int], Mapping[str, np.ndarray]]


def write_predictions(predict: Predict, samples: "SampleFrames", variables: VariableSet, path: Path) -> None:
    """Predict every sample of a split and write the fields as they come.

    Args:
        predict: fields ``([level,] latitude, longitude)`` by name, of the sample with this index.
        samples: the split.
        variables: what is written.
        path: the store, with dims ``([member,] time, [prediction_timedelta,] [level,] latitude, longitude)``.

    Raises:
        ValueError: a prediction that is not finite; the message names the variable and the time.
    """
    create_predictions(samples, variables, path)
    fill_predictions(predict, samples, variables, path, range(len(samples)))


def create_predictions(samples: "SampleFrames", variables: VariableSet, path: Path) -> None:
    """Write the store of ``write_predictions`` without the fields."""
    import dask.array as da

    grid, leads, members = samples.window.target_grid, samples.window.target_hours, samples.split.members
    outer: dict[str, np.ndarray] = {"member": np.asarray(members, dtype=np.int64)} if members else {}
    outer["time"] = _times(samples).astype("datetime64[ns]")
    if leads != (0,):
        outer["prediction_timedelta"] = np.asarray(leads, dtype="timedelta64[h]").astype("timedelta64[ns]")
    inner: dict[str, np.ndarray] = {
        "level": np.asarray(variables.levels_hpa, dtype=np.int64),
        "latitude": grid.latitude,
        "longitude": grid.longitude,
    }

    def empty(*dims: str) -> xr.Variable:
        sizes = [inner[dim].size for dim in dims]
        shape = (*(values.size for values in outer.values()), *sizes)
        zeros = da.zeros(shape, chunks=(*(1 for _ in outer), *sizes), dtype=np.float32)
        return xr.Variable((*outer, *dims), zeros)

    template = xr.Dataset(
        {
            **{name: empty("latitude", "longitude") for name in variables.surface},
            **{name: empty("level", "latitude", "longitude") for name in variables.atmospheric},
        },
        coords={**outer, **inner},
    )
    store.write_dataset(template, path, compute=False)


def fill_predictions(
    predict: Predict, samples: "SampleFrames", variables: VariableSet, path: Path, indices: Iterable[int]
) -> None:
    """Predict some samples and write them into the store; others may be written at the same time.

    Where a variable has a minimum, as precipitation, what is predicted to be less is written as that.

    Args:
        predict: as of ``write_predictions``.
        samples: the split.
        variables: what is written.
        path: what ``create_predictions`` has written.
        indices: of the samples to predict.

    Raises:
        ValueError: a prediction that is not finite; the message names the variable and the time.
    """
    arrays = dict(zarr.open_group(path, mode="r+").arrays())
    leads, members = samples.window.target_hours, samples.split.members
    position = {time: index for index, time in enumerate(_times(samples))}
    for index in indices:
        sample = samples.samples[index]
        place = [] if sample.member is None else [members.index(sample.member)]
        place += [position[sample.time]] + ([] if leads == (0,) else [leads.index(sample.lead_hours)])
        fields = predict(index)
        for name in (*variables.surface, *variables.atmospheric):
            field = fields[name]
            if not np.isfinite(field).all():
                valid = sample.time + np.timedelta64(sample.lead_hours, "h")
                raise ValueError(f"prediction of {name} at {valid} is not finite")
            minimum = VARIABLES[name].minimum
            arrays[name][tuple(place)] = field if minimum is None else np.maximum(field, np.float32(minimum))


def _times(samples: "SampleFrames") -> np.ndarray:
    return np.unique([sample.time for sample in samples.samples])
