"""Scores of probabilistic forecasts: normal distributions or ensembles.

Every score is of one time; ``probabilistic`` computes it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from weatherpeft.artifacts import store
from weatherpeft.artifacts.fields import FieldReader
from weatherpeft.artifacts.forecasts import open_forecast
from weatherpeft.fields.variables import STD, OneField
from weatherpeft.samples.ensemble_frames import stored_levels
from weatherpeft.verification.metrics import (
    area_weighted_mean,
    latitude_weighted_bias,
    latitude_weighted_mse,
    latitude_weighted_rmse,
)
from weatherpeft.verification.probabilistic import (
    crps_ensemble,
    crps_gaussian,
    ensemble_variance,
    extreme_event_weighted_crps,
    fair_crps_ensemble,
    pit_histogram,
    rank_histogram,
)
from weatherpeft.verification.scoring import EnsembleScoring

if TYPE_CHECKING:
    import xarray as xr

EFI_STORE = "efi.zarr"
NUMBER_DIMS = ("number", "member", "realization")
"""Names that the dimension of an ensemble may have."""
_Fields = dict[str, np.ndarray]


def ensemble_scores(
    scoring: EnsembleScoring, data: Sequence[Path], predictions: Path, efi: Path
) -> "xr.Dataset":
    """Score a store of distributions or of ensembles.

    Args:
        scoring: targets, grid of all fields and lead time of the forecasts.
        data: artifacts of the regrid stage with the analyses of the valid times.
        predictions: a store in WeatherBench 2's layout with the forecasts of all times of the EFI. They are
            an ensemble if the store has a dimension ``number``, ``member`` or ``realization``. Otherwise they
            are normal distributions and the store has ``<variable>_std``.
        efi: artifact of the efi stage for the raw ensemble.

    Returns:
        ``rmse`` and ``bias`` of the mean, ``crps``, ``eecrps``, ``variance`` and ``squared_error`` have dims
        ``(time, channel)``, and so has ``crps_fair`` of an ensemble. ``histogram``, of ranks or
        probabilities, has ``(time, channel, bin)``. ``crps_map``, the mean over times, has ``(channel,
        latitude, longitude)``. The attribute ``members`` is 0 for distributions.

    Raises:
        ValueError: predictions, data and EFI do not share a variable, level, time or coordinate, or a
            prediction is not finite. The message names it.
    """
    import xarray as xr

    ensemble, grid, (lead_hours,) = scoring.ensemble, scoring.grid, scoring.lead_hours
    variables = ensemble.variables
    names = [*variables.surface, *variables.atmospheric]
    deviations = [f"{name}{STD}" for name in names]
    predicted = open_forecast(predictions, variables, grid, (lead_hours,), deviations)
    predicted = predicted.isel(prediction_timedelta=0)
    number = next((dim for dim in NUMBER_DIMS if dim in predicted.dims), None)
    missing = [name for name in deviations if name not in predicted]
    if number is None and missing:
        raise ValueError(
            f"{predictions}: expected a distribution or an ensemble, found neither {missing[0]} nor a "
            f"dimension {' or '.join(NUMBER_DIMS)}"
        )
    reader = FieldReader(data, grid, names)
    levels = stored_levels(data[0], grid)
    extremes = store.open_dataset(efi / EFI_STORE)["efi"]
    weights = grid.area_weights()
    parts: list[_Fields] = []
    total = np.zeros((len(ensemble.targets), *grid.shape))
    times = extremes["time"].values - np.timedelta64(lead_hours, "h")
    for time, valid in zip(times, extremes["time"].values, strict=True):
        if time not in predicted["time"].values:
            raise ValueError(f"{predictions}: predictions lack the start {time}")
        moment, true = predicted.sel(time=time), reader.read(valid, None)
        index = extremes.sel(time=valid)
        found = []
        for place, target in enumerate(ensemble.targets):
            analysis = true[target.variable]
            if target.level_hpa is not None:
                analysis = analysis[levels.index(target.level_hpa)]
            forecast = [
                _field(moment, target, suffix, number, predictions)
                for suffix in ("", STD)[: 2 - bool(number)]
            ]
            scores, field = _scores(forecast, analysis, weights, ensemble=number is not None)
            extreme = index.sel(channel=target.label).values
            scores["eecrps"] = area_weighted_mean(extreme_event_weighted_crps(field, extreme), weights)
            total[place] += field
            found.append(scores)
        parts.append({name: np.stack([scores[name] for scores in found]) for name in found[0]})
    dims = {"histogram": ("time", "channel", "bin")}
    dataset = {
        name: (dims.get(name, ("time", "channel")), np.stack([part[name] for part in parts]))
        for name in parts[0]
    }
    return xr.Dataset(
        {**dataset, "crps_map": (("channel", "latitude", "longitude"), total / len(parts))},
        coords={
            "time": times,
            "channel": [target.label for target in ensemble.targets],
            "latitude": grid.latitude,
            "longitude": grid.longitude,
        },
        attrs={"members": predicted.sizes[number] if number else 0},
    )


def _scores(
    forecast: list[np.ndarray], target: np.ndarray, weights: np.ndarray, *, ensemble: bool
) -> tuple[_Fields, np.ndarray]:
    """Scores of one field, and its CRPS at every point.

    Args:
        forecast: members ``(number, latitude, longitude)`` of an ensemble, or mean and standard deviation
            ``(latitude, longitude)`` of a distribution.
        target: analysis, ``(latitude, longitude)``.
        weights: area weights of the rows, ``(latitude,)``.
        ensemble: whether the forecast is an ensemble.
    """
    if ensemble:
        (members,) = forecast
        mean, field = members.mean(axis=0, dtype=np.float64), crps_ensemble(members, target)
        scores = {
            "crps_fair": area_weighted_mean(fair_crps_ensemble(members, target), weights),
            "variance": area_weighted_mean(ensemble_variance(members), weights),
            "histogram": rank_histogram(members, target, weights),
        }
    else:
        mean, sigma = (each.astype(np.float64) for each in forecast)
        field = crps_gaussian(mean, sigma, target)
        scores = {
            "variance": area_weighted_mean(sigma**2, weights),
            "histogram": pit_histogram(mean, sigma, target, weights),
        }
    scores["crps"] = area_weighted_mean(field, weights)
    scores["squared_error"] = latitude_weighted_mse(mean, target, weights)
    scores["rmse"] = latitude_weighted_rmse(mean, target, weights)
    scores["bias"] = latitude_weighted_bias(mean, target, weights)
    return scores, field


def _field(moment: "xr.Dataset", target: OneField, suffix: str, number: str | None, path: Path) -> np.ndarray:
    """Field of a target at one start, ``([number,] latitude, longitude)``, all of it finite."""
    array = moment[f"{target.variable}{suffix}"]
    if target.level_hpa is not None:
        array = array.sel(level=target.level_hpa)
    values: np.ndarray = array.transpose(*([number] if number else []), "latitude", "longitude").values
    if not np.isfinite(values).all():
        raise ValueError(
            f"{path}: prediction of {target.label}{suffix} at {moment.time.values} is not finite"
        )
    return values
