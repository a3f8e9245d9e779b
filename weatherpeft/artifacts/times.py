"""The times of several stores on one axis, by which every reader joins periods."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from weatherpeft.spec import Interval, Period


def time_of_day(times: NDArray[np.datetime64]) -> NDArray[np.timedelta64]:
    """Time since 00 UTC of times, in the shape of the times."""
    return times - times.astype("datetime64[D]")


def hour_of_day(times: NDArray[np.datetime64]) -> NDArray[np.int64]:
    """Whole hours since 00 UTC of times, in the shape of the times."""
    return time_of_day(times) // np.timedelta64(1, "h")


class JoinedTimes:
    """Finds the store that holds a time, and the time's place along the store's axis.

    Args:
        axes: path and times, ``(time,)``, of every store.

    Raises:
        ValueError: two stores hold the same time; the message names the second one.
    """

    def __init__(self, axes: Sequence[tuple[Path, np.ndarray]]) -> None:
        self._places: dict[np.datetime64, tuple[int, int]] = {}
        for number, (path, times) in enumerate(axes):
            for index, time in enumerate(times):
                if time in self._places:
                    raise ValueError(f"{path}: time {time} is in another store too")
                self._places[time] = (number, index)
        self._sorted = np.array(sorted(self._places), "datetime64[ns]")

    def __contains__(self, time: np.datetime64) -> bool:
        return time in self._places

    def __iter__(self) -> Iterator[np.datetime64]:
        return iter(self._sorted)

    @property
    def hours(self) -> list[int]:
        """The hours of the day of all times, in order."""
        found: list[int] = np.unique(hour_of_day(self._sorted)).tolist()
        return found

    def inside(self, period: Period) -> set[np.datetime64]:
        """The times in a period, at its hours of the day and in none of its gaps."""
        found = self._between(period)
        if period.hours:
            found = found[np.isin(time_of_day(found), np.array(period.hours, "timedelta64[h]"))]
        for gap in period.gaps:
            found = np.setdiff1d(found, self._between(gap))
        return set(found)

    def _between(self, interval: Interval) -> NDArray[np.datetime64]:
        ends = np.array([interval.first, interval.stop], "datetime64[ns]")
        return self._sorted[slice(*np.searchsorted(self._sorted, ends))]

    def place(self, time: np.datetime64, wanted: str = "") -> tuple[int, int]:
        """Number of the store that holds a time, and the time's index there.

        Args:
            time: time to look for.
            wanted: start of the error message, which says what the time is needed for.

        Raises:
            ValueError: no store holds the time.
        """
        if time not in self._places:
            raise ValueError(f"{wanted}the regridded data has no time {time}")
        return self._places[time]
