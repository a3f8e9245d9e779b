"""Scores of ensembles and of Gaussian forecasts.

``metrics.area_weighted_mean`` averages the fields of scores. A histogram holds shares of the area at one
time. The score of a period is the mean over its times.
"""

from typing import Literal

import numpy as np
from scipy.special import erf, ndtr

from weatherpeft.verification.metrics import area_weighted_mean, difference

EfiForm = Literal["ens10", "exact"]


def crps_gaussian(mean: np.ndarray, sigma: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Continuous ranked probability score of N(mean, sigma²).

    Args:
        mean: mean of the forecast, of any shape.
        sigma: standard deviation of the forecast, of the shape of ``mean``, not negative; for 0 the score
            is the absolute error.
        target: of the shape of ``mean``.

    Returns:
        Of the shape of ``mean``, in the units of ``target``.

    Raises:
        ValueError: if ``mean`` and ``target`` differ in shape, or ``sigma`` is negative or NaN.

    Reference: Gneiting et al. 2005, doi:10.1175/MWR2904.1.
    """
    error, sigma = difference(target, mean), _standard_deviation(sigma)
    standardized = _standardized(error, sigma)
    density = np.exp(-(standardized**2) / 2) * np.sqrt(2 / np.pi)
    score: np.ndarray = error * erf(standardized / np.sqrt(2)) + sigma * (density - 1 / np.sqrt(np.pi))
    return score


def crps_ensemble(members: np.ndarray, target: np.ndarray) -> np.ndarray:
    """CRPS of the empirical distribution of an ensemble, a step function.

    Args:
        members: ``(member, ...)``.
        target: ``(...)``.

    Returns:
        ``(...)``, in the units of ``target``.

    Reference: Gneiting and Raftery 2007, doi:10.1198/016214506000001437.
    """
    errors = _errors(members, target)
    return np.abs(errors).mean(axis=0) - _pair_distances(errors) / (2 * len(errors) ** 2)


def fair_crps_ensemble(members: np.ndarray, target: np.ndarray) -> np.ndarray:
    """CRPS corrected for the size of the ensemble.

    Its expectation is the CRPS of an infinite ensemble of which the members are a sample.

    Args:
        members: ``(member, ...)``, two or more.
        target: ``(...)``.

    Returns:
        ``(...)``, in the units of ``target``; it may be negative.

    Raises:
        ValueError: if there is one member only, or shapes do not fit.

    Reference: Ferro 2014, doi:10.1002/qj.2270.
    """
    errors = _errors(members, target)
    if len(errors) < 2:
        raise ValueError(f"the fair CRPS expects 2 members or more, found {len(errors)}")
    pairs = len(errors) * (len(errors) - 1)
    return np.abs(errors).mean(axis=0) - _pair_distances(errors) / (2 * pairs)


def extreme_forecast_index(members: np.ndarray, climate: np.ndarray, form: EfiForm) -> np.ndarray:
    """Extreme forecast index (EFI): 2/π ∫ (p - F(p)) / √(p(1 - p)) dp.

    The index measures how far an ensemble departs from the model's climate. F(p) is the share of members
    below the p-quantile of the climate.

    ``exact``: F is a step function that rises at the rank of each member in the climate, and each step has a
    closed integral. The index reaches -1 and 1 for an ensemble beyond the climate. It is 0 on average for an
    ensemble that is drawn from the climate.

    ``ens10``: the sum of the ENS-10 benchmark over p = 0.05, 0.10 … 0.95. The quantiles 0, 0.05 … 0.95
    represent the ensemble, and F is the share of these below the climate's p-quantile. The index ends at
    -0.791 and 0.791, and lies below 0 on average.

    Args:
        members: ``(member, ...)``.
        climate: a sample of the model climate, ``(sample, ...)``.
        form: ``exact`` or ``ens10``.

    Returns:
        ``(...)`` from -1 to 1.

    Raises:
        ValueError: if shapes do not fit, or a value is not finite.

    References: Lalaurette 2003, doi:10.1256/qj.02.152; Ashkboos et al. 2022, arXiv:2206.14786 (ENS-10).
    """
    if members.shape[1:] != climate.shape[1:]:
        raise ValueError(f"members have shape {members.shape}, climate {climate.shape}")
    _require_finite(members=members, climate=climate)
    if form == "exact":
        share = np.stack([(climate <= member).mean(axis=0) for member in members])
        index: np.ndarray = 1 - 4 / np.pi * np.arccos(np.sqrt(share)).mean(axis=0)
        return index
    levels = np.arange(20) / 20
    quantiles = np.quantile(members, levels, axis=0)
    index = np.zeros(members.shape[1:])
    for level, normal in zip(levels[1:], np.quantile(climate, levels[1:], axis=0), strict=True):
        below = (quantiles < normal).mean(axis=0)
        index += (level - below) / np.sqrt(level * (1 - level))
    return index * 2 / np.pi / 20


def extreme_event_weighted_crps(crps: np.ndarray, index: np.ndarray) -> np.ndarray:
    """CRPS weighted by how extreme the forecast is (EECRPS): |EFI| · CRPS.

    Args:
        crps: of any shape.
        index: extreme forecast index, of the shape of ``crps``.

    Returns:
        Of the shape of ``crps``, in its units.

    Raises:
        ValueError: if the shapes differ.

    Reference: Ashkboos et al. 2022, arXiv:2206.14786.
    """
    if crps.shape != index.shape:
        raise ValueError(f"CRPS has shape {crps.shape}, index {index.shape}")
    return np.abs(index) * crps


def ensemble_variance(members: np.ndarray) -> np.ndarray:
    """Unbiased variance of the members, with divisor M - 1 for M members.

    Args:
        members: ``(member, ...)``, two or more.

    Returns:
        ``(...)``, in squared units.

    Raises:
        ValueError: if there is one member only.
    """
    if len(members) < 2:
        raise ValueError(f"a variance expects 2 members or more, found {len(members)}")
    return np.var(members, axis=0, ddof=1, dtype=np.float64)


def spread_skill_ratio(
    variance: np.ndarray, squared_error: np.ndarray, members: int | None = None
) -> np.ndarray:
    """Ratio of spread and error of a period, 1 for a reliable forecast.

    The ratio is √(variance / squared error). For an ensemble of M members it is multiplied by √((M + 1) / M),
    since the ensemble mean has a sampling error of its own.

    Args:
        variance: variance of the forecast, ``ensemble_variance`` or sigma², averaged over area and times.
        squared_error: squared error of the forecast's mean, averaged over area and times.
        members: M; None for a forecast that is a distribution.

    Reference: Fortin et al. 2014, doi:10.1175/JHM-D-14-0008.1.
    """
    factor = 1.0 if members is None else (members + 1) / members
    return np.sqrt(factor * variance / squared_error)


def rank_histogram(members: np.ndarray, target: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Share of the area with each rank of the target, the number of members below it.

    A target that equals some members counts in equal parts for every rank it may have among them.

    Args:
        members: ``(member, ..., latitude, longitude)``.
        target: ``(..., latitude, longitude)``.
        weights: area weights with mean 1, ``(latitude,)``.

    Returns:
        ``(..., member + 1)`` with sum 1; flat for a reliable ensemble.

    Raises:
        ValueError: if shapes do not fit, or a value is not finite.

    Reference: Hamill 2001, doi:10.1175/1520-0493(2001)129<0550:IORHFV>2.0.CO;2.
    """
    errors = _errors(members, target)
    _require_finite(errors=errors)
    below, equal = (errors < 0).sum(axis=0), (errors == 0).sum(axis=0)
    shares = []
    for rank in range(len(members) + 1):
        possible = (below <= rank) & (rank <= below + equal)
        shares.append(area_weighted_mean(possible / (equal + 1), weights))
    return np.stack(shares, axis=-1)


def pit_histogram(
    mean: np.ndarray, sigma: np.ndarray, target: np.ndarray, weights: np.ndarray, bins: int = 20
) -> np.ndarray:
    """Histogram of the probability integral transform (PIT).

    The PIT is the probability that N(mean, sigma²) is below the target.

    Args:
        mean: ``(..., latitude, longitude)``.
        sigma: standard deviation, not negative, ``(..., latitude, longitude)``.
        target: ``(..., latitude, longitude)``.
        weights: area weights with mean 1, ``(latitude,)``.
        bins: number of bins of equal width from 0 to 1.

    Returns:
        Share of the area in each bin, ``(..., bin)`` with sum 1; flat for a reliable forecast.

    Raises:
        ValueError: if ``mean`` and ``target`` differ in shape or are not finite, or ``sigma`` is negative
            or NaN.

    Reference: Gneiting, Balabdaoui and Raftery 2007, doi:10.1111/j.1467-9868.2007.00587.x.
    """
    _require_finite(target=target, mean=mean)
    standardized = _standardized(difference(target, mean), _standard_deviation(sigma))
    bin_of = np.minimum((ndtr(standardized) * bins).astype(np.int64), bins - 1)
    return np.stack([area_weighted_mean(bin_of == each, weights) for each in range(bins)], axis=-1)


def _errors(members: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Members minus target, ``(member, ...)``, in float64."""
    if members.shape[1:] != target.shape:
        raise ValueError(f"members have shape {members.shape}, target {target.shape}")
    return members.astype(np.float64) - target.astype(np.float64)


def _pair_distances(members: np.ndarray) -> np.ndarray:
    """Sum of |one - other| over all ordered pairs of members, ``(member, ...)`` to ``(...)``."""
    count = len(members)
    factors = 2.0 * (2 * np.arange(count) - count + 1)
    return np.tensordot(factors, np.sort(members, axis=0), axes=1)


def _standard_deviation(sigma: np.ndarray) -> np.ndarray:
    if not (sigma >= 0).all():
        raise ValueError(f"sigma: expected values of 0 or more, found {sigma.min()}")
    return sigma.astype(np.float64)


def _standardized(error: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Error over sigma; for sigma 0 it is infinite with the sign of the error, or 0 without error."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.where((sigma == 0) & (error == 0), 0, error / sigma)


def _require_finite(**arrays: np.ndarray) -> None:
    for name, values in arrays.items():
        if not np.isfinite(values).all():
            raise ValueError(f"{name}: expected finite values, found {np.sum(~np.isfinite(values))} others")
