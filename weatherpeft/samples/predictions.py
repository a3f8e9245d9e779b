"""Predictions as Zarr stores in WeatherBench 2's layout, written one time after the other.

``time`` is when a forecast starts: its last input. ``prediction_timedelta`` is how much later it is valid; a
store of analyses, as of downscaling, has none. A normal distribution is two variables, ``<name>`` its mean
and ``<name>_std`` its standard deviation; an ensemble has a dimension ``number``.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
import zarr

from weatherpeft.artifacts import store
from weatherpeft.fields.variables import VARIABLES, VariableSet

if TYPE_CHECKING:
    from weatherpeft.samples.frames import SampleFrames

Predict = Callable[[int], Mapping[str, np.ndarray]]


def write_predictions(
    predict: Predict,
    samples: "SampleFrames",
    variables: VariableSet,
    path: Path,
    numbers: Sequence[int] = (),
) -> None:
    """Predict every sample of a split and write the fields as they come.

    Args:
        predict: fields ``([level,] latitude, longitude)`` by name, of the sample with this index.
        samples: the split.
        variables: what is written; of the targets of an ensemble their distribution.
        path: the store, with dims ``([member,] time, [prediction_timedelta,] [level,] latitude, longitude)``.
        numbers: where members are predicted in place of distributions, their numbers: fields have a first
            dimension of them, as the store has ``number``.

    Raises:
        ValueError: a prediction that is not finite; the message names the variable and the time.
    """
    create_predictions(samples, variables, path, numbers)
    fill_predictions(predict, samples, variables, path, range(len(samples)), numbers)


def create_predictions(
    samples: "SampleFrames", variables: VariableSet, path: Path, numbers: Sequence[int] = ()
) -> None:
    """Write the store of ``write_predictions`` without the fields."""
    import dask.array as da

    grid, leads, members = samples.window.target_grid, samples.window.target_hours, samples.split.members
    outer: dict[str, np.ndarray] = {"member": np.asarray(members, dtype=np.int64)} if members else {}
    if numbers:
        outer["number"] = np.asarray(numbers, dtype=np.int64)
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
            f"{name}{suffix}": empty(*dims, "latitude", "longitude")
            for names, dims in ((variables.surface, ()), (variables.atmospheric, ("level",)))
            for name in names
            for suffix in ([""] if numbers else samples.suffixes)
        },
        coords={**outer, **inner},
    )
    store.write_dataset(template, path, compute=False)


def fill_predictions(
    predict: Predict,
    samples: "SampleFrames",
    variables: VariableSet,
    path: Path,
    indices: Iterable[int],
    numbers: Sequence[int] = (),
) -> None:
    """Predict some samples and write them into the store; others may be written at the same time.

    Where a variable has a minimum, as precipitation, what is predicted to be less is written as that. Levels
    at which a variable is no target of an ensemble hold NaN.

    Args:
        predict: as of ``write_predictions``.
        samples: the split.
        variables: what is written.
        path: what ``create_predictions`` has written.
        indices: of the samples to predict.
        numbers: as of ``write_predictions``.

    Raises:
        ValueError: a prediction that is not finite; the message names the variable and the time.
    """
    arrays = dict(zarr.open_group(path, mode="r+").arrays())
    leads, members = samples.window.target_hours, samples.split.members
    position = {time: index for index, time in enumerate(_times(samples))}
    for index in indices:
        sample = samples.samples[index]
        place: list[int | slice] = [] if sample.member is None else [members.index(sample.member)]
        place += [slice(None)] if numbers else []
        place += [position[sample.time]] + ([] if leads == (0,) else [leads.index(sample.lead_hours)])
        fields = predict(index)
        for name in (*variables.surface, *variables.atmospheric):
            left_out = samples.levels_left_out(name)
            minimum = VARIABLES[name].minimum
            for key in (f"{name}{suffix}" for suffix in ([""] if numbers else samples.suffixes)):
                field = fields[key]
                if not np.isfinite(np.delete(field, left_out, axis=-3) if left_out else field).all():
                    valid = sample.time + np.timedelta64(sample.lead_hours, "h")
                    raise ValueError(f"prediction of {key} at {valid} is not finite")
                if minimum is not None:
                    field = np.maximum(field, np.float32(minimum))
                if left_out:
                    field = field.copy()
                    field[..., left_out, :, :] = np.nan
                arrays[key][tuple(place)] = field


def _times(samples: "SampleFrames") -> np.ndarray:
    return np.unique([sample.time for sample in samples.samples])
