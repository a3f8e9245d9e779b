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
        ``ε``, ``(order, degree)`` with degrees up to ``truncation + 1``.
    """
    order = np.arange(truncation + 1.0)[:, None]
    degree = np.arange(truncation + 2.0)[None, :]
    square = np.maximum(degree**2 - order**2, 0) / np.abs(4 * degree**2 - 1)
    return np.sqrt(square)


def legendre(truncation: int, sine_of_latitude: Array) -> tuple[Array, Array]:
    """Associated Legendre functions of unit norm, and their derivative along the meridian.

    Args:
        truncation: highest order and degree.
        sine_of_latitude: ``μ``, ``(latitude,)``.

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
    """From coefficients to grid values, in float32.

    Attributes:
        truncation: highest order and degree.
        latitudes_deg: rows, in any order, ``(latitude,)``.
        longitudes: number of columns, equally spaced from 0 degrees.
        zonal: ``i · order``, ``(order, 1)``: times it, coefficients give the derivative in longitude.
        laplacian: ``-degree · (degree + 1)``, ``(degree,)``, on the unit sphere.
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
        """Values of fields.

        Args:
            coefficients: ``(field, order, degree)``.

        Returns:
            ``(field, latitude, longitude)``, float32.
        """
        return self._inverse_fourier(self._sum_degrees(self._values, coefficients))

    def meridional_slope(self, coefficients: Array) -> Array:
        """Derivative in latitude times the cosine of latitude, on the unit sphere; shapes as in ``grid``."""
        return self._inverse_fourier(self._sum_degrees(self._slopes, coefficients))

    def zonal_slope(self, coefficients: Array) -> Array:
        """Derivative in longitude; shapes as in ``grid``."""
        return self.grid(coefficients * self.zonal)

    @staticmethod
    def _sum_degrees(functions: Array, coefficients: Array) -> Array:
        stacked = np.ascontiguousarray(coefficients.transpose(1, 2, 0), np.complex64).view(np.float32)
        rows = functions @ stacked
        return rows.view(np.complex64).transpose(2, 1, 0)

    def _inverse_fourier(self, waves: Array) -> Array:
        return scipy.fft.irfft(waves, n=self.longitudes, axis=-1, norm="forward")


class GaussianTransform(Synthesis):
    """Synthesis on a Gaussian grid, south to north, and its inverse.

    The grid has half as many rows as columns and at least three columns a wave, so that products of
    two fields come back without aliasing.

    Attributes:
        sine_of_latitude: ``μ`` of the rows, ``(latitude,)``.
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
        """Columns, ``(longitude,)``."""
        return np.arange(self.longitudes) * (360.0 / self.longitudes)

    def analyze(self, fields: Array) -> Array:
        """Coefficients of fields.

        Args:
            fields: ``(field, latitude, longitude)``.

        Returns:
            ``(field, order, degree)``, complex64.
        """
        waves = scipy.fft.rfft(fields, axis=-1, norm="forward")[..., : self.truncation + 1]
        stacked = np.ascontiguousarray(waves.transpose(2, 1, 0), np.complex64).view(np.float32)
        columns = (self._projection @ stacked).view(np.complex64)
        return np.ascontiguousarray(columns.transpose(2, 0, 1))


def resize(coefficients: Array, truncation: int) -> Array:
    """Cut off or pad with zeros to another truncation, ``(..., order, degree)``."""
    count = truncation + 1
    kept = min(count, coefficients.shape[-1])
    resized = np.zeros((*coefficients.shape[:-2], count, count), coefficients.dtype)
    resized[..., :kept, :kept] = coefficients[..., :kept, :kept]
    return resized
