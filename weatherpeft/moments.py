"""Mergeable weighted moments in float64."""

from dataclasses import dataclass
from typing import Self

import numpy as np


@dataclass(frozen=True)
class Moments:
    """Weight, mean and sum of squared deviations of one or more quantities.

    Two of them merge exactly (Chan, Golub and LeVeque 1983), so that parts computed apart, by month
    or by rank, give the moments of the whole.

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
        """Moments along axes.

        Args:
            values: any shape.
            weights: broadcastable to ``values``.
            axis: axes to reduce.
        """
        values = np.asarray(values, dtype=np.float64)
        spread = np.broadcast_to(np.asarray(weights, dtype=np.float64), values.shape)
        total = spread.sum(axis=axis)
        mean = (spread * values).sum(axis=axis, keepdims=True) / spread.sum(axis=axis, keepdims=True)
        squares = (spread * (values - mean) ** 2).sum(axis=axis)
        return cls(total, mean.reshape(total.shape), squares)

    def __add__(self, other: "Moments") -> "Moments":
        """Moments of both parts together."""
        weight = self.weight + other.weight
        difference = other.mean - self.mean
        return Moments(
            weight,
            self.mean + difference * (other.weight / weight),
            self.squares + other.squares + difference**2 * (self.weight * other.weight / weight),
        )

    @property
    def standard_deviation(self) -> np.ndarray:
        """Root of the weighted mean squared deviation."""
        return np.sqrt(self.squares / self.weight)
