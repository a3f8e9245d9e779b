"""Scores of fields over a grid or a part of it, for every member, time and lead time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from weatherpeft.artifacts.fields import FieldReader
from weatherpeft.artifacts.forecasts import open_forecast
from weatherpeft.climatology.calendar import DRY_THRESHOLD_M
from weatherpeft.climatology.reader import ClimatologyReader
from weatherpeft.fields.grid import Grid, Region
from weatherpeft.fields.variables import channel_label
from weatherpeft.verification.metrics import (
    latitude_weighted_acc,
    latitude_weighted_bias,
    latitude_weighted_rmse,
)
from weatherpeft.verification.precipitation import (
    contingency_table,
    latitude_weighted_seeps,
    precipitation_category,
    seeps_points,
)
from weatherpeft.verification.scoring import FieldScoring

SEEPS_HOURS = 6
RAIN = f"total_precipitation_{SEEPS_HOURS}hr"
_DIMS = ("member", "time", "prediction_timedelta")
_INNER = {"seeps": (), "contingency": ("forecast", "observed")}


def field_scores(
    scoring: FieldScoring, data: Sequence[Path], predictions: Path, climatology: Path | None
) -> dict[str, xr.Dataset]:
    """Score every field at every time, lead time and member.

    Args:
        scoring: fields, grid, lead times and regions that are scored.
        data: artifacts of the regrid stage that cover the predicted times.
        predictions: artifact with ``predictions.zarr``, or a Zarr store in WeatherBench 2's layout.
        climatology: artifact of the climatology stage; None if no variable is compared with it.

    Returns:
        Scores by name of their store: ``scores.zarr`` and, if regions are scored, ``regions.zarr``.

    Raises:
        ValueError: predictions and data do not share a variable, level, time, lead time, member or grid, or a
            prediction is not finite. The message names it.
    """
    variables, grid = scoring.variables, scoring.grid
    reference = ClimatologyReader(climatology, grid) if climatology else None
    predicted = open_forecast(predictions, variables, grid, scoring.lead_hours)
    names = [*variables.surface, *variables.atmospheric]
    reader = FieldReader(data, grid, names)
    sum_name, dry = _categorized(scoring)
    rain = reference if sum_name else None
    dry_fraction = rain.mean(f"{sum_name}_seeps_dry_fraction") if rain else None
    members = predicted.member.values.tolist() if "member" in predicted.dims else [None]
    times, leads = predicted.time.values, np.asarray(scoring.lead_hours, "timedelta64[h]")
    shape = (len(members), times.size, leads.size)
    labels = [channel_label(name, level) for name, level in variables.channels()]

    def scores_of(region: Region | None) -> FieldScores:
        return FieldScores(grid, region, shape, labels, reference is not None, dry_fraction, dry)

    whole, regions = scores_of(None), {name: scores_of(region) for name, region in scoring.regions.items()}
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
            field = moment[name]
            if name in variables.atmospheric:
                field = field.sel(level=list(variables.levels_hpa))
            values, true = _channels(field.values), _channels(target[name])
            if not np.isfinite(values).all():
                raise ValueError(f"{predictions}: prediction of {name} at {valid} is not finite")
            channels = slice(first, first + len(true))
            compared = reference if name in scoring.climatology else None
            usual = _channels(compared.read(name, valid)) if compared else None
            wet = rain.read(f"{sum_name}_seeps_threshold", valid) if rain and name == sum_name else None
            for part in (whole, *regions.values()):
                part.add(place, channels, values, true, usual, wet)
            first += len(true)

    def finished(scores: xr.Dataset) -> xr.Dataset:
        scores = scores.assign_coords(time=times, prediction_timedelta=leads.astype("timedelta64[ns]"))
        scores = scores.isel(member=0) if members == [None] else scores.assign_coords(member=members)
        return scores.isel(prediction_timedelta=0, drop=True) if scoring.lead_hours == (0,) else scores

    found = {"scores.zarr": finished(whole.to_dataset())}
    if regions:
        parts = xr.concat([part.to_dataset() for part in regions.values()], "region")
        found["regions.zarr"] = finished(parts.assign_coords(region=list(regions)))
    return found


def _categorized(scoring: FieldScoring) -> tuple[str, float]:
    """The sum that is scored by category, and its dry threshold; an empty name if there is none."""
    known = {RAIN: DRY_THRESHOLD_M[SEEPS_HOURS], **scoring.dry_thresholds}
    return next(((name, known[name]) for name in scoring.climatology if name in known), ("", 0.0))


def _channels(field: np.ndarray) -> np.ndarray:
    """A field ``([level,] latitude, longitude)`` as ``(channel, latitude, longitude)``."""
    return field.reshape(-1, *field.shape[-2:])


class FieldScores:
    """Collects the scores of a grid or a region of it, one variable at one time after the other.

    Args:
        grid: grid of the fields.
        region: part of the grid, which keeps the area weights of the grid; None for the whole grid.
        shape: numbers of members, times and lead times.
        channels: labels of the fields.
        anomalies: whether fields are also compared with a climatology.
        dry_fraction: share of dry sums in the climatology, ``(latitude, longitude)``, if precipitation is
            also scored by category.
        dry: sum from which on a time is not dry, in the units of the precipitation.
    """

    def __init__(
        self,
        grid: Grid,
        region: Region | None,
        shape: tuple[int, int, int],
        channels: Sequence[str],
        anomalies: bool,
        dry_fraction: np.ndarray | None,
        dry: float = DRY_THRESHOLD_M[SEEPS_HOURS],
    ) -> None:
        self._dry = dry
        self._part = None if region is None else np.ix_(*grid.inside(region))
        self._weights = grid.area_weights()
        if self._part is not None:
            self._weights = self._weights[self._part[0][:, 0]]
        self._channels = list(channels)
        names = ("rmse", "bias", "acc") if anomalies else ("rmse", "bias")
        by_channel = (*shape, len(self._channels))
        self._scores: dict[str, Any] = {name: np.full(by_channel, np.nan) for name in names}
        self._dry_fraction = None
        if dry_fraction is not None:
            self._dry_fraction = self._cut(dry_fraction)
            self._scores |= {"seeps": np.full(shape, np.nan), "contingency": np.full((*shape, 3, 3), np.nan)}

    def _cut(self, field: np.ndarray) -> np.ndarray:
        if self._part is None:
            return field
        rows, columns = self._part
        return field[..., rows, columns]

    def add(
        self,
        place: tuple[int, ...],
        channels: slice,
        forecast: np.ndarray,
        target: np.ndarray,
        climatology: np.ndarray | None = None,
        wet_threshold: np.ndarray | None = None,
    ) -> None:
        """Score a variable at one time.

        Args:
            place: indices of member, time and lead time.
            channels: channels of the variable.
            forecast: predicted fields, ``(channel, latitude, longitude)``.
            target: true fields, ``(channel, latitude, longitude)``.
            climatology: climatology at the hour and day of year, ``(channel, latitude, longitude)``, for the
                anomaly correlation.
            wet_threshold: threshold between light and heavy precipitation at the hour and day of year in
                its units, ``(latitude, longitude)``, for sums of precipitation.

        Raises:
            ValueError: SEEPS is not defined at any point of the whole grid. For a region it is NaN instead.
        """
        ours, theirs, weights = self._cut(forecast), self._cut(target), self._weights
        own = (*place, channels)
        self._scores["rmse"][own] = latitude_weighted_rmse(ours, theirs, weights)
        self._scores["bias"][own] = latitude_weighted_bias(ours, theirs, weights)
        if climatology is not None:
            self._scores["acc"][own] = latitude_weighted_acc(ours, theirs, self._cut(climatology), weights)
        if wet_threshold is None or self._dry_fraction is None:
            return
        dry, wet = self._dry, self._cut(wet_threshold)
        points = seeps_points(self._dry_fraction, wet)
        if self._part is not None and not points.any():
            return
        seeps = latitude_weighted_seeps(ours[0], theirs[0], self._dry_fraction, wet, dry, weights)
        predicted, observed = (precipitation_category(each[0], wet, dry) for each in (ours, theirs))
        self._scores["seeps"][place] = seeps
        self._scores["contingency"][place] = contingency_table(predicted, observed, points, weights)

    def to_dataset(self) -> xr.Dataset:
        """All scores, with dims ``(member, time, prediction_timedelta)``.

        ``rmse``, ``bias`` and ``acc`` have the further dim ``channel``, and ``contingency`` has
        ``(forecast, observed)``.
        """
        dataset = xr.Dataset(
            {
                name: ((*_DIMS, *_INNER.get(name, ("channel",))), values)
                for name, values in self._scores.items()
            },
            {"channel": self._channels},
        )
        if self._dry_fraction is None:
            return dataset
        categories = ["dry", "light", "heavy"]
        return dataset.assign_coords({side: categories for side in ("forecast", "observed")})
