"""Fields of the climatology stage's artifact by valid time."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from weatherpeft.artifacts import store
from weatherpeft.fields.grid import Grid

if TYPE_CHECKING:
    import xarray as xr


class ClimatologyReader:
    """Reads the climatology at the hour and day of year of a time.

    Args:
        directory: artifact of the climatology stage.
        grid: grid that the climatology must have.

    Raises:
        ValueError: the climatology is on another grid.
    """

    def __init__(self, directory: Path, grid: Grid) -> None:
        self._directory = directory
        self._dataset: xr.Dataset = store.open_dataset(directory / "climatology.zarr")
        for axis in ("latitude", "longitude"):
            found, expected = self._dataset[axis].values, getattr(grid, axis)
            if found.shape != expected.shape or not np.allclose(found, expected, atol=1e-4):
                raise ValueError(f"{directory}: {axis} is not that of the grid {grid.label}")

    def read(self, name: str, time: np.datetime64) -> np.ndarray:
        """A field of the climatology, ``([level,] latitude, longitude)`` float32.

        Args:
            name: ``<variable>``, which ``_std`` or one of the SEEPS endings may follow.
            time: valid time.

        Raises:
            ValueError: the climatology lacks the variable or hour, or the field is NaN because no training
                value is near the day.
        """
        hour = int((time - time.astype("datetime64[D]")) / np.timedelta64(1, "h"))
        day = int((time.astype("datetime64[D]") - time.astype("datetime64[Y]")) / np.timedelta64(1, "D")) + 1
        array = self._array(name)
        if hour not in array["hour"].values:
            raise ValueError(f"{self._directory}: no climatology at {hour:02d} UTC, for {time}")
        field: np.ndarray = array.sel(hour=hour, dayofyear=day).values
        if np.isnan(field).all():
            raise ValueError(
                f"{self._directory}: no {name} on day {day} of the year, for {time}: "
                "the training period has no value near that day"
            )
        return field

    def mean(self, name: str) -> np.ndarray:
        """The mean over all hours and days of year with a value.

        Args:
            name: ``<variable>``, which ``_std`` or one of the SEEPS endings may follow.

        Returns:
            ``([level,] latitude, longitude)`` float64.

        Raises:
            ValueError: the climatology lacks the variable.
        """
        mean: np.ndarray = self._array(name).mean(("hour", "dayofyear"), dtype=np.float64).values
        return mean

    def _array(self, name: str) -> "xr.DataArray":
        if name not in self._dataset:
            found = ", ".join(map(str, self._dataset.data_vars))
            raise ValueError(f"{self._directory}: no climatology of {name}; found {found}")
        return self._dataset[name]
