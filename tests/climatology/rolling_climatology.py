"""A climatology made the long way: every year's windows side by side, reduced by xarray."""

import numpy as np
import xarray as xr


def by_windows(values: np.ndarray, times: np.ndarray, window: int) -> xr.DataArray:
    """Every window of every year: ``(year, dayofyear, window, point)``, by xarray's own rolling windows."""
    array = xr.DataArray(values, dims=("time", "point"), coords={"time": times})
    years = []
    for _, year in array.groupby("time.year"):
        year = year.assign_coords(time=year["time"].dt.dayofyear.values).rename(time="dayofyear")
        years.append(year.reindex(dayofyear=np.arange(1, 367)))
        if year["dayofyear"].max() == 365:
            years[-1].loc[{"dayofyear": 366}] = year.sel(dayofyear=365)
    half = window // 2
    padded = xr.concat(years, "year").pad(dayofyear=half, mode="wrap")
    windows = padded.rolling(dayofyear=window, center=True).construct("window")
    return windows.isel(dayofyear=slice(half, -half)).assign_coords(dayofyear=np.arange(1, 367))


def triangle(window: int) -> xr.DataArray:
    half = window // 2
    return xr.DataArray(np.interp(np.arange(window), [0, half, window - 1], [0, 1, 0]), dims="window")


def expected_thresholds(values: np.ndarray, times: np.ndarray, dry: float) -> tuple[np.ndarray, np.ndarray]:
    """Wet threshold and dry share by xarray, with what is missing left out of the share."""
    windows = by_windows(values, times, 61)
    is_dry = windows < np.float32(dry)
    wet = windows.where(~is_dry).weighted(triangle(61)).quantile(2 / 3, dim=("year", "window"))
    share = is_dry.where(windows.notnull()).mean(("year", "window"))
    return (
        wet.transpose("dayofyear", "point").values,
        share.transpose("dayofyear", "point").values,
    )
