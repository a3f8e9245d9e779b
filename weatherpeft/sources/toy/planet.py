"""The planet's surface, made from two tables and noise: coasts, mountains, soils and sea, on any grid.

The tables place ellipses roughly where the Earth has continents and mountains, and fractal noise on the
sphere frays them. No data file is needed.
"""

from dataclasses import dataclass

import numpy as np

from weatherpeft.sources.toy.spectral import Array, Synthesis

NOISE_TRUNCATION = 85

# center latitude, center longitude, half height, half width, tilt: degrees
_CONTINENTS = (
    (52, -102, 17, 28, -10),
    (66, -60, 9, 14, 0),
    (28, -103, 9, 9, 30),
    (16, -90, 4, 7, 30),
    (73, -41, 9, 14, 0),
    (-6, -60, 13, 16, 0),
    (-28, -64, 17, 8, 8),
    (-46, -70, 8, 4, 8),
    (12, 8, 22, 24, 0),
    (20, 25, 14, 17, 0),
    (-8, 25, 26, 12, 0),
    (52, 30, 13, 30, -6),
    (41, -4, 4, 6, 0),
    (63, 18, 9, 8, -30),
    (60, 90, 15, 50, 0),
    (42, 85, 13, 40, 0),
    (22, 78, 13, 8, 0),
    (30, 108, 13, 14, 0),
    (24, 46, 10, 9, -30),
    (14, 103, 9, 6, 0),
    (66, 150, 7, 26, 0),
    (-25, 134, 10, 18, 0),
    (0, 114, 5, 6, 0),
    (-5, 141, 4, 8, 15),
    (37, 138, 4, 3, -40),
    (-43, 171, 4, 2, -40),
    (-20, 47, 6, 2.5, -20),
    (54, -2, 4, 3, 0),
    (65, -19, 2.5, 4, 0),
)

# the same, and the height in meters
_MOUNTAINS = (
    (45, -112, 18, 5, -22, 2300),
    (24, -102, 7, 4, -25, 1800),
    (-18, -69, 20, 3.0, 5, 3600),
    (-42, -72, 10, 2, 4, 1600),
    (0, -77, 7, 3, -10, 2500),
    (33, 86, 5, 13, 0, 4600),
    (42, 78, 4, 9, 20, 2800),
    (46, 10, 2, 6, 8, 1900),
    (42, 44, 2, 5, -10, 2000),
    (33, 50, 3, 8, -30, 1700),
    (9, 39, 6, 4, 0, 2000),
    (-5, 33, 10, 4, 0, 1300),
    (-29, 28, 4, 4, 0, 1700),
    (73, -40, 9, 12, 0, 2600),
    (62, 10, 6, 2.5, -35, 1300),
    (60, 60, 9, 2, 0, 700),
    (52, 100, 6, 14, 10, 1500),
    (64, 140, 6, 12, 0, 1200),
    (-4, 140, 2, 6, 15, 2600),
    (38, -4, 3, 5, 0, 900),
    (60, -150, 4, 8, 10, 1600),
)


@dataclass(frozen=True)
class Planet:
    """Surface fields, each ``(latitude, longitude)`` in float32.

    Attributes:
        land_sea_mask: fraction of land, 0…1.
        height: height of the surface above the sea in meters.
        wetness: wetness of the soil, 0.1…1.
        sea_surface_anomaly: departure of the sea surface temperature from its zonal mean in kelvin.
        soil_type: ECMWF's soil types, 1 (coarse) … 7 (tropical organic) over land and 0 over sea.
    """

    land_sea_mask: Array
    height: Array
    wetness: Array
    sea_surface_anomaly: Array
    soil_type: Array


