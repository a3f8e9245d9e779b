"""Differences of scores between two methods, with intervals and p-values from a block bootstrap.

Both methods are scored at the same times, so they are compared time by time, and seed by seed where both
have seeds. Two things make the mean difference uncertain:

- *Days*. Neighboring days share their weather. They are resampled in circular blocks inside each contiguous
  stretch of days (Politis and Romano 1992), the same days for all fields. A block is as long as the measured
  autocorrelation of the daily mean differences asks for (``block_length``).
- *Seeds*. Their few means are not resampled: three values have no tails. The mean over n seeds is drawn from
  its t distribution with n - 1 degrees of freedom, with the same weights of the seeds for all fields.

A mean over n blocks or seeds is itself fitted to them, which takes a share of 1 / n from their variance and
one degree of freedom. Both are given back. What a seed does on single days is counted in both parts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import false_discovery_control

LEVEL = 0.95
"""Probability of the intervals."""
FALSE_DISCOVERIES = 0.05
"""Share of wrong ones among the fields that are called better or worse."""
REPLICATES = 4000
_SEED = 2004
_GAP = 1.5
"""Steps between days that are longer than the median step by this factor part two stretches."""


@dataclass(frozen=True)
class Comparison:
    """How far scores lie above those of a reference; below zero is better where a lower score is.

    Attributes:
        difference: mean over times and seeds, in the units of the score, ``(field,)``.
        lower: lower end of its interval, ``(field,)``.
        upper: upper end of its interval, ``(field,)``.
        percent: difference in percent of the reference, ``(field,)``; NaN where a mean is not positive.
        percent_lower: lower end of its interval, ``(field,)``.
        percent_upper: upper end of its interval, ``(field,)``.
        p: two-sided p-value of no difference, ``(field,)``.
        q: p adjusted for the number of fields: fields with q up to 0.05 hold 5 % of false ones on average
            (Benjamini and Hochberg 1995; Wilks 2016, doi:10.1175/BAMS-D-15-00267.1), ``(field,)``.
        mean_percent: geometric mean over the fields of the ratio of the scores, in percent above 1.
        mean_percent_lower: lower end of its interval.
        mean_percent_upper: upper end of its interval.
        mean_p: its two-sided p-value.
        seeds: number of seeds; with one, the intervals cover days only.
        days: number of days of the test.
        block_days: number of successive days in a block.
    """

    difference: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    percent: np.ndarray
    percent_lower: np.ndarray
    percent_upper: np.ndarray
    p: np.ndarray
    q: np.ndarray
    mean_percent: float
    mean_percent_lower: float
    mean_percent_upper: float
    mean_p: float
    seeds: int
    days: int
    block_days: int

    @property
    def better(self) -> np.ndarray:
        """Fields whose scores are lower, after the correction for their number, ``(field,)``."""
        return (self.q <= FALSE_DISCOVERIES) & (self.difference < 0)

    @property
    def worse(self) -> np.ndarray:
        """Fields whose scores are higher, after the correction for their number, ``(field,)``."""
        return (self.q <= FALSE_DISCOVERIES) & (self.difference > 0)


def compare(
    scores: np.ndarray, reference: np.ndarray, times: np.ndarray, block_days: int | None = None
) -> Comparison:
    """Compare scores of which lower is better with those of a reference.

    Args:
        scores: ``(seed, time, field)``, float64, in the units of the score.
        reference: ``(seed, time, field)``, of the same seeds in the same order. Either side may have one seed
            only, with which all of the other side are compared.
        times: ``(time,)``, datetime64, in any order.
        block_days: number of successive days in a block; by default ``block_length`` of the differences.

    Returns:
        The differences. With a single day nothing is known about days, and the intervals are infinite.

    Raises:
        ValueError: shapes do not agree, there is no time or a time twice, or a score is not finite.
    """
    _check(scores, reference, times)
    order = np.argsort(times)
    scores, reference = np.broadcast_arrays(scores[:, order], reference[:, order])
    days, first = np.unique(times[order].astype("datetime64[D]"), return_index=True)
    lengths = stretches(days)
    apart = scores - reference
    daily = np.add.reduceat(apart.mean(axis=0), first) / np.diff([*first, times.size])[:, None]
    block = block_length(daily, lengths) if block_days is None else block_days

    means, others = scores.mean(axis=(0, 1)), reference.mean(axis=(0, 1))
    positive = (means > 0) & (others > 0)
    means, others = (np.where(positive, values, np.nan) for values in (means, others))
    # How each time and seed moves the logarithm of the ratio of the means, to first order.
    relative = scores / means - reference / others
    moved = np.concatenate([apart, relative, relative.mean(axis=-1, keepdims=True)], axis=-1)
    size = np.abs(_deviations(moved, first, lengths, block))
    half = np.quantile(size, LEVEL, axis=0, method="higher")

    logarithms = np.log(means / others)
    estimate = apart.mean(axis=(0, 1))
    center = np.array([*logarithms, logarithms.mean()])
    fields = estimate.size
    # Written so that p is 1 where a mean has no logarithm.
    exceeding = ~(size < np.abs(np.concatenate([estimate, center])))
    p = (1 + exceeding.sum(axis=0)) / (1 + REPLICATES)
    percent, lower, upper = (
        100 * np.expm1(values) for values in (center, center - half[fields:], center + half[fields:])
    )
    return Comparison(
        difference=estimate,
        lower=estimate - half[:fields],
        upper=estimate + half[:fields],
        percent=percent[:-1],
        percent_lower=lower[:-1],
        percent_upper=upper[:-1],
        p=p[:fields],
        q=false_discovery_control(p[:fields]),
        mean_percent=float(percent[-1]),
        mean_percent_lower=float(lower[-1]),
        mean_percent_upper=float(upper[-1]),
        mean_p=float(p[-1]),
        seeds=len(scores),
        days=days.size,
        block_days=block,
    )


def _check(scores: np.ndarray, reference: np.ndarray, times: np.ndarray) -> None:
    for name, values in (("scores", scores), ("reference", reference)):
        if values.ndim != 3 or len(values) == 0 or values.shape[1] != times.size:
            raise ValueError(f"{name}: expected (seed, {times.size} times, field), found {values.shape}")
        if not np.isfinite(values).all():
            raise ValueError(f"{name}: found a score that is not finite")
    if scores.shape[2] != reference.shape[2] or 1 < len(scores) != len(reference) > 1:
        raise ValueError(f"expected the same seeds and fields, found {scores.shape} and {reference.shape}")
    if times.size == 0 or np.unique(times).size != times.size:
        raise ValueError(f"expected different times, found {np.unique(times).size} in {times.size}")


def stretches(days: np.ndarray) -> list[int]:
    """Numbers of days in the contiguous stretches.

    A stretch ends where the step to the next day is longer than one and a half of the median step. So starts
    on Mondays and Thursdays are contiguous, and days around a missing one are not.

    Args:
        days: increasing, datetime64[D], ``(day,)``.
    """
    steps = np.diff(days).astype(np.int64)
    gaps = np.flatnonzero(steps > _GAP * np.median(steps)) if steps.size else steps
    return [int(length) for length in np.diff([0, *(gaps + 1), days.size])]


def block_length(daily: np.ndarray, lengths: Sequence[int]) -> int:
    """Number of days in a block, from the measured autocorrelation of daily values.

    It is twice the mean over the fields of the length with the smallest mean squared error of the variance.
    The mean, because a single field's estimate scatters by a factor of two and the largest of many is mostly
    scatter. Twice, because that error is part bias and part scatter: too short blocks make the interval too
    narrow, while the t distribution accounts for the scatter of long ones. Covariances are of days of the
    same stretch.

    Args:
        daily: values of each day, ``(day, field)``.
        lengths: numbers of days in the stretches.

    Returns:
        At least 1, at most a third of the longest stretch (shorter ones have shorter blocks, see
        ``drawn_days``).

    Reference: Politis and White 2004, doi:10.1081/ETC-120028836, for the circular bootstrap, with the
    correction by Patton, Politis and White 2009, doi:10.1080/07474930802459016.
    """
    count, longest = len(daily), max(lengths)
    parts = np.split(daily, np.cumsum(lengths)[:-1])
    parts = [part - part.mean(axis=0) for part in parts]
    run = max(5, int(np.sqrt(np.log10(count))))
    last = int(np.ceil(np.sqrt(count))) + run
    covariance = np.zeros((last + 1, daily.shape[1]))
    for part in parts:
        for lag in range(min(last + 1, len(part))):
            covariance[lag] += (part[: len(part) - lag] * part[lag:]).sum(axis=0) / count
    limit = 2 * np.sqrt(np.log10(count) / count)
    found = []
    for column in covariance.T:
        if column[0] <= 0:
            continue
        small = np.abs(column[1:] / column[0]) < limit
        quiet = (lag for lag in range(1, last - run + 2) if small[lag - 1 : lag - 1 + run].all())
        width = min(2 * next(quiet, last), last)
        lags = np.arange(1, width + 1)
        taper = np.minimum(1, 2 * (1 - lags / width))
        slope = 2 * (taper * lags * column[1 : width + 1]).sum()
        spectrum = column[0] + 2 * (taper * column[1 : width + 1]).sum()
        length = np.inf if spectrum == 0 else (1.5 * (slope / spectrum) ** 2 * count) ** (1 / 3)
        found.append(min(length, 3 * np.sqrt(count), count / 3))
    return max(1, min(int(np.ceil(2 * np.mean(found or [0.5]))), longest // 3))


def drawn_days(
    lengths: Sequence[int], block_days: int, replicates: int, generator: np.random.Generator
) -> np.ndarray:
    """Days of every replicate, drawn in circular blocks inside each stretch.

    Args:
        lengths: numbers of days in the stretches.
        block_days: number of successive days in a block; in a short stretch a third of it at most.
        replicates: number of replicates.
        generator: source of the draws.

    Returns:
        Indices of days, ``(replicate, day)``. Each stretch has as many places as days.
    """
    parts = []
    for start, length in zip(np.cumsum([0, *lengths]), lengths, strict=False):
        block = _block_in(length, block_days)
        firsts = generator.integers(length, size=(replicates, -(-length // block)))
        places = (firsts[:, :, None] + np.arange(block)).reshape(replicates, -1)[:, :length]
        parts.append(start + places % length)
    return np.concatenate(parts, axis=1)


def _block_in(length: int, block_days: int) -> int:
    return max(1, min(block_days, length // 3))


def _t_scale(freedom: float, generator: np.random.Generator) -> np.ndarray:
    """Factors that turn normal deviations into those of a t distribution, ``(replicate, 1)``."""
    return np.sqrt(freedom / generator.chisquare(freedom, size=(REPLICATES, 1)))


def _deviations(moved: np.ndarray, first: np.ndarray, lengths: list[int], block_days: int) -> np.ndarray:
    """Draws of the error of the mean over seeds and times.

    Args:
        moved: values at each time and seed, ``(seed, time, value)``.
        first: index of the first time of each day, ``(day,)``.
        lengths: numbers of days in the stretches.
        block_days: number of successive days in a block.

    Returns:
        ``(replicate, value)``, infinite if no stretch has two days.
    """
    seeds, times, values = moved.shape
    if max(lengths) == 1:
        return np.full((REPLICATES, values), np.inf)
    generator = np.random.default_rng(_SEED)
    mean = moved.mean(axis=(0, 1))
    daily = np.add.reduceat(moved.mean(axis=0) - mean, first) / times
    drawn = drawn_days(lengths, block_days, REPLICATES, generator)
    places = drawn + drawn.shape[1] * np.arange(REPLICATES)[:, None]
    counts = np.bincount(places.ravel(), minlength=drawn.size).reshape(drawn.shape)
    blocks = np.array([length / _block_in(length, block_days) for length in lengths])
    # A stretch of one day always draws itself; nothing can be said about its error.
    given_back = np.repeat(np.sqrt([n / (n - 1) if n > 1 else 1 for n in blocks]), lengths)
    found = ((counts - 1) * given_back) @ daily * _t_scale(max(1, (blocks - 1).sum()), generator)
    if seeds > 1:
        normal = generator.normal(size=(REPLICATES, seeds)) / np.sqrt(seeds * (seeds - 1))
        found += normal @ (moved.mean(axis=1) - mean) * _t_scale(seeds - 1, generator)
    return found
