"""Real fields of ../shared/data for the tests of scores."""

from pathlib import Path

import numpy as np
import xarray as xr


def ensemble_members(folder: Path) -> dict[str, np.ndarray]:
    """z and t of ten members at 850 and 500 hPa: ``(member, time, level, latitude, longitude)``, 3°."""
    with xr.open_dataset(
        folder / "era5_ensemble_members_3deg.grib", engine="cfgrib", backend_kwargs={"indexpath": ""}
    ) as dataset:
        return {name: dataset[name].values for name in ("z", "t")}


def precipitation_6h(folder: Path) -> np.ndarray:
    """Sums of six hours in meters, at 06, 12, 18 and 00 UTC: ``(time, latitude, longitude)``, 0.25°."""
    with xr.open_dataset(folder / "era5_tp_hourly_india_2023.nc", engine="netcdf4") as dataset:
        hourly = dataset["tp"].values
    return np.stack([hourly[end - 5 : end + 1].sum(axis=0) for end in range(6, len(hourly), 6)])
