"""Fields that depend on the calendar: the sun, the sea and the tropical rain belt."""

from dataclasses import dataclass

import numpy as np

from weatherpeft.sources.toy.grid import Grid
from weatherpeft.sources.toy.planet import Planet
from weatherpeft.sources.toy.spectral import Array


@dataclass(frozen=True)
class Day:
    """Fields that are constant during a day.

    Attributes:
        declination: declination of the sun in radians.
        mean_sun: daily mean of the sine of the sun's height, with zero for the night, ``(latitude, 1)``.
        winter: 1 in deep winter, -1 in high summer, 0 at the equator, ``(latitude, 1)``.
        sea_surface_temperature: temperature in kelvin, ``(latitude, longitude)``.
        overturning: vertical motion of the tropical cells in Pa/s, ``(latitude, longitude)``.
    """

    declination: float
    mean_sun: Array
    winter: Array
    sea_surface_temperature: Array
    overturning: Array


def make_day(grid: Grid, planet: Planet, day_of_year: int) -> Day:
    """The fields of a day of the year (1…366)."""
    latitude = grid.latitude

    def wave(peak: float) -> float:
        return float(np.cos(2 * np.pi * (day_of_year - peak) / 365))

    declination = -np.deg2rad(23.44) * wave(-10)
    tangent = np.tan(np.clip(latitude, -1.55, 1.55)) * np.tan(declination)
    sunset = np.arccos(np.clip(-tangent, -1, 1))
    mean_sun = sunset * np.sin(latitude) * np.sin(declination)
    mean_sun = (mean_sun + np.cos(latitude) * np.cos(declination) * np.sin(sunset)) / np.pi
    sine = np.sin(latitude + np.deg2rad(7) * wave(45))
    zonal = 273.15 + 29 - 36 * sine**2 * (1 - 0.12 * sine**2)
    belt = np.deg2rad(6 - 9 * wave(40)) + np.deg2rad(2) * np.sin(2 * grid.longitude + 1)
    rising = np.exp(-(((latitude - belt) / np.deg2rad(6.5)) ** 2))
    sinking = np.exp(-(((np.abs(latitude - belt / 2) - np.deg2rad(25)) / np.deg2rad(9)) ** 2))
    return Day(
        declination=float(declination),
        mean_sun=mean_sun,
        winter=wave(20) * np.tanh(latitude / 0.3),
        sea_surface_temperature=np.maximum(zonal + planet.sea_surface_anomaly, 271.4),
        overturning=0.022 * sinking - 0.032 * rising,
    )


def sun(grid: Grid, day: Day, hour: float) -> Array:
    """Sine of the sun's height, negative at night, ``(latitude, longitude)``.

    Args:
        grid: grid of the result.
        day: day, whose declination is used.
        hour: hour of the day, UTC.
    """
    hour_angle = hour * (2 * np.pi / 24) + grid.longitude - np.pi
    height = np.cos(grid.latitude) * np.cos(day.declination) * np.cos(hour_angle)
    return height + np.sin(grid.latitude) * np.sin(day.declination)


def land_warming(grid: Grid, planet: Planet, day: Day, hour: float) -> Array:
    """Warming of land by the time of day in kelvin, with a daily mean of zero.

    The temperature follows the sun by 2.2 hours.
    """
    return planet.land_sea_mask * 15 * (np.clip(sun(grid, day, hour - 2.2), 0, None) - day.mean_sun)
