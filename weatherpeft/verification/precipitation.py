"""Scores of precipitation by category: dry, light or heavy.

A climatology (``climatology.py``) gives the threshold between light and heavy. The rows of a table are the
forecast categories, its columns the observed ones.
"""

import numpy as np

from weatherpeft.verification.metrics import area_weighted_mean, difference

DRY, LIGHT, HEAVY = range(3)
DRY_FRACTIONS = 0.1, 0.85
"""SEEPS is defined where the climatological share of dry periods lies between these, both excluded."""


def precipitation_category(
    precipitation: np.ndarray, wet_threshold: np.ndarray, dry_threshold_m: float
) -> np.ndarray:
    """Category of precipitation: 0 dry, 1 light, 2 heavy.

    A sum that equals a threshold belongs to the wetter category. The comparison is in float32, the type in
    which fields and climatology are stored.

    Args:
        precipitation: sums in meters, ``(..., latitude, longitude)``.
        wet_threshold: threshold between light and heavy for the hour and day of year, in meters,
            broadcastable to ``precipitation``. Where it is NaN, every sum that is not dry counts as heavy,
            and ``seeps_points`` excludes the point.
        dry_threshold_m: a smaller sum is dry, in meters.

    Returns:
        int8, of the shape of ``precipitation``.

    Raises:
        ValueError: if ``precipitation`` holds NaN.
    """
    if np.isnan(precipitation).any():
        raise ValueError(f"precipitation: expected no NaN, found {np.isnan(precipitation).sum()}")
    values, wet = precipitation.astype(np.float32), wet_threshold.astype(np.float32)
    category = np.where(values < wet, LIGHT, HEAVY)
    return np.where(values < np.float32(dry_threshold_m), DRY, category).astype(np.int8)


def seeps_points(dry_fraction: np.ndarray, wet_threshold: np.ndarray) -> np.ndarray:
    """Points at which SEEPS is defined: neither too dry nor too wet, and with a wet threshold.

    Args:
        dry_fraction: share of dry periods in the climatology, averaged over hours and days of year,
            ``(latitude, longitude)``.
        wet_threshold: threshold between light and heavy for the hour and day of year, in meters,
            ``(..., latitude, longitude)``.

    Returns:
        Mask of the shape of ``wet_threshold``.
    """
    low, high = DRY_FRACTIONS
    inside: np.ndarray = (dry_fraction > low) & (dry_fraction < high) & ~np.isnan(wet_threshold)
    return inside


def seeps_matrix(dry_fraction: np.ndarray) -> np.ndarray:
    """Error matrix of SEEPS for a climatology in which light is twice as likely as heavy.

    Args:
        dry_fraction: share of dry periods in the climatology, above 0 and below 1, ``(...)``.

    Returns:
        Error of each forecast category for each observed one, ``(forecast, observed, ...)``. A forecast
        drawn at random from the climatology has an expected error of 1, and so has a constant category.

    Reference: Rodwell et al. 2010, doi:10.1002/qj.656, eq. 15.
    """
    dry = np.asarray(dry_fraction, dtype=np.float64)
    zero, wet = np.zeros_like(dry), 1 - dry
    # Light to heavy is 2 : 1, so that the share of heavy is wet / 3, and 1 less that (2 + dry) / 3.
    rows = [
        [zero, 1 / wet, 4 / wet],
        [1 / dry, zero, 3 / wet],
        [1 / dry + 3 / (2 + dry), 3 / (2 + dry), zero],
    ]
    return np.stack([np.stack(row) for row in rows]) / 2


def seeps(
    forecast: np.ndarray,
    observed: np.ndarray,
    dry_fraction: np.ndarray,
    wet_threshold: np.ndarray,
    dry_threshold_m: float,
) -> np.ndarray:
    """Stable equitable error in probability space (SEEPS) of every point.

    Args:
        forecast: sums of precipitation in meters, ``(..., latitude, longitude)``.
        observed: sums of precipitation in meters, ``(..., latitude, longitude)``.
        dry_fraction: share of dry periods in the climatology, averaged over hours and days of year,
            ``(latitude, longitude)``.
        wet_threshold: threshold between light and heavy for the hour and day of year, in meters,
            broadcastable to ``forecast``.
        dry_threshold_m: a smaller sum is dry, in meters.

    Returns:
        Of the shape of ``forecast``: 0 where the categories agree, NaN at points outside ``seeps_points``.

    Reference: Rodwell et al. 2010, doi:10.1002/qj.656.
    """
    difference(forecast, observed)
    points = np.broadcast_to(seeps_points(dry_fraction, wet_threshold), forecast.shape)
    with np.errstate(divide="ignore"):  # always or never dry: not among the points
        matrix = seeps_matrix(dry_fraction)
    ours, theirs = (
        precipitation_category(each, wet_threshold, dry_threshold_m) for each in (forecast, observed)
    )
    rows, columns = np.indices(dry_fraction.shape)
    return np.where(points, matrix[ours, theirs, rows, columns], np.nan)


def latitude_weighted_seeps(
    forecast: np.ndarray,
    observed: np.ndarray,
    dry_fraction: np.ndarray,
    wet_threshold: np.ndarray,
    dry_threshold_m: float,
    weights: np.ndarray,
) -> np.ndarray:
    """SEEPS of one time, averaged over the area where it is defined.

    Args:
        forecast: sums of precipitation in meters, ``(..., latitude, longitude)``.
        observed: sums of precipitation in meters, ``(..., latitude, longitude)``.
        dry_fraction: climatological share of dry periods, see ``seeps``.
        wet_threshold: threshold between light and heavy in meters, see ``seeps``.
        dry_threshold_m: a smaller sum is dry, in meters.
        weights: area weights with mean 1, ``(latitude,)``.

    Returns:
        ``(...)``: 0 for a perfect forecast, 1 in expectation for one that knows only the climatology.

    Raises:
        ValueError: if SEEPS is defined at no point, or precipitation holds NaN.
    """
    field = seeps(forecast, observed, dry_fraction, wet_threshold, dry_threshold_m)
    return area_weighted_mean(field, weights, where=~np.isnan(field))


def contingency_table(
    forecast: np.ndarray, observed: np.ndarray, points: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Share of the area with each pair of forecast and observed category, at one time.

    Args:
        forecast: categories, ``(..., latitude, longitude)``.
        observed: categories, ``(..., latitude, longitude)``.
        points: mask of the cells to count, broadcastable to ``forecast``; see ``seeps_points``.
        weights: area weights with mean 1, ``(latitude,)``.

    Returns:
        ``(..., forecast, observed)`` with sum 1. The table of a period is the mean over its times.
    """
    difference(forecast, observed)
    rows = [
        [
            area_weighted_mean((forecast == ours) & (observed == theirs), weights, where=points)
            for theirs in (DRY, LIGHT, HEAVY)
        ]
        for ours in (DRY, LIGHT, HEAVY)
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def forecast_given_observed(table: np.ndarray) -> np.ndarray:
    """Frequency of each forecast category, given the observed one.

    Args:
        table: ``contingency_table``, averaged over times, ``(..., forecast, observed)``.

    Returns:
        ``(..., forecast, observed)``. Each column has sum 1, and is NaN where the category was never
        observed.
    """
    with np.errstate(invalid="ignore"):
        shares: np.ndarray = table / table.sum(axis=-2, keepdims=True)
    return shares
