"""Spherical harmonics with triangular truncation, on any rows of latitude.

A field is the real part of a sum over order and degree, ``coefficient · P(order, degree, sin latitude)
· exp(i · order · longitude)``; the Legendre functions have unit norm, the integral of ``P²`` over the
sine of latitude is 1. Coefficients have the shape ``(..., order, degree)`` and vanish where degree < order.
The recurrences are those of any textbook, for example Washington and Parkinson (2005), chapter 4.
"""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.fft

Array: TypeAlias = npt.NDArray[Any]


def coupling(truncation: int) -> Array:
    """The factor in ``μ·P(m, n) = ε(m, n+1)·P(m, n+1) + ε(m, n)·P(m, n-1)``.

    Returns:
        The factor ``ε``, ``(order, degree)`` with degrees up to ``truncation + 1``.
    """
    order = np.arange(truncation + 1.0)[:, None]
    degree = np.arange(truncation + 2.0)[None, :]
    square = np.maximum(degree**2 - order**2, 0) / np.abs(4 * degree**2 - 1)
    return np.sqrt(square)


def legendre(truncation: int, sine_of_latitude: Array) -> tuple[Array, Array]:
    """Associated Legendre functions of unit norm, and their derivatives along the meridian.

    Args:
        truncation: highest order and degree.
        sine_of_latitude: sine of latitude ``μ``, ``(latitude,)``.

    Returns:
        ``P`` and ``(1 - μ²)·dP/dμ``, each ``(order, latitude, degree)``.
    """
    mu = np.asarray(sine_of_latitude, np.float64)
    epsilon = coupling(truncation)
    count = truncation + 1
    values = np.zeros((count, len(mu), count + 1))
    diagonal = np.full(len(mu), np.sqrt(0.5))
    for order in range(count):
        if order > 0:
            diagonal = diagonal * np.sqrt((2 * order + 1) / (2 * order)) * np.sqrt(1 - mu**2)
        values[order, :, order] = diagonal
        values[order, :, order + 1] = mu * diagonal / epsilon[order, order + 1]
        for degree in range(order + 2, count + 1):
            below = epsilon[order, degree - 1] * values[order, :, degree - 2]
            values[order, :, degree] = (mu * values[order, :, degree - 1] - below) / epsilon[order, degree]
    slopes = np.zeros((count, len(mu), count))
    for degree in range(count):
        slopes[:, :, degree] = -degree * epsilon[:, degree + 1, None] * values[:, :, degree + 1]
        if degree > 0:
            slopes[:, :, degree] += (degree + 1) * epsilon[:, degree, None] * values[:, :, degree - 1]
    return values[:, :, :count].copy(), slopes


class Synthesis:
    """Synthesis of grid values in float32 from spherical-harmonic coefficients.

    Attributes:
        truncation: highest order and degree.
        latitudes_deg: latitudes of the rows in degrees, in any order, ``(latitude,)``.
        longitudes: number of columns, equally spaced from 0 degrees.
        zonal: factor ``i · order`` that turns coefficients into those of the derivative in longitude,
            ``(order, 1)``.
        laplacian: factor ``-degree · (degree + 1)`` of the Laplacian on the unit sphere, ``(degree,)``.
    """

    def __init__(self, truncation: int, latitudes_deg: Array, longitudes: int) -> None:
        self.truncation = truncation
        self.latitudes_deg = np.asarray(latitudes_deg, np.float64)
        self.longitudes = longitudes
        values, slopes = legendre(truncation, np.sin(np.deg2rad(self.latitudes_deg)))
        self._values = values.astype(np.float32)
        self._slopes = slopes.astype(np.float32)
        degree = np.arange(truncation + 1)
        self.zonal = (1j * degree[:, None]).astype(np.complex64)
        self.laplacian = (-degree * (degree + 1.0)).astype(np.float32)

    def grid(self, coefficients: Array) -> Array:
        """Grid values of fields.

        Args:
            coefficients: coefficients, ``(field, order, degree)``.

        Returns:
            Values in float32, ``(field, latitude, longitude)``.
        """
        return self._inverse_fourier(self._sum_degrees(self._values, coefficients))

    def meridional_slope(self, coefficients: Array) -> Array:
        """Derivative in latitude times cosine of latitude, on the unit sphere; shapes as in ``grid``."""
        return self._inverse_fourier(self._sum_degrees(self._slopes, coefficients))

    def zonal_slope(self, coefficients: Array) -> Array:
        """Derivative in longitude, with the shapes of ``grid``."""
        return self.grid(coefficients * self.zonal)

    @staticmethod
    def _sum_degrees(functions: Array, coefficients: Array) -> Array:
        stacked = np.ascontiguousarray(coefficients.transpose(1, 2, 0), np.complex64).view(np.float32)
        rows = functions @ stacked
        return rows.view(np.complex64).transpose(2, 1, 0)

    def _inverse_fourier(self, waves: Array) -> Array:
        return scipy.fft.irfft(waves, n=self.longitudes, axis=-1, norm="forward")


class GaussianTransform(Synthesis):
    """Synthesis on a Gaussian grid from south to north, and its inverse.

    The grid has half as many rows as columns and at least three columns per wave, so that products of two
    fields are free of aliasing.

    Attributes:
        sine_of_latitude: sine of latitude ``μ`` of the rows, ``(latitude,)``.
    """

    COLUMNS = {21: 64, 31: 96, 42: 128, 63: 192}

    def __init__(self, truncation: int) -> None:
        longitudes = self.COLUMNS[truncation]
        self.sine_of_latitude, weights = np.polynomial.legendre.leggauss(longitudes // 2)
        super().__init__(truncation, np.rad2deg(np.arcsin(self.sine_of_latitude)), longitudes)
        values, _ = legendre(truncation, self.sine_of_latitude)
        weighted = (values * weights[:, None]).transpose(0, 2, 1)
        self._projection = np.ascontiguousarray(weighted, np.float32)

    @property
    def longitudes_deg(self) -> Array:
        """Longitudes of the columns in degrees, ``(longitude,)``."""
        return np.arange(self.longitudes) * (360.0 / self.longitudes)

    def analyze(self, fields: Array) -> Array:
        """Coefficients of fields.

        Args:
            fields: grid values, ``(field, latitude, longitude)``.

        Returns:
            Coefficients in complex64, ``(field, order, degree)``.
        """
        waves = scipy.fft.rfft(fields, axis=-1, norm="forward")[..., : self.truncation + 1]
        stacked = np.ascontiguousarray(waves.transpose(2, 1, 0), np.complex64).view(np.float32)
        columns = (self._projection @ stacked).view(np.complex64)
        return np.ascontiguousarray(columns.transpose(2, 0, 1))


def resize(coefficients: Array, truncation: int) -> Array:
    """Cut coefficients ``(..., order, degree)`` to another truncation, or pad them with zeros."""
    count = truncation + 1
    kept = min(count, coefficients.shape[-1])
    resized = np.zeros((*coefficients.shape[:-2], count, count), coefficients.dtype)
    resized[..., :kept, :kept] = coefficients[..., :kept, :kept]
    return resized
