"""Predictions as Zarr stores in WeatherBench 2's layout, written one time after the other.

``time`` is the start of a forecast, which is the time of its last input. ``prediction_timedelta`` is the lead
time; a store of analyses, for example of downscaling, has none. A normal distribution is two variables:
``<name>`` is its mean and ``<name>_std`` its standard deviation. An ensemble has a dimension ``number``.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
import zarr

from weatherpeft.artifacts import store
from weatherpeft.fields.variables import VariableSet

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
    """Predict every sample of a split and write its fields at once.

    Args:
        predict: gives the fields ``([level,] latitude, longitude)`` by name of the sample with an index.
        samples: samples of the split.
        variables: variables to write. Targets of an ensemble are written as distributions.
        path: path of the store, which has dims ``([member,] time, [prediction_timedelta,] [level,] latitude,
            longitude)``.
        numbers: numbers of the members, if members are predicted in place of distributions. Members are then
            the first dimension of the fields and the dimension ``number`` of the store.

    Raises:
        ValueError: a prediction is not finite. The message names the variable and the time.
    """
    create_predictions(samples, variables, path, numbers)
    fill_predictions(predict, samples, variables, path, range(len(samples)), numbers)


def create_predictions(
    samples: "SampleFrames", variables: VariableSet, path: Path, numbers: Sequence[int] = ()
) -> None:
    """Create the store of ``write_predictions``, without values.

    Args:
        samples: samples of the split.
        variables: variables to write.
        path: path of the store.
        numbers: numbers of the members, if members are predicted in place of distributions.
    """
    store.write_dataset(prediction_template(samples, variables, numbers), path, compute=False)


def prediction_template(
    samples: "SampleFrames", variables: VariableSet, numbers: Sequence[int] = ()
) -> xr.Dataset:
    """The dataset of ``write_predictions`` with lazy zeros in place of values; see ``create_predictions``."""
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

    return xr.Dataset(
        {
            f"{name}{suffix}": empty(*dims, "latitude", "longitude")
            for names, dims in ((variables.surface, ()), (variables.atmospheric, ("level",)))
            for name in names
            for suffix in ([""] if numbers else samples.suffixes)
        },
        coords={**outer, **inner},
    )


def fill_predictions(
    predict: Predict,
    samples: "SampleFrames",
    variables: VariableSet,
    path: "Path | Mapping[str, np.ndarray]",
    indices: Iterable[int],
    numbers: Sequence[int] = (),
) -> None:
    """Predict some samples and write them into the store; other processes may write others meanwhile.

    If a variable has a minimum, as precipitation has, smaller predictions are written as the minimum. Levels
    at which a variable is not a target of an ensemble hold NaN.

    Args:
        predict: gives the fields ``([level,] latitude, longitude)`` by name of the sample with an index.
        samples: samples of the split.
        variables: variables to write.
        path: store that ``create_predictions`` has written, or arrays like its own.
        indices: indices of the samples to predict.
        numbers: numbers of the members, if members are predicted in place of distributions.

    Raises:
        ValueError: a prediction is not finite. The message names the variable and the time.
    """
    arrays: Mapping[str, Any]
    arrays = dict(zarr.open_group(path, mode="r+").arrays()) if isinstance(path, Path) else path
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
            minimum = variables.row(name).minimum
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
