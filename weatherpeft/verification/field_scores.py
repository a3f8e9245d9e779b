"""Scores of fields over a grid or a part of it, at every member, time and lead time."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from weatherpeft.fields.grid import Grid, Region
from weatherpeft.verification.climatology import DRY_THRESHOLD_M
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

SEEPS_HOURS = 6
RAIN = f"total_precipitation_{SEEPS_HOURS}hr"
_DIMS = ("member", "time", "prediction_timedelta")
_INNER = {"seeps": (), "contingency": ("forecast", "observed")}


class FieldScores:
    """Scores of a grid or of a region of it, one variable at one time after the other.

    Args:
        grid: of the fields.
        region: part of the grid, whose area weights are its part of the grid's; None for all of it.
        shape: numbers of members, times and lead times.
        channels: labels of the fields.
        anomalies: whether fields are compared with a climatology too.
        dry_fraction: share of dry sums in the climatology, ``(latitude, longitude)``, where precipitation is
            scored by category too.
    """

    def __init__(
        self,
        grid: Grid,
        region: Region | None,
        shape: tuple[int, int, int],
        channels: Sequence[str],
        anomalies: bool,
        dry_fraction: np.ndarray | None,
    ) -> None:
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
            channels: of the variable.
            forecast: ``(channel, latitude, longitude)``.
            target: likewise.
            climatology: of the hour and day of year, likewise, for the anomaly correlation.
            wet_threshold: of sums of precipitation, of the hour and day of year, ``(latitude, longitude)``.

        Raises:
            ValueError: SEEPS is defined nowhere on the whole grid; of a region it is then NaN.
        """
        ours, theirs, weights = self._cut(forecast), self._cut(target), self._weights
        own = (*place, channels)
        self._scores["rmse"][own] = latitude_weighted_rmse(ours, theirs, weights)
        self._scores["bias"][own] = latitude_weighted_bias(ours, theirs, weights)
        if climatology is not None:
            self._scores["acc"][own] = latitude_weighted_acc(ours, theirs, self._cut(climatology), weights)
        if wet_threshold is None or self._dry_fraction is None:
            return
        dry, wet = DRY_THRESHOLD_M[SEEPS_HOURS], self._cut(wet_threshold)
        points = seeps_points(self._dry_fraction, wet)
        if self._part is not None and not points.any():
            return
        seeps = latitude_weighted_seeps(ours[0], theirs[0], self._dry_fraction, wet, dry, weights)
        predicted, observed = (precipitation_category(each[0], wet, dry) for each in (ours, theirs))
        self._scores["seeps"][place] = seeps
        self._scores["contingency"][place] = contingency_table(predicted, observed, points, weights)

    def to_dataset(self) -> xr.Dataset:
        """All scores, with dims ``(member, time, prediction_timedelta)``.

        ``rmse``, ``bias`` and ``acc`` have ``channel`` too, ``contingency`` has ``(forecast, observed)``.
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
