"""Diagnosis of the output fields from the state of the atmosphere."""

import numpy as np

from weatherpeft.sources.toy.atmosphere import Atmosphere
from weatherpeft.sources.toy.spectral import Array
from weatherpeft.sources.toy.vertical import (
    GAS_CONSTANT,
    GRAVITY,
    depth,
    saturation_humidity,
    tracer_share,
    tracer_thickness,
)

ATMOSPHERIC = (
    "temperature",
    "u_component_of_wind",
    "v_component_of_wind",
    "specific_humidity",
    "geopotential",
    "vertical_velocity",
)
SURFACE = (
    "2m_temperature",
    "10m_u_component_of_wind",
    "10m_v_component_of_wind",
    "mean_sea_level_pressure",
    "surface_pressure",
    "total_cloud_cover",
    "total_column_water_vapour",
)
STATIC = ("land_sea_mask", "geopotential_at_surface", "soil_type")

_SUMMER_WARMTH = 7.5
_WINTER_COLD = 4.0
_ALOFT_HPA = np.array([250, 500, 700, 850])
_ALOFT_MOISTURE = np.array([0.45, 0.6, 0.8, 1.0])
_ALOFT_DRYING = np.array([0.6, 0.9, 0.5, 0.0])
_BELOW_HPA = np.array([850, 925])
_BELOW_MOISTURE = np.array([1.0, 1.22])
_VAPOR_DEPTH_PA = 30000.0


def level_fields(atmosphere: Atmosphere, pressure_hpa: int) -> dict[str, Array]:
    """Every field of ``ATMOSPHERIC`` at a pressure in SI units, ``(latitude, longitude)``."""
    anomaly = atmosphere.temperature_anomaly
    temperature = atmosphere.balanced_temperature(pressure_hpa) + tracer_share(pressure_hpa) * anomaly
    height = atmosphere.balanced_height(pressure_hpa)
    height -= GAS_CONSTANT / GRAVITY * tracer_thickness(pressure_hpa) * anomaly
    zonal, meridional = atmosphere.wind(pressure_hpa)
    return {
        "temperature": temperature,
        "u_component_of_wind": zonal,
        "v_component_of_wind": meridional,
        "specific_humidity": _humidity(atmosphere, temperature, pressure_hpa),
        "geopotential": height * GRAVITY,
        "vertical_velocity": np.sin(np.pi * pressure_hpa / 1000) * atmosphere.vertical_motion,
    }


def surface_fields(atmosphere: Atmosphere) -> dict[str, Array]:
    """Every field of ``SURFACE`` in SI units, ``(latitude, longitude)``."""
    planet = atmosphere.planet
    lowest = level_fields(atmosphere, 925)
    height = lowest["geopotential"] / GRAVITY
    wind_speed = np.hypot(lowest["u_component_of_wind"], lowest["v_component_of_wind"])
    cloud = np.clip((atmosphere.relative_humidity - 0.55) / 0.4, 0, 1)
    temperature = _temperature_2m(atmosphere, lowest["temperature"], height, wind_speed, cloud)
    zonal, meridional = _wind_10m(
        atmosphere, lowest["u_component_of_wind"], lowest["v_component_of_wind"], cloud
    )
    below = lowest["temperature"] + 0.5 * 6.5e-3 * height
    sea_level = 92500 * np.exp(GRAVITY * height / (GAS_CONSTANT * below))
    column = GAS_CONSTANT * (temperature + 3e-3 * planet.height)
    return {
        "2m_temperature": temperature,
        "10m_u_component_of_wind": zonal,
        "10m_v_component_of_wind": meridional,
        "mean_sea_level_pressure": sea_level,
        "surface_pressure": sea_level * np.exp(-GRAVITY * planet.height / column),
        "total_cloud_cover": cloud,
        "total_column_water_vapour": _VAPOR_DEPTH_PA / GRAVITY * atmosphere.humidity,
    }


def static_fields(atmosphere: Atmosphere) -> dict[str, Array]:
    """Every field of ``STATIC`` in SI units, ``(latitude, longitude)``."""
    planet = atmosphere.planet
    return {
        "land_sea_mask": planet.land_sea_mask,
        "geopotential_at_surface": planet.height * GRAVITY,
        "soil_type": planet.soil_type,
    }


