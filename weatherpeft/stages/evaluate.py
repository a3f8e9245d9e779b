"""Score predictions against the target data."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from weatherpeft import store
from weatherpeft.grid import Grid
from weatherpeft.spec import Spec
from weatherpeft.variables import VariableSet, channel_label

if TYPE_CHECKING:
    import xarray as xr


class EvaluateSpec(Spec):
    """Which fields are scored, on which grid."""

    variables: VariableSet
    grid: Grid


def evaluate(spec: EvaluateSpec, data: Sequence[Path], predictions: Path, output: Path) -> None:
    """Latitude-weighted RMSE and bias of every field, for every time and member.

    Args:
        spec: fields and grid.
        data: artifacts of the regrid stage that cover the predicted times.
        predictions: artifact with ``predictions.zarr``, of this package or of another forecast with
            WeatherBench 2 names and valid times.
        output: artifact with ``scores.zarr``: ``rmse`` and ``bias`` with dims ``([member,] time, channel)``.

    Raises:
        ValueError: naming a variable, level, time, member or grid that predictions and data do not share,
            or a prediction that is not finite.
    """
    import numpy as np
    import xarray as xr

    from weatherpeft.frames import GridReader
    from weatherpeft.metrics import latitude_weighted_bias, latitude_weighted_rmse

    variables = spec.variables
    predicted = store.open_dataset(predictions / "predictions.zarr")
    _check(predicted, spec, predictions)
    names = [*variables.surface, *variables.atmospheric]
    reader = GridReader(data, spec.grid, names)
    weights = spec.grid.area_weights()
    members = predicted.member.values.tolist() if "member" in predicted.dims else [None]
    shape = (len(members), predicted.sizes["time"], len(variables.channels()))
    rmse, bias = np.empty(shape), np.empty(shape)
    for column, time in enumerate(predicted.time.values):
        for row, member in enumerate(members):
            moment = predicted[names].isel(time=column).transpose(..., "latitude", "longitude")
            if member is not None:
                moment = moment.isel(member=row)
            target = reader.read(time, member)
            surface = [(moment[name].values[None], target[name][None]) for name in variables.surface]
            upper = [
                (moment[name].sel(level=list(variables.levels_hpa)).values, target[name])
                for name in variables.atmospheric
            ]
            for name, (prediction, _) in zip(names, surface + upper, strict=True):
                if not np.isfinite(prediction).all():
                    raise ValueError(f"{predictions}: prediction of {name} at {time} is not finite")
            for scores, score in ((rmse, latitude_weighted_rmse), (bias, latitude_weighted_bias)):
                scores[row, column] = np.concatenate([score(p, t, weights) for p, t in surface + upper])
    dims = ("member", "time", "channel")
    labels = [channel_label(name, level) for name, level in variables.channels()]
    dataset = xr.Dataset(
        {"rmse": (dims, rmse), "bias": (dims, bias)},
        coords={"time": predicted.time.values, "channel": labels},
    )
    dataset = dataset.isel(member=0) if members == [None] else dataset.assign_coords(member=members)
    with store.artifact(output, spec, __name__, [*data, predictions]) as directory:
        store.write_dataset(dataset, directory / "scores.zarr")


def _check(predicted: "xr.Dataset", spec: EvaluateSpec, path: Path) -> None:
    import numpy as np

    for name in (*spec.variables.surface, *spec.variables.atmospheric):
        if name not in predicted:
            raise ValueError(f"{path}: predictions lack the variable {name}")
    for name in ("latitude", "longitude"):
        if name not in predicted:
            raise ValueError(f"{path}: predictions lack the coordinate {name}")
        expected, found = getattr(spec.grid, name), predicted[name].values
        if expected.shape != found.shape or not np.allclose(expected, found, atol=1e-4):
            raise ValueError(f"{path}: {name} of the predictions is not that of the grid {spec.grid.label}")
    if spec.variables.atmospheric:
        missing = set(spec.variables.levels_hpa) - set(predicted.level.values.tolist())
        if missing:
            raise ValueError(f"{path}: predictions lack the levels {sorted(missing)} hPa")
