"""Climatology by the rules of WeatherBench 2: a moving window around every day of year.

The window is a triangle of 61 days that wraps around the end of the year. Day 365 of a common year counts
as day 366 too.

References: Rasp et al. 2024, doi:10.1029/2023MS004019; SEEPS: Rodwell et al. 2010, doi:10.1002/qj.656.
"""

import numpy as np
from numpy.typing import NDArray

from weatherpeft.fields.moments import Moments

Values = NDArray[np.float32]
DAYS = 366
DRY_THRESHOLD_M = {6: 1e-4, 24: 2.5e-4}
"""Dry thresholds of WeatherBench 2 in meters, by the hours of the sum; the threshold itself is light."""


def window_weights(days: int) -> NDArray[np.float64]:
    """Triangular weights of a window, 0 at both ends, largest in the middle, with mean 1.

    Args:
        days: length of the window in days, odd.

    Raises:
        ValueError: if the length is even, below 3, or a year or more.

    >>> window_weights(5).tolist()
    [0.0, 1.25, 2.5, 1.25, 0.0]
    """
    if days % 2 == 0 or not 3 <= days < DAYS:
        raise ValueError(f"window_days: expected an odd number from 3 to {DAYS - 1}, found {days}")
    half = days // 2
    triangle = 1 - np.abs(np.arange(-half, half + 1)) / half
    return triangle / triangle.mean()


class Calendar:
    """Assigns samples to days of year, and reduces those in the window around each day.

    Args:
        times: times of the samples, ``(sample,)``.
        window_days: length of the window in days, odd.
    """

    def __init__(self, times: NDArray[np.datetime64], window_days: int = 61) -> None:
        year = times.astype("datetime64[Y]")
        day = (times.astype("datetime64[D]") - year.astype("datetime64[D]")).astype(np.int64)
        leap = ((year + 1).astype("datetime64[D]") - year.astype("datetime64[D]")).astype(np.int64) == DAYS
        again = np.flatnonzero((day == DAYS - 2) & ~leap)
        self._weights = window_weights(window_days)
        self._samples = np.concatenate([np.arange(times.size), again])
        self._days = np.concatenate([day, np.full(again.size, DAYS - 1)])

    def _around(self, day: int) -> NDArray[np.int64]:
        half = self._weights.size // 2
        return np.arange(day - half, day + half + 1) % DAYS

    def moments(self, values: Values) -> Moments:
        """Weighted moments in the window of every day.

        Args:
            values: ``(sample, point)``; NaN has no weight.

        Returns:
            Moments ``(dayofyear, point)``; NaN where the window holds no value.
        """
        ones = np.ones(())
        by_day = [Moments.of(values[self._samples[self._days == day]], ones, axis=0) for day in range(DAYS)]
        days, triangle = Moments.stacked(by_day), self._weights[:, None]
        found = []
        for near in map(self._around, range(DAYS)):
            weight, squares = triangle * days.weight[near], triangle * days.squares[near]
            found.append(Moments(weight, days.mean[near], squares).merged(axis=0))
        return Moments.stacked(found)

    def dry_fraction(self, values: Values, dry_threshold_m: float) -> NDArray[np.float64]:
        """Share of dry samples in the window of every day, each with the same weight.

        Args:
            values: sums of precipitation in meters, ``(sample, point)``.
            dry_threshold_m: a smaller sum is dry, in meters.

        Returns:
            ``(dayofyear, point)``; NaN where the window holds no sample.
        """
        dry, count = np.zeros((DAYS, values.shape[1])), np.zeros(DAYS)
        np.add.at(dry, self._days, values[self._samples] < np.float32(dry_threshold_m))
        np.add.at(count, self._days, 1)
        near = [self._around(day) for day in range(DAYS)]
        with np.errstate(invalid="ignore"):
            return np.stack([dry[days].sum(axis=0) / count[days].sum() for days in near])

    def wet_threshold(self, values: Values, dry_threshold_m: float) -> NDArray[np.float64]:
        """Threshold between light and heavy: the weighted 2/3 quantile of the sums that are not dry.

        Args:
            values: sums of precipitation in meters, ``(sample, point)``.
            dry_threshold_m: a smaller sum is dry, in meters.

        Returns:
            ``(dayofyear, point)``, in meters; NaN where all samples in the window are dry.
        """
        wet = np.where(values < np.float32(dry_threshold_m), np.nan, values)
        by_point = np.ascontiguousarray(wet[self._samples].T)
        thresholds = np.empty((DAYS, values.shape[1]))
        for day in range(DAYS):
            weights = np.zeros(DAYS)
            weights[self._around(day)] = self._weights
            chosen = np.flatnonzero(weights[self._days])
            thresholds[day] = weighted_quantile(by_point[:, chosen], weights[self._days[chosen]], 2 / 3)
        return thresholds


def weighted_quantile(values: Values, weights: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Quantile of weighted samples, by the definition of xarray and thus of WeatherBench 2.

    It interpolates linearly between order statistics (type 7 of Hyndman and Fan 1996), with Kish's effective
    sample size in place of the number of samples (Akinshin 2023, arXiv:2304.07265).

    Args:
        values: ``(point, sample)``; NaN has no weight.
        weights: above zero, ``(sample,)``.
        share: share of the samples below the quantile, 0 to 1.

    Returns:
        ``(point,)``; NaN where there is no value.
    """
    values = np.where(np.isnan(values), np.inf, values)  # sorts faster than NaN
    order = np.argsort(values, axis=1)
    values = np.take_along_axis(values, order, axis=1)
    missing = np.isinf(values)
    values[missing] = 0
    spread = weights[order]
    spread[missing] = 0
    total = spread.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        size = total**2 / (spread**2).sum(axis=1, keepdims=True)
        position = (size - 1) * share + 1
        # A sample counts by the part of its weight between (position - 1) / size and position / size.
        low, high = total * (position - 1) / size, total * position / size
        reached = np.clip(np.cumsum(spread, axis=1), low, high)
        first = (values[:, :1] * (reached[:, :1] - low)).sum(axis=1)
        others = (values[:, 1:] * np.diff(reached, axis=1)).sum(axis=1)
        return (first + others) * (size / total)[:, 0]