def _humidity(atmosphere: Atmosphere, temperature: Array, pressure_hpa: float) -> Array:
    """Specific humidity at a pressure.

    The mixing ratio grows from 850 hPa downwards. Above, the relative humidity falls and follows the ascent.
    """
    saturated = saturation_humidity(temperature, pressure_hpa)
    position = float(depth(pressure_hpa))
    if pressure_hpa >= 850:
        below = depth(_BELOW_HPA)
        growth = (_BELOW_MOISTURE[1] - _BELOW_MOISTURE[0]) / (below[1] - below[0])
        humidity = atmosphere.humidity * (1 + growth * (position - below[0]))
    else:
        moisture = np.interp(position, depth(_ALOFT_HPA), _ALOFT_MOISTURE)
        drying = np.interp(position, depth(_ALOFT_HPA), _ALOFT_DRYING)
        relative = atmosphere.relative_humidity * moisture - drying * atmosphere.vertical_motion
        humidity = np.clip(relative, 0.04, 1) * saturated
    return np.minimum(humidity, saturated)


def _temperature_2m(
    atmosphere: Atmosphere, temperature: Array, height: Array, wind_speed: Array, cloud: Array
) -> Array:
    """Temperature at 2 m, from that at 925 hPa.

    Over land the time of day, winter inversions and a seasonal term are added. Over sea the temperature of
    the sea surface dominates.
    """
    planet, day = atmosphere.planet, atmosphere.day
    land = planet.land_sea_mask
    air = temperature + 5.8e-3 * np.clip(height - planet.height, -4500, 1200)
    physics = atmosphere.physics
    daily = physics.daily_cycle * atmosphere.land_warming() * (1 - 0.55 * cloud) * (1 + 1e-4 * planet.height)
    daily *= (1.15 - 0.6 * planet.wetness) / (1 + wind_speed / 25)
    inversion = (
        physics.inversion
        * -5
        * np.clip(day.winter, 0, 1)
        * land
        * np.exp(-wind_speed / 6)
        * (1 - 0.6 * cloud)
    )
    season = land * np.where(day.winter < 0, -_SUMMER_WARMTH * day.winter, -_WINTER_COLD * day.winter)
    sea = day.sea_surface_temperature
    ice = np.clip(272.4 - sea, 0, 1)
    marine = (0.7 - 0.5 * ice) * sea + (0.3 + 0.5 * ice) * air
    return land * (air + daily + inversion + season + physics.land_warmth) + (1 - land) * marine


def _wind_10m(atmosphere: Atmosphere, zonal: Array, meridional: Array, cloud: Array) -> tuple[Array, Array]:
    """Wind at 10 m: that at 925 hPa with friction, blocking by slopes, sea breezes and slope winds."""
    grid, planet = atmosphere.grid, atmosphere.planet
    land = planet.land_sea_mask
    slowing = land * atmosphere.land_slowing + (1 - land) * 0.78
    turning = np.deg2rad(land * 27 + (1 - land) * 12)
    turning = turning * np.tanh(np.rad2deg(grid.latitude) / 8)
    east = slowing * (zonal * np.cos(turning) - meridional * np.sin(turning))
    north = slowing * (zonal * np.sin(turning) + meridional * np.cos(turning))

    rise_east, rise_north = atmosphere.rise_east, atmosphere.rise_north
    steepness = np.hypot(rise_east, rise_north) + 1e-9
    upslope = (east * rise_east + north * rise_north) / steepness
    blocked = 0.7 * np.tanh(steepness / 0.003) * np.maximum(upslope, 0)
    daily = atmosphere.land_warming() * (1 - 0.5 * cloud) / np.maximum(land, 0.05)
    east += daily * (3.5e4 * atmosphere.coast_east + 60 * rise_east) - blocked * rise_east / steepness
    north += daily * (3.5e4 * atmosphere.coast_north + 60 * rise_north) - blocked * rise_north / steepness
    grid.close_wind_poles(east, north)
    return east, north
