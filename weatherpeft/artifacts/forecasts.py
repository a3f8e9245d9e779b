"""Forecasts in WeatherBench 2's layout, by this package or others, on the grid of their scores."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from weatherpeft.artifacts.manifest import check_store
from weatherpeft.fields.grid import Axis, Grid
from weatherpeft.fields.variables import VariableSet

if TYPE_CHECKING:
    import xarray as xr

_TOLERANCE_DEG = 1e-4


def open_forecast(
    path: Path,
    variables: VariableSet,
    grid: Grid,
    lead_hours: Sequence[int],
    optional: Sequence[str] = (),
) -> "xr.Dataset":
    """Open the part of a store that is scored, lazily.

    Other variables, lead times and points of the store are left out. Its rows and columns may have any order.
    A global store from south to north thus serves for a region too.

    Args:
        path: a Zarr store, or a directory that contains the store ``predictions.zarr``.
        variables: variables that the store must hold.
        grid: grid whose points the store must hold.
        lead_hours: lead times in hours that the store must hold. If it has no ``prediction_timedelta``,
            ``time`` is the valid time of the only lead time; otherwise ``time`` is the start of a forecast.
        optional: names of further variables, which are opened if the store has them.

    Returns:
        The variables with dims ``time``, ``prediction_timedelta``, ``latitude`` and ``longitude``, perhaps
        ``level`` and ``member``, in the store's order. Latitude and longitude are those of the grid.

    Raises:
        ValueError: there is no such store, or it lacks a variable, level, lead time, point or coordinate. The
            message names it.
    """
    import xarray as xr

    from weatherpeft.artifacts import chunks  # noqa: F401  names the chunk in errors

    own = path / "predictions.zarr"
    stored = own if own.is_dir() else path
    if not stored.is_dir():
        raise ValueError(f"{path}: no such Zarr store")
    check_store(stored)
    predicted = _of_leads(xr.open_zarr(stored, chunks=None, decode_timedelta=True), lead_hours, path)
    names = [*variables.surface, *variables.atmospheric]
    for name in names:
        if name not in predicted:
            raise ValueError(f"{path}: predictions lack the variable {name}")
    predicted = predicted[names + [name for name in optional if name in predicted]]
    for name in ("latitude", "longitude"):
        if name not in predicted.coords:
            raise ValueError(f"{path}: predictions lack the coordinate {name}")
        expected = getattr(grid, name)
        places = _places(predicted[name].values, expected)
        if places is None:
            raise ValueError(f"{path}: {name} of the predictions lacks points of the grid {grid.label}")
        if not np.array_equal(places, np.arange(predicted.sizes[name])):
            predicted = predicted.isel({name: places})
        predicted = predicted.assign_coords({name: expected})
    if variables.atmospheric:
        missing = set(variables.levels_hpa) - set(predicted["level"].values.tolist())
        if missing:
            raise ValueError(f"{path}: predictions lack the levels {sorted(missing)} hPa")
    return predicted


def _of_leads(predicted: "xr.Dataset", lead_hours: Sequence[int], path: Path) -> "xr.Dataset":
    """Select the lead times that are scored. Without lead times in the store, there may be only one."""
    leads = np.asarray(lead_hours, "timedelta64[h]").astype("timedelta64[ns]")
    if "time" not in predicted.coords:
        raise ValueError(f"{path}: predictions lack the coordinate time")
    if "prediction_timedelta" not in predicted.dims:
        if leads.size > 1:
            raise ValueError(f"{path}: predictions lack the dimension prediction_timedelta")
        started = predicted.assign_coords(time=predicted["time"].values - leads[0])
        return started.expand_dims(prediction_timedelta=leads)
    found = set(predicted["prediction_timedelta"].values.astype("timedelta64[ns]").tolist())
    missing = [hours for hours, lead in zip(lead_hours, leads.tolist(), strict=True) if lead not in found]
    if missing:
        raise ValueError(f"{path}: predictions lack the lead times {missing} h")
    return predicted.sel(prediction_timedelta=leads)


def _places(found: Axis, expected: Axis) -> np.ndarray | None:
    """Indices of expected among found values of an axis, in degrees modulo 360; None if one is missing."""
    apart = np.abs((found[None].astype(np.float64) - expected[:, None] + 180) % 360 - 180)
    places: np.ndarray = apart.argmin(axis=1)
    return places if apart.min(axis=1).max() <= _TOLERANCE_DEG else None
