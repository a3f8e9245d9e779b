"""Score predictions against the target data."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from weatherpeft.artifacts import store
from weatherpeft.fields.grid import Grid, Region
from weatherpeft.fields.variables import VariableSet, channel_label
from weatherpeft.samples.window import Ensemble
from weatherpeft.spec import Spec

if TYPE_CHECKING:
    import numpy as np


class EvaluateSpec(Spec):
    """Which fields are scored, on which grid."""

    variables: VariableSet
    grid: Grid
    lead_hours: tuple[int, ...] = (0,)
    """Lead times that are scored."""
    climatology: tuple[str, ...] = ()
    """Variables that are compared with their climatology too."""
    regions: dict[str, Region] = Field(default={}, exclude_if=lambda regions: not regions)
    """Parts of the grid that are scored beside the whole."""
    ensemble: Ensemble | None = Field(default=None, exclude_if=lambda ensemble: ensemble is None)
    """Where the forecasts are distributions or ensembles, the fields of which they are."""


def evaluate(
    spec: EvaluateSpec,
    data: Sequence[Path],
    predictions: Path,
    output: Path,
    climatology: Path | None = None,
    efi: Path | None = None,
) -> None:
    """Latitude-weighted scores of every field, for every time, lead time and member.

    Args:
        spec: fields, grid and lead times.
        data: artifacts of the regrid stage that cover the predicted times.
        predictions: artifact with ``predictions.zarr``, or anybody's Zarr store in WeatherBench 2's layout
            (see ``forecast_reader``).
        output: artifact with ``scores.zarr``: ``rmse`` and ``bias`` with dims ``([member,] time,
            [prediction_timedelta,] channel)``; against a climatology ``acc``, likewise; of precipitation sums
            ``seeps`` and ``contingency``, without channels, the latter with ``(forecast, observed)``; of
            distributions and ensembles those of ``ensemble_scores``. Where parts of the grid are scored,
            ``regions.zarr`` likewise, with a dim ``region`` before the others.
        climatology: artifact of the climatology stage, where variables are compared with it.
        efi: artifact of the efi stage, where the forecasts are distributions or ensembles.

    Raises:
        ValueError: naming a variable, level, time, lead time, member or grid that predictions and data do not
            share, or a prediction that is not finite; no climatology or index where one is needed.
    """
    import numpy as np
    import xarray as xr

    from weatherpeft.artifacts.climatology import ClimatologyReader
    from weatherpeft.artifacts.forecasts import open_forecast
    from weatherpeft.samples.frames import GridReader
    from weatherpeft.verification.ensemble import ensemble_scores
    from weatherpeft.verification.field_scores import RAIN, FieldScores

    if spec.ensemble:
        if efi is None:
            raise ValueError("scores of an ensemble need its extreme forecast index, and none is given")
        (lead,) = spec.lead_hours
        dataset = ensemble_scores(spec.ensemble, spec.grid, lead, data, predictions, efi)
        with store.artifact(output, spec, __name__, [*data, predictions, efi]) as directory:
            store.write_dataset(dataset, directory / "scores.zarr")
        return
    if spec.climatology and climatology is None:
        raise ValueError(f"scores of {', '.join(spec.climatology)} need a climatology, and none is given")
    reference = ClimatologyReader(climatology, spec.grid) if climatology else None
    variables = spec.variables
    predicted = open_forecast(predictions, variables, spec.grid, spec.lead_hours)
    names = [*variables.surface, *variables.atmospheric]
    reader = GridReader(data, spec.grid, names)
    rain = reference if RAIN in spec.climatology else None
    dry_fraction = rain.mean(f"{RAIN}_seeps_dry_fraction") if rain else None
    members = predicted.member.values.tolist() if "member" in predicted.dims else [None]
    times, leads = predicted.time.values, np.asarray(spec.lead_hours, "timedelta64[h]")
    shape = (len(members), times.size, leads.size)
    labels = [channel_label(name, level) for name, level in variables.channels()]

    def scores_of(region: Region | None) -> FieldScores:
        return FieldScores(spec.grid, region, shape, labels, reference is not None, dry_fraction)

    whole, regions = scores_of(None), {name: scores_of(region) for name, region in spec.regions.items()}
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
            channels = slice(first, first + len(true))
            usual = _channels(reference.read(name, valid)) if reference and name in spec.climatology else None
            wet = rain.read(f"{RAIN}_seeps_threshold", valid) if rain and name == RAIN else None
            for part in (whole, *regions.values()):
                part.add(place, channels, values, true, usual, wet)
            first += len(true)

    def finished(scores: xr.Dataset) -> xr.Dataset:
        scores = scores.assign_coords(time=times, prediction_timedelta=leads.astype("timedelta64[ns]"))
        scores = scores.isel(member=0) if members == [None] else scores.assign_coords(member=members)
        return scores.isel(prediction_timedelta=0, drop=True) if spec.lead_hours == (0,) else scores

    inputs = [*data, predictions, *([climatology] if climatology else [])]
    with store.artifact(output, spec, __name__, inputs) as directory:
        store.write_dataset(finished(whole.to_dataset()), directory / "scores.zarr")
        if regions:
            parts = xr.concat([part.to_dataset() for part in regions.values()], "region")
            parts = parts.assign_coords(region=list(regions))
            store.write_dataset(finished(parts), directory / "regions.zarr")


def _channels(field: "np.ndarray") -> "np.ndarray":
    """``([level,] latitude, longitude)`` as ``(channel, latitude, longitude)``."""
    return field.reshape(-1, *field.shape[-2:])
