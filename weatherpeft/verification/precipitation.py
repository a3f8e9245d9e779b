"""Scores of precipitation by category: dry, light or heavy.

Categories come from a climatology (``climatology.py``). Tables have rows for the forecast category and
columns for the observed one.
"""

import numpy as np

from weatherpeft.verification.metrics import area_weighted_mean, difference

DRY, LIGHT, HEAVY = range(3)
DRY_FRACTIONS = 0.1, 0.85
"""SEEPS is defined between these, both excluded."""


def precipitation_category(
    precipitation: np.ndarray, wet_threshold: np.ndarray, dry_threshold_m: float
) -> np.ndarray:
    """0 dry, 1 light, 2 heavy; what equals a threshold belongs to the wetter category.

    Compared in float32, in which fields and climatology are stored.

    Args:
        precipitation: sums in meters, ``(..., latitude, longitude)``.
        wet_threshold: of the hour and day of year, in meters, broadcastable to it; without one (NaN) all
            that is not dry counts as heavy, and ``seeps_points`` leaves the point out.
        dry_threshold_m: less is dry.

    Returns:
        int8, like ``precipitation``.

    Raises:
        ValueError: if precipitation is NaN somewhere.
    """
    if np.isnan(precipitation).any():
        raise ValueError(f"precipitation: expected no NaN, found {np.isnan(precipitation).sum()}")
    values, wet = precipitation.astype(np.float32), wet_threshold.astype(np.float32)
    category = np.where(values < wet, LIGHT, HEAVY)
    return np.where(values < np.float32(dry_threshold_m), DRY, category).astype(np.int8)


def seeps_points(dry_fraction: np.ndarray, wet_threshold: np.ndarray) -> np.ndarray:
    """Points that SEEPS is defined at: neither too dry nor too wet, and with a wet threshold.

    Args:
        dry_fraction: share of dry periods in the climatology, averaged over hours and days of year.
        wet_threshold: of the hour and day of year, in meters, broadcastable to it.
    """
    low, high = DRY_FRACTIONS
    inside: np.ndarray = (dry_fraction > low) & (dry_fraction < high) & ~np.isnan(wet_threshold)
    return inside


def seeps_matrix(dry_fraction: np.ndarray) -> np.ndarray:
    """Error of a forecast category where another was observed, light being twice as likely as heavy.

    Args:
        dry_fraction: share of dry periods in the climatology, above 0 and below 1, ``(...)``.

    Returns:
        ``(forecast, observed, ...)``. A category drawn at random from the climatology, or one that is
        always the same, has an expected error of 1.

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
    """Stable equitable error in probability space, by point.

    Args:
        forecast: sums of precipitation in meters, ``(..., latitude, longitude)``.
        observed: likewise.
        dry_fraction: share of dry periods in the climatology, averaged over hours and days of year,
            ``(latitude, longitude)``.
        wet_threshold: of the hour and day of year, in meters, broadcastable to ``forecast``.
        dry_threshold_m: less is dry.

    Returns:
        Like ``forecast``, 0 where the categories agree; NaN where ``seeps_points`` is not.

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
    """SEEPS of one time, over the area that it is defined on.

    Args:
        forecast: as of ``seeps``.
        observed: likewise.
        dry_fraction: likewise.
        wet_threshold: likewise.
        dry_threshold_m: likewise.
        weights: area weights with mean 1, ``(latitude,)``.

    Returns:
        ``(...)``; 0 is perfect, 1 what a climatology reaches.

    Raises:
        ValueError: if SEEPS is defined nowhere, or precipitation is NaN.
    """
    field = seeps(forecast, observed, dry_fraction, wet_threshold, dry_threshold_m)
    return area_weighted_mean(field, weights, where=~np.isnan(field))


def contingency_table(
    forecast: np.ndarray, observed: np.ndarray, points: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Share of the area of one time with each pair of categories.

    Args:
        forecast: categories, ``(..., latitude, longitude)``.
        observed: likewise.
        points: the cells that count, broadcastable to it; see ``seeps_points``.
        weights: area weights with mean 1, ``(latitude,)``.

    Returns:
        ``(..., forecast, observed)`` with sum 1; the mean over times is that of a period.
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
    """How often each category was forecast where one was observed.

    Args:
        table: ``contingency_table``, averaged over times, ``(..., forecast, observed)``.

    Returns:
        Likewise, columns with sum 1; NaN where a category was never observed.
    """
    with np.errstate(invalid="ignore"):
        shares: np.ndarray = table / table.sum(axis=-2, keepdims=True)
    return shares
