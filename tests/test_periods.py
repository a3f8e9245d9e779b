"""Periods of days and of hours, with hours of the day and gaps."""

from datetime import datetime
from typing import Any

import pytest
from pydantic import ValidationError

from weatherpeft.sources.bases.spans import months, years
from weatherpeft.spec import Period


def period(start: str, end: str, **more: Any) -> Period:
    return Period.parse({"start": start, "end": end, **more})


def times(own: Period, step_hours: int) -> list[str]:
    return [f"{time:%dT%H}" for time in own.times(step_hours)]


def gap(start: str, end: str) -> dict[str, str]:
    return {"start": start, "end": end}


@pytest.mark.parametrize(
    ("start", "end", "more", "step", "expected"),
    [
        ("2020-01-01", "2020-01-02", {}, 12, "01T00 01T12 02T00 02T12"),
        ("2020-01-01", "2020-01-01", {}, 24, "01T00"),
        ("2020-01-01T06", "2020-01-02T12", {}, 6, "01T06 01T12 01T18 02T00 02T06 02T12"),
        ("2020-01-01T05", "2020-01-01T06", {}, 1, "01T05 01T06"),
        ("2020-01-01", "2020-01-01T02", {}, 1, "01T00 01T01 01T02"),
        ("2020-01-01", "2020-01-03", {"hours": [12]}, 24, "01T12 02T12 03T12"),
        ("2020-01-01T18", "2020-01-02", {"hours": [15, 21]}, 6, "01T21 02T15 02T21"),
        ("2020-01-01", "2020-01-04", {"gaps": [gap("2020-01-02", "2020-01-03")]}, 24, "01T00 04T00"),
        ("2020-01-01", "2020-01-01", {"gaps": [gap("2020-01-01T03", "2020-01-01T20")]}, 3, "01T00 01T21"),
    ],
)
def test_times(start: str, end: str, more: dict[str, Any], step: int, expected: str) -> None:
    own = period(start, end, **more)
    assert times(own, step) == expected.split()
    assert all(own.holds(time) for time in own.times(step))
    assert Period.parse(own.model_dump(mode="json")) == own


def test_sums_come_for_every_hour_unless_the_data_is_hourly() -> None:
    noon = period("2020-01-01", "2020-01-02", hours=[12], gaps=[gap("2020-01-02", "2020-01-02T21")])
    assert [f"{time:%dT%H}" for time in noon.sum_times(24)] == [f"01T{h:02d}" for h in range(24)] + [
        "02T22",
        "02T23",
    ]
    assert [f"{time:%dT%H}" for time in noon.sum_times(1)] == ["01T12"]


def test_whole_days_are_written_as_days_however_they_are_given() -> None:
    days = period("2020-01-01", "2020-01-02")
    assert days.canonical_json() == '{"end":"2020-01-02","start":"2020-01-01"}'
    for start in ("2020-01-01T00", "2020-01-01 00:00:00", "2020-01-01T00:00"):
        assert period(start, "2020-01-02T23") == days and days.label == "20200101-20200102"
    assert period("2020-01-01T06", "2020-01-02T12").label == "20200101T06-20200102T12"
    assert Period(start=datetime(2020, 1, 1, 6), end=datetime(2020, 1, 2, 23)).label == "20200101T06-20200102"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"start": "2020-01-01T05:30"}, "expected a day such as 2020-01-31 or an hour such as 2020-01-31T12"),
        ({"start": "2020-01-01T24"}, "expected a day such as .* found '2020-01-01T24'"),
        ({"start": "2020-02-30"}, "expected a day such as .* found '2020-02-30'"),
        ({"start": 20200101}, "expected a day such as .* found 20200101"),
        ({"start": "2020-01-02T12", "end": "2020-01-02T11"}, "ends on 2020-01-02T11, before its start"),
        ({"hours": [12, 0]}, r"hours must increase without repeats, found \[12, 0\]"),
        ({"hours": [24]}, "less than or equal to 23"),
        ({"gaps": [gap("2020-02-01", "2020-02-02")]}, "the gap 2020-02-01 to 2020-02-02 lies outside"),
        ({"gap": []}, "gap"),
    ],
)
def test_what_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Period.parse({"start": "2020-01-01", "end": "2020-01-03", **values})


def test_hours_that_touch_do_not_overlap() -> None:
    morning, noon = period("2020-01-01", "2020-01-01T11"), period("2020-01-01T12", "2020-01-02")
    assert not morning.overlaps(noon) and not noon.overlaps(morning)
    assert morning.overlaps(period("2020-01-01T11", "2020-01-01T11"))


def test_months_and_years_keep_hours_and_their_part_of_the_gaps() -> None:
    own = period("2019-12-30T06", "2020-03-02T12", hours=[0, 12], gaps=[gap("2020-01-20", "2020-03-01T12")])
    parts = list(months(own))
    assert [part.label for part in parts] == [
        "20191230T06-20191231", "20200101-20200131", "20200201-20200229", "20200301-20200302T12",
    ]  # fmt: skip
    assert not list(parts[2].times(12))
    assert [time for part in parts for time in part.times(12)] == list(own.times(12))
    assert not parts[0].gaps and str(parts[1].gaps[0]) == "2020-01-20 to 2020-01-31"
    assert [time for part in years(own) for time in part.times(12)] == list(own.times(12))
