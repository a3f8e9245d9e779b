"""The base of sources that bring spans of time, each cut into download jobs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import combinations, pairwise
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from weatherpeft.sources.bases.defaults import SourceDefaults
from weatherpeft.spec import Period

Spans: TypeAlias = Annotated[tuple[Period, ...], Field(min_length=1)]
"""The periods that a source brings, at least one."""


def months(period: Period) -> Iterator[Period]:
    """The calendar months of a period, clipped to it.

    >>> from datetime import date
    >>> [month.label for month in months(Period(start=date(2001, 1, 30), end=date(2001, 2, 3)))]
    ['20010130-20010131', '20010201-20010203']
    """
    borders = [
        datetime(year, month, 1)
        for year in range(period.start.year, period.end.year + 1)
        for month in range(1, 13)
    ]
    yield from _parts(period, [*borders, datetime(period.end.year + 1, 1, 1)])


def years(period: Period) -> Iterator[Period]:
    """The calendar years of a period, clipped to it.

    >>> from datetime import date
    >>> [year.label for year in years(Period(start=date(2001, 7, 1), end=date(2002, 1, 2)))]
    ['20010701-20011231', '20020101-20020102']
    """
    yield from _parts(
        period, [datetime(year, 1, 1) for year in range(period.start.year, period.end.year + 2)]
    )


def _parts(period: Period, borders: Sequence[datetime]) -> Iterator[Period]:
    """What lies of a period between each border and the next one."""
    for first, stop in pairwise(borders):
        if part := period.within(first, stop):
            yield part


class SpanSource(SourceDefaults):
    """Spans of time and the download jobs that they give.

    A subclass narrows ``name`` to its own and says with ``jobs`` what one download job is. It adds
    ``fetch`` and ``decode``, and ``files`` where it reads files of the user's own.
    """

    spans: Spans
    """Periods to download, with one job for each calendar month; they must not overlap."""

    jobs: ClassVar[Literal["months", "years", "spans"]] = "months"
    """What one download job is: a calendar month or year of a span, or a whole span."""

    @model_validator(mode="after")
    def _apart(self) -> Self:
        for one, other in combinations(self.spans, 2):
            if one.overlaps(other):
                raise ValueError(f"spans {one.label} and {other.label} overlap")
        return self

    def periods(self) -> tuple[Period, ...]:
        """The download jobs, in the order of the spans."""
        if self.jobs == "spans":
            return self.spans
        cut = months if self.jobs == "months" else years
        return tuple(part for span in self.spans for part in cut(span))

    def narrowed(self, period: Period) -> Self:
        """The source with this span alone (see ``interfaces.Source``)."""
        return self.model_copy(update={"spans": (period,)})

    def files(self) -> list[Path]:
        """No files of the user's own, unless a subclass says otherwise."""
        return []
