"""Verification scores of fields.

Every score is that of one time, so that parts computed apart, by time or month, go together: the score of
a period is the mean over its times. What is not a mean itself is made from such means at the end:
``root_of_time_mean``, ``probabilistic.spread_skill_ratio``, ``precipitation_scores.forecast_given_observed``.
"""

import numpy as np


def area_weighted_mean(
    values: np.ndarray, weights: np.ndarray, where: np.ndarray | None = None
) -> np.ndarray:
    """Mean over the cells of a grid by their area.

    Args:
        values: ``(..., latitude, longitude)``.
        weights: area weights, ``(latitude,)``; a region's are its part of the global grid's.
        where: cells that count, broadcastable to ``values``; None for all of them.

    Returns:
        ``(...)``, in the units of ``values``.

    Raises:
        ValueError: if no cell counts.
    """
    if where is None:
        total = weights.sum() * values.shape[-1]
        mean: np.ndarray = (values * weights[:, None]).sum(axis=(-2, -1)) / total
        return mean
    shares = np.broadcast_to(np.where(where, weights[:, None], 0), values.shape)
    total = shares.sum(axis=(-2, -1))
    if not np.all(total > 0):
        raise ValueError(f"expected a cell or more that counts, found none of {values.shape[-2:]}")
    mean = np.where(where, values * shares, 0).sum(axis=(-2, -1)) / total
    return mean


def latitude_weighted_mse(prediction: np.ndarray, target: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area-weighted mean squared error of one time, in squared units; arguments as of the RMSE."""
    return area_weighted_mean(difference(prediction, target) ** 2, weights)


def latitude_weighted_rmse(prediction: np.ndarray, target: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Root of the area-weighted mean squared error of one time.

    The score of a period is the mean of this over its times (METHOD: the root is taken before averaging).

    Args:
        prediction: ``(..., latitude, longitude)``.
        target: likewise.
        weights: area weights with mean 1, ``(latitude,)``.

    Returns:
        ``(...)``, in the field's units.
    """
    return np.sqrt(latitude_weighted_mse(prediction, target, weights))


def root_of_time_mean(squared: np.ndarray, axis: int = 0) -> np.ndarray:
    """RMSE of a period whose root is taken after averaging over its times.

    Args:
        squared: ``latitude_weighted_mse`` of every time.
        axis: of the times.

    Returns:
        Without that axis, in the field's units.
    """
    return np.sqrt(np.mean(squared, axis=axis, dtype=np.float64))


def latitude_weighted_bias(prediction: np.ndarray, target: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area-weighted mean error of one time; arguments as of ``latitude_weighted_rmse``."""
    return area_weighted_mean(difference(prediction, target), weights)


def latitude_weighted_acc(
    prediction: np.ndarray, target: np.ndarray, climatology: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Anomaly correlation coefficient of one time, of anomalies that are not centered.

    Args:
        prediction: ``(..., latitude, longitude)``.
        target: likewise.
        climatology: likewise, of the hour and day of year of the target.
        weights: area weights with mean 1, ``(latitude,)``.

    Returns:
        ``(...)`` from -1 to 1; NaN where the prediction or the target is the climatology everywhere, up to
        the rounding of float32, which leaves the correlation undefined.
    """
    predicted, true = difference(prediction, climatology), difference(target, climatology)
    covariance = area_weighted_mean(predicted * true, weights)
    powers = [area_weighted_mean(anomaly**2, weights) for anomaly in (predicted, true)]
    rounding = float(np.finfo(np.float32).eps) ** 2
    smallest = rounding * area_weighted_mean(climatology.astype(np.float64) ** 2, weights)
    defined = np.minimum(*powers) > smallest
    return np.divide(
        covariance, np.sqrt(powers[0] * powers[1]), out=np.full_like(covariance, np.nan), where=defined
    )


def difference(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Values less a reference of the same shape, in float64.

    Raises:
        ValueError: naming both shapes, where they differ.
    """
    if values.shape != reference.shape:
        raise ValueError(f"prediction has shape {values.shape}, target {reference.shape}")
    return values.astype(np.float64) - reference.astype(np.float64)
