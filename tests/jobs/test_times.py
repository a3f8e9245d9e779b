"""Jobs of data with hours of the day, partial days and gaps."""

from typing import Any

import pytest
from pydantic import ValidationError

from tests.experiments import changed, put
from weatherpeft.jobs import Jobs

GAPS = [{"start": "1981-02-01", "end": "1981-02-28"}, {"start": "1981-05-20", "end": "1981-06-10"}]
SPAN = {"start": "1981-01-01T06", "end": "1981-12-30", "hours": [6, 18], "gaps": GAPS}


def jobs(train: str = "1981-01-01", **more: Any) -> Jobs:
    """A year of ERA5, a job a month, for precipitation."""
    return Jobs(
        changed(
            put("source.spans", [{**SPAN, **more}]),
            put("step_hours", 12),
            put("splits.train.periods", [{"start": train, "end": "1981-08-31"}]),
            put("splits.validation.periods", [{"start": "1981-09-01", "end": "1981-09-30"}]),
            put("splits.test.periods", [{"start": "1981-10-01", "end": "1981-12-30T18"}]),
            name="precipitation.yaml",
        )
    )


def test_a_month_of_gaps_has_no_job() -> None:
    own = jobs()
    labels = own.periods()
    assert labels[:3] == ["19810101T06-19810131", "19810301-19810331", "19810401-19810430"]
    assert labels[-1] == "19811201-19811230" and len(labels) == 11
    assert own.download(labels[4]).request.times()[0].item().strftime("%m-%dT%H") == "06-11T06"
    # No sum reaches over the gap, and the one into May from April is there.
    assert own.moments_data(labels[1]) == own.series_data(labels[1]) == own.regridded("train")[1:2]
    assert own.moments_data(labels[3]) == own.regridded("train")[2:4]


def test_a_month_whose_training_days_are_a_gap_is_not_trained_on() -> None:
    assert jobs("1981-05-25").periods("train")[0] == "19810601-19810630"
    assert jobs("1981-05-19").periods("train")[0] == "19810501-19810531"


def test_a_further_gap_concerns_its_month_alone() -> None:
    before, after = jobs(), jobs(gaps=[*GAPS, {"start": "1981-07-05", "end": "1981-07-06"}])
    differing = [label for label in before.periods() if before.download(label) != after.download(label)]
    assert differing == ["19810701-19810731"]


def test_series_and_climatology_are_of_the_hours_of_the_data() -> None:
    own = jobs()
    assert own.series("19810701-19810731").hours == own.climatology().hours == (6, 18)
    every = jobs(hours=[0, 12])
    assert every.climatology().hours == () and every.series("19810701-19810731").hours == ()


@pytest.mark.parametrize(
    ("span", "message"),
    [
        (
            {"start": "1981-01-31T13", "hours": []},
            "no time of step_hours 12, .* in 1981-01-31T13 to 1981-01-31",
        ),
        ({"start": "1981-02-01"}, "period 19810101-19810831 has 243 days, of which source era5_cds has 212"),
    ],
)
def test_a_span_without_times_or_days_is_named(span: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        jobs(**span)
