"""What values a variable can have on Earth, and what no field of it looks like.

The ranges in the table of variables are wider than every record, so that no weather is refused, and far
narrower than what goes wrong with files: fill values, other units, anomalies in place of the field.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from weatherpeft.fields.table import Variable

Range = tuple[float, float]
"""Least and greatest value, both included."""
AnyRange = Range | Callable[[int | None], Range]
"""A range, or a function that gives that of a pressure level in hPa."""
Decision = Literal["stop", "warn"]
"""What happens to a field that is not plausible."""
MANY_POINTS = 100
"""Points from which on equal values are no chance; those of a small box may be equal after packing."""
_GAS_CONSTANT = 287.05


def geopotential_range(level_hpa: int | None) -> Range:
    """Plausible geopotential in m2 s-2 of a pressure level.

    It lies between that of a column of 200 K over a sea-level pressure of 840 hPa, and that of a column of
    300 K over 1110 hPa. Columns that are as cold or as warm from the ground to the stratosphere do not exist.

    >>> [round(value / 9.80665) for value in geopotential_range(500)]
    [3037, 7003]
    """
    level = level_hpa or 1000
    coldest = 200.0 if level < 840 else 310.0  # below the ground, warm air makes a level deeper
    low, high = (
        _GAS_CONSTANT * kelvin * math.log(pressure / level)
        for kelvin, pressure in ((coldest, 840), (300.0, 1110))
    )
    return low, high


PLAUSIBLE: dict[str, AnyRange] = {
    "2m_temperature": (170, 340),  # -89.2 °C at Vostok, 56.7 °C in Death Valley
    "skin_temperature": (150, 370),  # -98 °C in Antarctica, 80.8 °C in the Lut desert, by satellite
    "sea_surface_temperature": (260, 320),
    "temperature": (150, 350),
    "10m_u_component_of_wind": (-130, 130),  # 113 m/s in a gust on Barrow Island
    "10m_v_component_of_wind": (-130, 130),
    "10m_wind_gust": (-1, 150),
    "u_component_of_wind": (-300, 300),
    "v_component_of_wind": (-300, 300),
    "vertical_velocity": (-500, 500),  # 60 m/s at 5 km, in a model that resolves thunderstorms
    "divergence": (-0.1, 0.1),
    "mean_sea_level_pressure": (84_000, 111_000),  # 870 hPa in Typhoon Tip, 1089 hPa in Mongolia
    "surface_pressure": (30_000, 111_000),
    "geopotential": geopotential_range,
    "geopotential_at_surface": (-8_000, 90_000),
    "specific_humidity": (-0.001, 0.06),
    "relative_humidity": (-30, 250),
    "total_column_water": (-1, 200),
    "total_column_water_vapour": (-1, 150),
    "total_cloud_cover": (-0.01, 1.01),
    "total_precipitation": (-0.01, 0.5),  # 305 mm in 42 minutes in Holt
    "total_precipitation_6hr": (-0.01, 1.5),
    "total_precipitation_48hr": (-0.01, 3.5),  # 2493 mm in Cherrapunji
    "convective_precipitation_48hr": (-0.01, 3.5),
    "2m_dewpoint_temperature": (140, 320),  # 35 °C at Dhahran
    "100m_u_component_of_wind": (-150, 150),
    "100m_v_component_of_wind": (-150, 150),
    "surface_solar_radiation_downwards": (-1e3, 6e6),  # the solar constant gives 4.9e6 in an hour
    "surface_solar_radiation_downwards_6hr": (-6e3, 3.6e7),
    "convective_available_potential_energy": (-10, 30_000),
    "snow_depth": (-0.01, 1_000),  # glaciers of a model may grow for as long as it runs
    **{f"volumetric_soil_water_layer_{layer}": (-0.05, 1.05) for layer in (1, 2, 3, 4)},
    "total_column_ozone": (0.0005, 0.02),  # 23 to 934 Dobson units; 73 were measured, and 760
    "particulate_matter_2p5um": (-1e-8, 1e-2),
    "particulate_matter_10um": (-1e-8, 1e-1),
    "land_sea_mask": (-0.01, 1.01),
    "soil_type": (0, 20),
}
"""Ranges in the units of the table of variables. They include the noise of packing around zero."""
VARYING = frozenset(
    {
        *("2m_temperature", "skin_temperature", "temperature", "mean_sea_level_pressure", "surface_pressure"),
        *("10m_u_component_of_wind", "10m_v_component_of_wind", "u_component_of_wind", "v_component_of_wind"),
        *("2m_dewpoint_temperature", "100m_u_component_of_wind", "100m_v_component_of_wind"),
        *("10m_wind_gust", "geopotential", "total_column_water", "total_column_water_vapour"),
    }
)
"""Variables that have equal values everywhere in no field but a missing one. Rain and clouds may be 0, the
sea under ice has one temperature, and humidity in the stratosphere is packed into few values."""


class Implausible(ValueError):
    """A field that cannot be one of its variable.

    Attributes:
        usable: whether its values are numbers, so that the user may decide to take them.
    """

    def __init__(self, message: str, usable: bool) -> None:
        super().__init__(message)
        self.usable = usable


def check_field(
    field: NDArray[np.float32],
    row: "Variable",
    level_hpa: int | None,
    latitude: NDArray[np.float64],
    longitude: NDArray[np.float64],
) -> None:
    """Refuse a field that cannot be one of its variable.

    Args:
        field: values in the variable's units, shape ``(latitude, longitude)``.
        row: the variable. A partial one may hold NaN, but not only.
        level_hpa: pressure level in hPa, of an atmospheric variable.
        latitude: degrees north, shape ``(latitude,)``.
        longitude: degrees east, shape ``(longitude,)``.

    Raises:
        Implausible: a value is NaN, infinite or out of the range of its variable, or all values of a variable
            that varies everywhere are equal. The message names a value and its place.
    """
    least, greatest = (np.fmin, np.fmax) if row.partial else (np.minimum, np.maximum)
    low, high = float(least.reduce(field, axis=None)), float(greatest.reduce(field, axis=None))
    bounds = row.plausible_at(level_hpa)
    if bounds[0] <= low and high <= bounds[1] and not (low == high and _must_vary(field, row)):
        return
    if math.isnan(low):
        missing = np.isnan(field)
        where = _place(missing, latitude, longitude)
        raise Implausible(f"expected finite values, found {missing.sum()} NaN, the first at {where}", False)
    if bounds[0] <= low and high <= bounds[1]:
        raise Implausible(f"expected a field that varies, found {low:g} {row.units} at all points", True)
    value = low if low < bounds[0] else high
    outside = (field < bounds[0]) | (field > bounds[1])
    where = _place(field == np.float32(value), latitude, longitude)
    raise Implausible(
        f"expected values from {bounds[0]:g} to {bounds[1]:g} {row.units}, found {value:g} at {where} "
        f"({outside.sum()} of {field.size} points are outside)",
        math.isfinite(low) and math.isfinite(high),
    )


def _must_vary(field: NDArray[np.float32], row: "Variable") -> bool:
    return row.varies and field.size >= MANY_POINTS


def _place(held: NDArray[np.bool_], latitude: NDArray[np.float64], longitude: NDArray[np.float64]) -> str:
    """The first point where a mask holds, for example ``49.25°N 3.5°E``."""
    row, column = np.unravel_index(int(np.argmax(held)), held.shape)
    north = float(latitude[row])
    return f"{abs(north):g}°{'S' if north < 0 else 'N'} {float(longitude[column]):g}°E"
