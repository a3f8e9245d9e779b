"""What to say in a source whose data does not have every time that it is asked for."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from weatherpeft.artifacts.times import time_of_day

_NAMED = 3
"""Most times, and most gaps, in a message."""
_HOUR = np.timedelta64(1, "h")


def how_to_declare(wanted: NDArray[np.datetime64], found: NDArray[np.datetime64], sums: bool = False) -> str:
    """The end of an error message that names the first missing times, and says how to leave them out.

    Args:
        wanted: times that the data should have, to the minute, in order, ``(time,)``.
        found: times that it has, likewise.
        sums: whether these are the ends of the hours of sums, which come for every hour of the day.

    >>> days = np.arange("2020-01-01T12", "2020-01-05", 1440, "datetime64[m]")
    >>> how_to_declare(days, days[[0, 3]]).partition("span: ")[2]
    'gaps: [{start: 2020-01-02T12, end: 2020-01-03T12}]'
    """
    missing = np.setdiff1d(wanted, found)
    more = f" and {missing.size - _NAMED} more" if missing.size > _NAMED else ""
    text = f"; missing are {', '.join(map(str, missing[:_NAMED]))}{more}"
    changes = ", ".join(_changes(wanted, found, sums))
    return f"{text}; if they need not be there, say so in the source's span: {changes}" if changes else text


def _changes(wanted: NDArray[np.datetime64], found: NDArray[np.datetime64], sums: bool) -> Iterator[str]:
    """What a period has to say so that it has no time that was not found; nothing where none was."""
    hours = None if sums else _hours(wanted, found)
    if hours is not None:
        yield f"hours: [{', '.join(str(hour // _HOUR) for hour in hours)}]"
        days = np.unique(wanted.astype("datetime64[D]"))
        wanted = np.sort((days[:, None] + hours).ravel())
    held = np.isin(wanted, found)
    if not held.any():
        return
    first, last = np.flatnonzero(held)[[0, -1]]
    if first > 0:
        yield f"start: {_written(wanted[first])}"
    if last < wanted.size - 1:
        yield f"end: {_written(wanted[last])}"
    holes = np.flatnonzero(~held[first:last]) + first
    runs = np.split(holes, np.flatnonzero(np.diff(holes) > 1) + 1) if holes.size else []
    gaps = [f"{{start: {_written(wanted[run[0]])}, end: {_written(wanted[run[-1]])}}}" for run in runs]
    if gaps:
        yield f"gaps: [{', '.join(gaps[:_NAMED])}{', …' if len(gaps) > _NAMED else ''}]"


def _hours(wanted: NDArray[np.datetime64], found: NDArray[np.datetime64]) -> NDArray[np.timedelta64] | None:
    """The hours of the day to ask for; None where every wanted one was found on some day."""
    own, held = (np.unique(time_of_day(times)) for times in (wanted, found))
    held = held[held % _HOUR == np.timedelta64(0)]
    common = np.intersect1d(own, held)
    return None if common.size == own.size or not held.size else common if common.size else held


def _written(time: np.datetime64) -> str:
    return str(time.astype("datetime64[h]"))
