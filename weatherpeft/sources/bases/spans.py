"""Spans of days as download jobs: apart from one another, and cut at calendar months or years."""

from calendar import monthrange
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from itertools import combinations

from weatherpeft.spec import Period


def months(period: Period) -> Iterator[Period]:
    """The calendar months of a period, clipped to it.

    >>> from datetime import date
    >>> [month.label for month in months(Period(start=date(2001, 1, 30), end=date(2001, 2, 3)))]
    ['20010130-20010131', '20010201-20010203']
    """
    start = period.start
    while start <= period.end:
        last = start.replace(day=monthrange(start.year, start.month)[1])
        yield Period(start=start, end=min(last, period.end))
        start = last + timedelta(days=1)


def years(period: Period) -> Iterator[Period]:
    """The calendar years of a period, clipped to it.

    >>> from datetime import date
    >>> [year.label for year in years(Period(start=date(2001, 7, 1), end=date(2002, 1, 2)))]
    ['20010701-20011231', '20020101-20020102']
    """
    for year in range(period.start.year, period.end.year + 1):
        first, last = date(year, 1, 1), date(year, 12, 31)
        yield Period(start=max(first, period.start), end=min(last, period.end))


def check_apart(spans: Sequence[Period]) -> None:
    """Refuse spans that share a day.

    Raises:
        ValueError: naming the two.
    """
    for one, other in combinations(spans, 2):
        if one.overlaps(other):
            raise ValueError(f"spans {one.label} and {other.label} overlap")
