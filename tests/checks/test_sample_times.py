"""Times of a split's period at which a source has fields, against a search hour by hour."""

from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from weatherpeft.checks.samples import _times
from weatherpeft.sources.toy.spec import Toy
from weatherpeft.spec import Period

HOURS = {"start": "2001-01-22T05", "end": "2001-01-22T07"}
HOUR = {"start": "2001-01-23T06", "end": "2001-01-23T06"}
SPANS = [
    {"start": "2001-01-15", "end": "2001-01-19"},
    {"start": "2001-01-21T06", "end": "2001-01-24", "hours": [0, 6, 12], "gaps": [HOURS]},
]
PERIODS: list[dict[str, Any]] = [
    {"start": "2001-01-10", "end": "2001-01-30"},
    {"start": "2001-01-18T13", "end": "2001-01-23T06", "hours": [6, 18]},
    {
        "start": "2001-01-16",
        "end": "2001-01-24",
        "gaps": [{"start": "2001-01-17", "end": "2001-01-17"}, HOUR],
    },
    {"start": "2001-01-20", "end": "2001-01-20"},
]


@pytest.mark.parametrize("sums", [False, True])
@pytest.mark.parametrize("step", [1, 6])
@pytest.mark.parametrize("values", PERIODS)
def test_times_are_those_of_both_the_source_and_the_period(
    values: dict[str, Any], step: int, sums: bool
) -> None:
    source = Toy.parse({"name": "toy", "truncation": 42, "resolution_deg": 2.5, "spans": SPANS})
    period = Period.parse(values)
    held = period.model_copy(update={"hours": ()}) if sums else period
    expected = []
    for span in source.periods():
        all_hours = sums and step != 1
        spanned = span.model_copy(update={"hours": ()}) if all_hours else span
        hours = int((span.stop - span.first) / timedelta(hours=1))
        for moment in (span.first + timedelta(hours=hour) for hour in range(hours)):
            at_step = all_hours or spanned.hours or moment.hour % step == 0
            if at_step and spanned.holds(moment) and held.holds(moment):
                expected.append(moment)
    np.testing.assert_array_equal(_times(source, period, step, sums), np.array(expected, "datetime64[h]"))
