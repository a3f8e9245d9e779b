"""Mergeable weighted moments in float64."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

RESOLUTION = 2.0**-26
"""Smallest standard deviation relative to the mean: a quarter of the last bit of float32."""


@dataclass(frozen=True)
class Moments:
    """Weight, mean and sum of squared deviations of one or more quantities.

    Moments of parts, such as times, months or ranks, merge exactly to the moments of the whole (Chan,
    Golub and LeVeque 1983).

    Attributes:
        weight: total weight, a scalar or an array like ``mean``.
        mean: weighted mean.
        squares: weighted sum of squared deviations from the mean.
    """

    weight: np.ndarray
    mean: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, weights: np.ndarray, axis: int | tuple[int, ...]) -> Self:
        """Compute moments along axes.

        Args:
            values: array of any shape; NaN has no weight.
            weights: broadcastable to ``values``.
            axis: axis or axes to reduce.
        """
        values = np.asarray(values, dtype=np.float64)
        weights = np.where(np.isnan(values), 0, weights)
        return cls(weights, values, np.zeros(())).merged(axis)

    @classmethod
    def stacked(cls, parts: Sequence["Moments"]) -> Self:
        """Stack moments of the same shape along a new first axis."""
        return cls(
            np.stack([part.weight for part in parts]),
            np.stack([part.mean for part in parts]),
            np.stack([part.squares for part in parts]),
        )

    def merged(self, axis: int | tuple[int, ...]) -> Self:
        """Merge the moments along axes; the result is NaN where they have no weight.

        Args:
            axis: axis or axes of ``mean`` to reduce.
        """
        weight = np.broadcast_to(self.weight, self.mean.shape)
        mean = np.where(weight == 0, 0, self.mean)  # without values the mean is NaN
        squares = np.where(weight == 0, 0, self.squares)
        total = weight.sum(axis=axis, keepdims=True)
        with np.errstate(invalid="ignore"):
            center = (weight * mean).sum(axis=axis, keepdims=True) / total
        squares = (squares + weight * (mean - center) ** 2).sum(axis=axis)
        return type(self)(total.reshape(squares.shape), center.reshape(squares.shape), squares)

    @property
    def standard_deviation(self) -> np.ndarray:
        """Square root of the weighted mean squared deviation; zero where it is only rounding.

        Values are float32. What varies by less than their resolution at the mean is constant, and sums of a
        constant round.
        """
        with np.errstate(invalid="ignore"):
            deviation = np.sqrt(self.squares / self.weight)
            return np.where(deviation <= RESOLUTION * np.abs(self.mean), 0.0, deviation)
