"""Fields as rough, as variable and as compressible as ERA5's, for 68 channels.

Made from one real field (10 m wind gust of ERA5, ``../shared/data``; without it, noise of a like
spectrum): standardized, smoothed as the variable is smooth, turned by a random longitude at each time,
and given a mean and a standard deviation of the variable at its level. Gusts have a longer tail than other
variables, which ends where values stop being plausible.
"""

from pathlib import Path

import numpy as np
import xarray as xr
from scipy.ndimage import gaussian_filter

from weatherpeft.fields.grid import Grid
from weatherpeft.fields.regridding import Regridder
from weatherpeft.fields.variables import VARIABLES, VariableSet

GUST = Path(__file__).parents[2] / "shared" / "data" / "era5_wind_gust_0p25deg.nc"
LEVELS = (50, 100, 150, 200, 250, 300, 400, 500, 600, 700, 850, 925, 1000)
FIELDS = VariableSet(
    surface=("2m_temperature", "10m_u_component_of_wind", "10m_v_component_of_wind"),
    atmospheric=(
        "temperature", "u_component_of_wind", "v_component_of_wind", "specific_humidity", "geopotential",
    ),
    levels_hpa=LEVELS,
)  # fmt: skip


def pattern(grid: Grid, gust: Path = GUST) -> np.ndarray:
    """A standardized field on a grid, ``(latitude, longitude)``."""
    if gust.is_file():
        field = xr.open_dataset(gust)["i10fg"][0].astype(np.float32)
        source = Grid(resolution_deg=0.25, poles=True)
        values = field.values
        if grid != source:
            values = Regridder(source.latitude, source.longitude, grid, "bilinear")(values)
    else:
        noise = np.random.default_rng(0).normal(size=grid.shape)
        values = sum(
            gaussian_filter(noise, size, mode=("nearest", "wrap")) * size for size in (1, 2, 4, 8, 16, 32)
        )
    return (values - values.mean()) / values.std()


def climate(name: str, level: int | None) -> tuple[float, float, float]:
    """Mean, standard deviation and smoothness in degrees of a field, roughly those of the atmosphere."""
    height = 0.0 if level is None else -7.5e3 * np.log(level / 1000)
    match VARIABLES[name].short_name:
        case "t" | "2t":
            return max(210.0, 287 - 6.5e-3 * height), 13.0, 1.5
        case "z":
            return 9.81 * height, 1000 + 0.15 * height, 3.0
        case "q":
            return 8e-3 * np.exp(-height / 2500), 5e-3 * np.exp(-height / 2500), 0.5
    return height / 1500, 6 + height / 2000, 0.75


class Maker:
    """Makes the fields of a grid.

    Args:
        grid: of the fields.
    """

    def __init__(self, grid: Grid) -> None:
        base = pattern(grid)
        widths = {climate(name, level)[2] for name, level in FIELDS.channels()}
        self._patterns = {
            width: gaussian_filter(base, width / grid.resolution_deg, mode=("nearest", "wrap"))
            for width in widths
        }
        self._random = np.random.default_rng(1)

    def field(self, name: str, level: int | None) -> np.ndarray:
        """A new field of a variable."""
        mean, deviation, width = climate(name, level)
        pattern = self._patterns[width]
        turned = np.roll(pattern, self._random.integers(pattern.shape[1]), axis=1)
        low, high = VARIABLES[name].plausible_at(level)
        margin = (high - low) / 1000  # packing rounds
        values = np.clip(mean + deviation * turned, low + margin, high - margin)
        return values.astype(np.float32)

    def moment(self) -> np.ndarray:
        """All fields of one time, ``(channel, latitude, longitude)``."""
        return np.stack([self.field(name, level) for name, level in FIELDS.channels()])
