"""The times of several stores on one axis, by which every reader joins periods."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from weatherpeft.spec import Period


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

    def inside(self, period: Period) -> set[np.datetime64]:
        """The times on the days of a period."""
        first = np.datetime64(period.start, "ns")
        end = np.datetime64(period.end, "ns") + np.timedelta64(1, "D")
        return set(self._sorted[slice(*np.searchsorted(self._sorted, [first, end]))])

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
