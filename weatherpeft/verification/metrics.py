"""Verification scores of fields.

Each score is computed for one time. The score of a period is the mean over its times, so single times or
months can be scored separately and averaged later. A few scores of a period are not means of scores; they
are computed from such means at the end: ``root_of_time_mean``, ``probabilistic.spread_skill_ratio`` and
``precipitation.forecast_given_observed``.
"""

import numpy as np


def area_weighted_mean(
    values: np.ndarray, weights: np.ndarray, where: np.ndarray | None = None
) -> np.ndarray:
    """Area-weighted mean over the cells of a grid.

    Args:
        values: ``(..., latitude, longitude)``.
        weights: area weights, ``(latitude,)``. Their mean need not be 1: a region takes its rows of the
            global grid's weights.
        where: mask of the cells to average over, broadcastable to ``values``; None averages over all cells.

    Returns:
        ``(...)``, in the units of ``values``.

    Raises:
        ValueError: if the mask selects no cell.
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
    """Area-weighted mean squared error of one time, in squared units.

    The arguments are those of ``latitude_weighted_rmse``.
    """
    return area_weighted_mean(difference(prediction, target) ** 2, weights)


def latitude_weighted_rmse(prediction: np.ndarray, target: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Root of the area-weighted mean squared error of one time.

    The score of a period is the mean of this over its times: the root is taken before averaging.

    Args:
        prediction: ``(..., latitude, longitude)``.
        target: ``(..., latitude, longitude)``.
        weights: area weights with mean 1, ``(latitude,)``.

    Returns:
        ``(...)``, in the field's units.
    """
    return np.sqrt(latitude_weighted_mse(prediction, target, weights))


def root_of_time_mean(squared: np.ndarray, axis: int = 0) -> np.ndarray:
    """RMSE of a period, with the root taken after averaging over its times.

    Args:
        squared: ``latitude_weighted_mse`` of every time.
        axis: the axis of the times.

    Returns:
        ``squared`` without that axis, in the field's units.
    """
    return np.sqrt(np.mean(squared, axis=axis, dtype=np.float64))


def latitude_weighted_bias(prediction: np.ndarray, target: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area-weighted mean error of one time, in the field's units.

    The arguments are those of ``latitude_weighted_rmse``.
    """
    return area_weighted_mean(difference(prediction, target), weights)


def latitude_weighted_acc(
    prediction: np.ndarray, target: np.ndarray, climatology: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Uncentered anomaly correlation coefficient of one time.

    Args:
        prediction: ``(..., latitude, longitude)``.
        target: ``(..., latitude, longitude)``.
        climatology: for the hour and day of year of the target, ``(..., latitude, longitude)``.
        weights: area weights with mean 1, ``(latitude,)``.

    Returns:
        ``(...)`` from -1 to 1. The correlation is undefined, and NaN, where the prediction or the target
        equals the climatology everywhere, up to the rounding of float32.
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
    """Values minus a reference of the same shape, in float64.

    Raises:
        ValueError: if the shapes differ; the message names both.
    """
    if values.shape != reference.shape:
        raise ValueError(f"prediction has shape {values.shape}, target {reference.shape}")
    return values.astype(np.float64) - reference.astype(np.float64)
