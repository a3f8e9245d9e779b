"""Periods for training, validation and test, one after the other in time."""

from dataclasses import dataclass
from datetime import date, timedelta

from weatherpeft.spec import Period

GAP_DAYS = 5
"""Most days between two periods. The weather of a day still shows in that of the days after it."""


@dataclass(frozen=True)
class Parts:
    """The periods.

    Attributes:
        train: the first one.
        validation: the second one.
        test: the last one.
        gap: number of days between two of them.
        days: number of days of the data.
    """

    train: Period
    validation: Period
    test: Period
    gap: int
    days: int


def split(start: date, end: date, days: int, longer: int) -> Parts:
    """Divide a span of days: some 70 % for training, 15 % for validation, 15 % for the test.

    Args:
        start: first day.
        end: last day.
        days: least number of days of the test.
        longer: least number of days of training and validation.

    Raises:
        ValueError: there are fewer days than these.

    >>> parts = split(date(2020, 3, 1), date(2020, 3, 31), 1, 1)
    >>> parts.train.label, parts.validation.label, parts.test.label, parts.gap
    ('20200301-20200317', '20200321-20200324', '20200328-20200331', 3)
    """
    total, least = (end - start).days + 1, 2 * longer + days
    if total < least:
        raise ValueError(
            f"the files hold {total} whole days one after the other, {start} to {end}; expected at least "
            f"{least}, for training, validation and test"
        )
    gap = min(GAP_DAYS, total // 10, (total - least) // 2)
    left = total - 2 * gap
    validation, test = max(longer, round(0.15 * left)), max(days, round(0.15 * left))
    train = left - validation - test
    if train < longer:
        train, validation, test = left - longer - days, longer, days
    first = start + timedelta(train + gap)
    second = first + timedelta(validation + gap)
    return Parts(
        train=_period(start, train),
        validation=_period(first, validation),
        test=_period(second, test),
        gap=gap,
        days=total,
    )


def _period(first: date, days: int) -> Period:
    return Period(start=first, end=first + timedelta(days - 1))
