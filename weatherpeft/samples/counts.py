"""How many samples there are, of how many there would be if no time were missing."""

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from weatherpeft.samples.window import Window
from weatherpeft.spec import HOUR, Period

if TYPE_CHECKING:
    from weatherpeft.samples.frames import SampleFrames

_log = logging.getLogger(__name__)


def whole(window: Window, times: NDArray[np.datetime64]) -> NDArray[np.datetime64]:
    """The times of samples that have all their frames.

    Args:
        window: hours of a sample's frames.
        times: times of the fields that may be frames, ``(time,)``.
    """
    kept = np.ones(times.size, bool)
    for offset in window.hours:
        kept &= np.isin(times + np.timedelta64(offset, "h"), times)
    return times[kept]


def expected(window: Window, periods: Sequence[Period], hours: Sequence[int], sum_hours: int) -> int:
    """The number of times of samples in data that has every day of some periods.

    Args:
        window: hours of a sample's frames.
        periods: periods in which samples lie whole.
        hours: hours of the day at which the data has fields.
        sum_hours: hours of the longest sum among the fields, which begins in the period; 1 if there is none.
    """
    total = 0
    for period in periods:
        own = tuple(hour for hour in hours if not period.hours or hour in period.hours)
        every = period.model_copy(update={"hours": own}).times(1) if own else ()
        first = period.first + (sum_hours - 1) * HOUR
        times = np.array([time for time in every if time >= first], "datetime64[m]")
        total += whole(window, times).size
    return total


def log_counts(splits: Mapping[str, "SampleFrames"]) -> dict[str, list[int]]:
    """Say how many samples some splits have, of how many.

    Args:
        splits: samples by the name of their split.

    Returns:
        Both numbers of each split, for the record of an artifact.
    """
    counts = {name: [len(samples), samples.expected] for name, samples in splits.items()}
    _log.info("samples: %s", ", ".join(f"{name} {own} of {all_}" for name, (own, all_) in counts.items()))
    return counts