def noise_synthesis(latitudes_deg: Array, longitudes: int) -> Synthesis:
    """The synthesis of noise on a grid, up to the degrees that the grid can carry."""
    return Synthesis(min(NOISE_TRUNCATION, longitudes // 2 - 1), latitudes_deg, longitudes)


def noise(synthesis: Synthesis, slope: float, generator: np.random.Generator) -> Array:
    """An isotropic Gaussian field on the sphere, with unit variance at full truncation.

    The power by degree falls as ``(degree + 4)^slope``. The same generator gives the same field on
    every grid, up to the degrees that the grid can carry.

    Returns:
        Field in float32, ``(latitude, longitude)``.
    """
    count = NOISE_TRUNCATION + 1
    degree = np.arange(count)
    amplitude = np.sqrt((degree + 4.0) ** slope / (2 * degree + 1))
    amplitude[0] = 0
    draws = generator.standard_normal((2, count, count), np.float32)
    coefficients = np.triu(draws[0] + 1j * draws[1]) * amplitude
    coefficients[0] = coefficients[0].real * np.sqrt(2)
    power = np.abs(coefficients) ** 2
    variance = power.sum() - 0.5 * power[0].sum()
    kept = synthesis.truncation + 1
    return synthesis.grid(coefficients[None, :kept, :kept] / np.sqrt(variance))[0]


def make_planet(latitudes_deg: Array, longitudes_deg: Array, seed: int) -> Planet:
    """Make the planet of a seed on a grid.

    Args:
        latitudes_deg: latitudes in degrees, with or without poles, ``(latitude,)``.
        longitudes_deg: longitudes in degrees, equally spaced from 0, ``(longitude,)``.
        seed: seed of the noise.
    """
    latitude, longitude = np.meshgrid(latitudes_deg, longitudes_deg, indexing="ij")
    synthesis = noise_synthesis(latitudes_deg, len(longitudes_deg))

    def fray(slope: float, number: int) -> Array:
        return noise(synthesis, slope, np.random.default_rng([seed, number]))

    distance = np.full(latitude.shape, 9.0)
    for ellipse in _CONTINENTS:
        distance = np.minimum(distance, _distance(latitude, longitude, *ellipse))
    distance = np.minimum(distance, (90 + latitude) / 21)
    inland = 1 - np.sqrt(distance) + 0.16 * fray(-2.2, 0)
    land = np.round(1 / (1 + np.exp(-np.clip(inland / 0.035, -40, 40))), 3)

    ridges = np.clip(0.45 + 0.65 * (1 - np.abs(fray(-2.0, 1))), 0, None)
    ranges = np.zeros(latitude.shape)
    for north, east, high, wide, tilt, top in _MOUNTAINS:
        away = _distance(latitude, longitude, north, east, high, wide, tilt)
        ranges = np.maximum(ranges, top * np.exp(-(away**1.2)))
    height = (ranges * ridges + 250 + 120 * fray(-2.2, 2)) * np.clip(inland / 0.15, 0, 1)
    height = np.clip(np.maximum(height, 2800 * np.clip((-66 - latitude) / 8, 0, 1) * land), 0, None)

    wetness = np.clip(0.55 + 0.25 * fray(-2.0, 3), 0.1, 1)
    texture = np.clip(np.floor(4 + 1.5 * fray(-2.0, 5)), 1, 7)
    fields = (land, height, wetness, 1.2 * fray(-2.5, 4), np.where(land > 0.5, texture, 0))
    return Planet(*(_single_valued_poles(field, latitudes_deg) for field in fields))


def _distance(
    latitude: Array, longitude: Array, north: float, east: float, high: float, wide: float, tilt_deg: float
) -> Array:
    """Squared distance from the center of a tilted ellipse, 1 on its rim. Broad ellipses narrow poleward."""
    scale = np.cos(np.deg2rad(north))
    eastward = ((longitude - east + 180) % 360 - 180) * scale
    northward = latitude - north
    cosine, sine = np.cos(np.deg2rad(tilt_deg)), np.sin(np.deg2rad(tilt_deg))
    half_width = wide * scale if wide > 6 else wide
    along = (eastward * cosine + northward * sine) / half_width
    across = (northward * cosine - eastward * sine) / high
    return along**2 + across**2


def _single_valued_poles(field: Array, latitudes_deg: Array) -> Array:
    field = field.astype(np.float32)
    field[np.abs(latitudes_deg) > 89.999] = field[np.abs(latitudes_deg) > 89.999][:, :1]
    return field
