"""Geometry of the output grid: slopes, smoothing, and advection along the wind."""

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from weatherpeft.sources.toy.dynamics import EARTH_RADIUS
from weatherpeft.sources.toy.spectral import Array

_HALO = 3


class Grid:
    """Equally spaced rows from the north to the south pole, and columns from 0 degrees.

    Attributes:
        latitudes_deg: latitudes in degrees, ``(latitude,)``.
        longitudes_deg: longitudes in degrees, ``(longitude,)``.
        latitude: latitudes in radians, ``(latitude, 1)``.
        longitude: longitudes in radians, ``(1, longitude)``.
        cosine: cosine of latitude, at least 1e-6, ``(latitude, 1)``.
    """

    def __init__(self, resolution_deg: float) -> None:
        self.resolution_deg = resolution_deg
        self.latitudes_deg = 90 - resolution_deg * np.arange(round(180 / resolution_deg) + 1)
        self.longitudes_deg = resolution_deg * np.arange(round(360 / resolution_deg))
        self.latitude = np.deg2rad(self.latitudes_deg)[:, None]
        self.longitude = np.deg2rad(self.longitudes_deg)[None, :]
        self.cosine = np.maximum(np.cos(self.latitude), 1e-6)
        self._spacing = EARTH_RADIUS * np.deg2rad(resolution_deg)
        zero = np.zeros(self.shape)
        sine, cosine = np.sin(self.latitude), np.cos(self.latitude)
        east_sine, east_cosine = np.sin(self.longitude), np.cos(self.longitude)
        self._upward = np.stack([cosine * east_cosine, cosine * east_sine, sine + zero])
        self._eastward = np.stack([zero - east_sine, zero + east_cosine, zero])
        self._northward = np.stack([-sine * east_cosine, -sine * east_sine, cosine + zero])

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and columns."""
        return len(self.latitudes_deg), len(self.longitudes_deg)

    def smooth(self, field: Array, cells: float) -> Array:
        """Smooth a field with a Gaussian of a standard deviation in cells."""
        return gaussian_filter(field, cells, mode=("nearest", "wrap"))

    def slopes(self, field: Array) -> tuple[Array, Array]:
        """Derivatives to the east and to the north per meter; the latter is zero at the poles."""
        width = 2 * self._spacing
        eastward = (np.roll(field, -1, 1) - np.roll(field, 1, 1)) / (width * np.maximum(self.cosine, 0.05))
        northward = np.zeros_like(eastward)
        northward[1:-1] = (field[:-2] - field[2:]) / width
        return eastward, northward

    def close_poles(self, field: Array) -> Array:
        """Replace the pole rows of a scalar in place by the means of the rows beside them."""
        field[0], field[-1] = field[1].mean(), field[-2].mean()
        return field

    def close_wind_poles(self, zonal: Array, meridional: Array) -> None:
        """Set the pole rows in place to the mean wind vectors of the rows beside them."""
        for pole, beside in ((0, 1), (-1, -2)):
            vector = (
                zonal[beside] * self._eastward[:, beside] + meridional[beside] * self._northward[:, beside]
            )
            mean = vector.mean(1)
            zonal[pole] = mean @ self._eastward[:, pole]
            meridional[pole] = mean @ self._northward[:, pole]

    def departure_points(self, zonal: Array, meridional: Array, seconds: float) -> Array:
        """Earlier places of the air at each grid point, along great circles.

        Args:
            zonal: eastward wind in m/s, ``(latitude, longitude)``.
            meridional: northward wind in m/s, ``(latitude, longitude)``.
            seconds: time to go back.

        Returns:
            Fractional rows and columns, ``(2, latitude, longitude)``.
        """
        displacement = zonal * self._eastward + meridional * self._northward
        point = self._upward - (seconds / EARTH_RADIUS) * displacement
        point /= np.sqrt((point * point).sum(0))
        latitude_deg = np.rad2deg(np.arcsin(np.clip(point[2], -1, 1)))
        longitude_deg = np.rad2deg(np.arctan2(point[1], point[0])) % 360
        return np.stack([90 - latitude_deg, longitude_deg]) / self.resolution_deg

    def interpolate(self, field: Array, points: Array) -> Array:
        """Interpolate a scalar cubically at fractional rows and columns, across the poles."""
        half = field.shape[1] // 2
        north = np.roll(field[1 : _HALO + 1], half, 1)[::-1]
        south = np.roll(field[-_HALO - 1 : -1], half, 1)[::-1]
        padded = np.concatenate([north, field, south])
        padded = np.concatenate([padded[:, -_HALO:], padded, padded[:, :_HALO]], 1)
        return map_coordinates(padded, points + _HALO, order=3, mode="nearest")
