"""Score predictions against the target data."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from weatherpeft import store
from weatherpeft.grid import Grid
from weatherpeft.spec import Spec
from weatherpeft.variables import VariableSet, channel_label

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

    from weatherpeft.climatology_reader import ClimatologyReader

SEEPS_HOURS = 6


class EvaluateSpec(Spec):
    """Which fields are scored, on which grid."""

    variables: VariableSet
    grid: Grid
    lead_hours: tuple[int, ...] = (0,)
    """Lead times that are scored."""
    climatology: tuple[str, ...] = ()
    """Variables that are compared with their climatology too."""


def evaluate(
    spec: EvaluateSpec,
    data: Sequence[Path],
    predictions: Path,
    output: Path,
    climatology: Path | None = None,
) -> None:
    """Latitude-weighted scores of every field, for every time, lead time and member.

    Args:
        spec: fields, grid and lead times.
        data: artifacts of the regrid stage that cover the predicted times.
        predictions: artifact with ``predictions.zarr``, of this package or of another forecast in
            WeatherBench 2's layout: with ``prediction_timedelta``, ``time`` is the start of a forecast;
            without, it is the valid time.
        output: artifact with ``scores.zarr``: ``rmse`` and ``bias`` with dims ``([member,] time,
            [prediction_timedelta,] channel)``; against a climatology ``acc``, likewise; of precipitation sums
            ``seeps`` and ``contingency``, without channels, the latter with ``(forecast, observed)``.
        climatology: artifact of the climatology stage, where variables are compared with it.

    Raises:
        ValueError: naming a variable, level, time, lead time, member or grid that predictions and data do not
            share, or a prediction that is not finite; no climatology where one is needed.
    """
    import numpy as np
    import xarray as xr

    from weatherpeft.climatology_reader import ClimatologyReader
    from weatherpeft.frames import GridReader
    from weatherpeft.metrics import latitude_weighted_acc, latitude_weighted_bias, latitude_weighted_rmse

    if spec.climatology and climatology is None:
        raise ValueError(f"scores of {', '.join(spec.climatology)} need a climatology, and none is given")
    reference = ClimatologyReader(climatology, spec.grid) if climatology else None
    variables = spec.variables
    predicted = _of_leads(store.open_dataset(predictions / "predictions.zarr"), spec, predictions)
    _check(predicted, spec, predictions)
    names = [*variables.surface, *variables.atmospheric]
    reader = GridReader(data, spec.grid, names)
    weights = spec.grid.area_weights()
    rain = _Rain(reference, weights) if reference and _Rain.name in spec.climatology else None
    members = predicted.member.values.tolist() if "member" in predicted.dims else [None]
    times, leads = predicted.time.values, np.asarray(spec.lead_hours, "timedelta64[h]")
    shape = (len(members), times.size, leads.size)
    scores = {name: np.empty((*shape, len(variables.channels()))) for name in ("rmse", "bias")}
    if reference:
        scores["acc"] = np.full_like(scores["rmse"], np.nan)
    if rain:
        scores |= {"seeps": np.empty(shape), "contingency": np.empty((*shape, 3, 3))}
    for place in np.ndindex(*shape):
        row, column, number = place
        valid = times[column] + leads[number]
        moment = predicted[names].isel(time=column, prediction_timedelta=number)
        if members != [None]:
            moment = moment.isel(member=row)
        moment = moment.transpose(..., "latitude", "longitude")
        target = reader.read(valid, members[row])
        first = 0
        for name in names:
            field = (
                moment[name]
                if name in variables.surface
                else moment[name].sel(level=list(variables.levels_hpa))
            )
            values, true = _channels(field.values), _channels(target[name])
            if not np.isfinite(values).all():
                raise ValueError(f"{predictions}: prediction of {name} at {valid} is not finite")
            own = (*place, slice(first, first + len(true)))
            scores["rmse"][own] = latitude_weighted_rmse(values, true, weights)
            scores["bias"][own] = latitude_weighted_bias(values, true, weights)
            if reference and name in spec.climatology:
                mean = _channels(reference.read(name, valid))
                scores["acc"][own] = latitude_weighted_acc(values, true, mean, weights)
            if rain and name == rain.name:
                scores["seeps"][place], scores["contingency"][place] = rain(values[0], true[0], valid)
            first += len(true)
    dims = ("member", "time", "prediction_timedelta")
    inner = {"seeps": (), "contingency": ("forecast", "observed")}
    dataset = xr.Dataset(
        {name: ((*dims, *inner.get(name, ("channel",))), values) for name, values in scores.items()},
        coords={
            "time": times,
            "prediction_timedelta": leads.astype("timedelta64[ns]"),
            "channel": [channel_label(name, level) for name, level in variables.channels()],
        },
    )
    dataset = dataset.isel(member=0) if members == [None] else dataset.assign_coords(member=members)
    if spec.lead_hours == (0,):
        dataset = dataset.isel(prediction_timedelta=0, drop=True)
    if rain:
        dataset = dataset.assign_coords(
            {side: ["dry", "light", "heavy"] for side in ("forecast", "observed")}
        )
    inputs = [*data, predictions, *([climatology] if climatology else [])]
    with store.artifact(output, spec, __name__, inputs) as directory:
        store.write_dataset(dataset, directory / "scores.zarr")


class _Rain:
    """SEEPS and contingency table of sums of six hours at one time."""

    name = f"total_precipitation_{SEEPS_HOURS}hr"

    def __init__(self, climatology: "ClimatologyReader", weights: "np.ndarray") -> None:
        self._climatology, self._weights = climatology, weights
        self._dry_fraction = climatology.mean(f"{self.name}_seeps_dry_fraction")

    def __call__(
        self, forecast: "np.ndarray", observed: "np.ndarray", valid: "np.datetime64"
    ) -> tuple["np.ndarray", "np.ndarray"]:
        from weatherpeft.climatology import DRY_THRESHOLD_M
        from weatherpeft.precipitation_scores import (
            contingency_table,
            latitude_weighted_seeps,
            precipitation_category,
            seeps_points,
        )

        dry, wet = DRY_THRESHOLD_M[SEEPS_HOURS], self._climatology.read(f"{self.name}_seeps_threshold", valid)
        seeps = latitude_weighted_seeps(forecast, observed, self._dry_fraction, wet, dry, self._weights)
        points = seeps_points(self._dry_fraction, wet)
        ours, theirs = (precipitation_category(each, wet, dry) for each in (forecast, observed))
        return seeps, contingency_table(ours, theirs, points, self._weights)


def _channels(field: "np.ndarray") -> "np.ndarray":
    """``([level,] latitude, longitude)`` as ``(channel, latitude, longitude)``."""
    return field.reshape(-1, *field.shape[-2:])


def _of_leads(predicted: "xr.Dataset", spec: EvaluateSpec, path: Path) -> "xr.Dataset":
    """The lead times that are scored; valid times alone stand for the only one."""
    import numpy as np

    leads = np.asarray(spec.lead_hours, "timedelta64[h]").astype("timedelta64[ns]")
    if "prediction_timedelta" not in predicted.dims:
        if leads.size > 1:
            raise ValueError(f"{path}: predictions lack the dimension prediction_timedelta")
        if "time" not in predicted.coords:
            raise ValueError(f"{path}: predictions lack the coordinate time")
        started = predicted.assign_coords(time=predicted["time"].values - leads[0])
        return started.expand_dims(prediction_timedelta=leads)
    missing = [
        int(lead / np.timedelta64(1, "h")) for lead in leads if lead not in predicted["prediction_timedelta"]
    ]
    if missing:
        raise ValueError(f"{path}: predictions lack the lead times {missing} h")
    return predicted.sel(prediction_timedelta=leads)


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
