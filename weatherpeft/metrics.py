"""Verification scores."""

import numpy as np


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
    return np.sqrt(_weighted_mean((_difference(prediction, target)) ** 2, weights))


def latitude_weighted_bias(prediction: np.ndarray, target: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area-weighted mean error of one time; arguments as of ``latitude_weighted_rmse``."""
    return _weighted_mean(_difference(prediction, target), weights)


def _difference(prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    if prediction.shape != target.shape:
        raise ValueError(f"prediction has shape {prediction.shape}, target {target.shape}")
    return prediction.astype(np.float64) - target.astype(np.float64)


def _weighted_mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    mean: np.ndarray = (values * weights[:, None]).sum(axis=(-2, -1)) / (weights.sum() * values.shape[-1])
    return mean
