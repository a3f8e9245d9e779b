"""Ensemble model output statistics (EMOS): the statistical baseline of ensemble post-processing.

The forecast of a grid cell is N(a + b · mean, c + d · spread²). Each cell has its own coefficients, which
minimize the mean CRPS of the training samples.

Reference: Gneiting et al. 2005, doi:10.1175/MWR2904.1.
"""

import logging
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.special import erf

from weatherpeft.verification.probabilistic import crps_gaussian

_log = logging.getLogger(__name__)

BLOCK_VALUES = 2**18
"""Samples × cells of a block that is fitted at once; it holds about 30 float64 arrays of this size."""
MAX_STEPS = 100
"""Steps after which a search is cut off."""
TOLERANCE = 1e-6
"""The search of a cell ends when the gradient of its CRPS, in units of its residuals, is below this."""
SMALLEST_CONSTANT = 1e-8
"""Lower bound of c as a share of the residuals' variance; it keeps the variance above 0."""


@dataclass(frozen=True)
class Emos:
    """Coefficients of every cell.

    Attributes:
        intercept: a, in the units of the variable, ``(...)``.
        slope: b, ``(...)``.
        constant: c, 0 or more, in squared units, ``(...)``.
        factor: d, 0 or more, ``(...)``.
    """

    intercept: np.ndarray
    slope: np.ndarray
    constant: np.ndarray
    factor: np.ndarray

    @classmethod
    def fit(cls, mean: np.ndarray, spread: np.ndarray, target: np.ndarray) -> Self:
        """Find the coefficients with the smallest mean CRPS.

        In no cell is the CRPS of the training samples above that of N(mean, spread²). Cells are fitted in
        blocks of bounded size.

        Args:
            mean: mean of the ensemble, ``(sample, ...)``.
            spread: standard deviation of the ensemble, ``(sample, ...)``.
            target: ``(sample, ...)``.

        Raises:
            ValueError: if shapes differ, samples are too few, or a value is not finite.
        """
        if not mean.shape == spread.shape == target.shape:
            raise ValueError(f"mean has shape {mean.shape}, spread {spread.shape}, target {target.shape}")
        if len(mean) <= 4:
            raise ValueError(f"EMOS expects more samples than its 4 coefficients, found {len(mean)}")
        for name, values in (("mean", mean), ("spread", spread), ("target", target)):
            if not np.isfinite(values).all():
                raise ValueError(f"EMOS: {np.sum(~np.isfinite(values))} values of {name} are not finite")
        columns = [each.reshape(len(each), -1) for each in (mean, spread, target)]
        found = np.empty((4, columns[0].shape[1]))
        cells = max(BLOCK_VALUES // len(mean), 1)
        for first in range(0, found.shape[1], cells):
            block = slice(first, first + cells)
            found[:, block] = _fit(*(each[:, block].astype(np.float64) for each in columns))
        return cls(*found.reshape(4, *mean.shape[1:]))

    def predict(self, mean: np.ndarray, spread: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the forecast.

        Args:
            mean: mean of the ensemble, ``([sample,] ...)``.
            spread: standard deviation of the ensemble, ``([sample,] ...)``.

        Returns:
            Both ``([sample,] ...)``, in the units of the variable.
        """
        coefficients = np.stack([self.intercept, self.slope, self.constant, self.factor])
        return _forecast(coefficients, mean, np.square(spread, dtype=np.float64))


def _fit(mean: np.ndarray, spread: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Coefficients of some cells, ``(4, cell)``, from float64 arrays ``(sample, cell)``.

    The search begins at a linear regression. The ensemble mean is scaled to deviation 1, the ensemble
    variance to mean 1, the target to residuals of deviation 1; all coefficients but the slope are then of
    order 1.
    """
    center, level = mean.mean(axis=0), target.mean(axis=0)
    width, strength = _nonzero(mean.std(axis=0)), _nonzero(np.mean(spread**2, axis=0))
    x, variance = (mean - center) / width, spread**2 / strength
    slope = np.mean(x * (target - level), axis=0)
    unit = _nonzero(np.std(target - level - slope * x, axis=0))
    y = (target - level) / unit
    ones = np.ones_like(slope)
    best = _descend(np.stack([0 * ones, slope / unit, ones / 2, ones / 2]), x, variance, y)

    slope = best[1] * unit / width
    found = np.stack(
        [level + unit * best[0] - slope * center, slope, best[2] * unit**2, best[3] * unit**2 / strength]
    )
    raw = np.stack([0 * ones, ones, 0 * ones, ones])
    scores = [_score(each, mean, spread**2, target) for each in (found, raw)]
    return np.where(scores[0] <= scores[1], found, raw)


def _descend(start: np.ndarray, x: np.ndarray, variance: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Levenberg-Marquardt search of each cell, within the bounds of c and d, ``(4, cell)``."""
    best, score = start.copy(), _score(start, x, variance, y)
    damping = np.full(score.size, 1e-3)
    cells = np.arange(score.size)
    for _ in range(MAX_STEPS):
        parts = [each[:, cells] for each in (x, variance, y)]
        tried, slope = _step(best[:, cells], damping[cells], *parts)
        found = _score(tried, *parts)
        better = found < score[cells]
        best[:, cells[better]], score[cells[better]] = tried[:, better], found[better]
        damping[cells] = np.maximum(damping[cells] * np.where(better, 0.1, 10), 1e-9)
        cells = cells[(slope > TOLERANCE) & (damping[cells] < 1e9)]
        if cells.size == 0:
            return best
    _log.warning(
        "EMOS: %d of %d cells are not at a minimum after %d steps", cells.size, score.size, MAX_STEPS
    )
    return best


def _step(
    at: np.ndarray, damping: np.ndarray, x: np.ndarray, variance: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients after one damped Gauss-Newton step, ``(4, cell)``, and the gradient's size before it.

    With z = error / sigma, the CRPS is a convex function of (error, sigma) with the Hessian
    2 φ(z) / sigma · (1, -z)(1, -z)ᵀ. The step leaves out the curvature of sigma itself, which averages to 0
    for a calibrated forecast.
    """
    center, sigma = _forecast(at, x, variance)
    z = (y - center) / sigma
    density = np.exp(-(z**2) / 2) * np.sqrt(2 / np.pi)
    by_center, by_sigma = -erf(z / np.sqrt(2)), density - 1 / np.sqrt(np.pi)
    by_variance = by_sigma / (2 * sigma)
    gradient = np.stack(
        [each.mean(axis=0) for each in (by_center, by_center * x, by_variance, by_variance * variance)],
        axis=-1,
    )
    ones = np.ones_like(x)
    direction = np.stack([ones, x, z / (2 * sigma), z / (2 * sigma) * variance])
    hessian = np.einsum("nc,inc,jnc->cij", density / sigma, direction, direction, optimize=True) / len(x)

    floor = np.array([-np.inf, -np.inf, SMALLEST_CONSTANT, 0])
    fixed = (at.T <= floor) & (gradient > 0)
    gradient[fixed] = 0
    hessian[fixed[:, :, None] | fixed[:, None, :]] = 0
    scale = damping * (1 + np.trace(hessian, axis1=1, axis2=2))
    hessian += scale[:, None, None] * np.eye(4)
    tried = np.maximum(at.T - np.linalg.solve(hessian, gradient[..., None])[..., 0], floor)
    return tried.T, np.abs(gradient).max(axis=1)


def _forecast(at: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return at[0] + at[1] * mean, np.sqrt(at[2] + at[3] * variance)


def _score(at: np.ndarray, mean: np.ndarray, variance: np.ndarray, target: np.ndarray) -> np.ndarray:
    score: np.ndarray = crps_gaussian(*_forecast(at, mean, variance), target).mean(axis=0)
    return score


def _nonzero(scale: np.ndarray) -> np.ndarray:
    return np.where(scale == 0, 1, scale)
