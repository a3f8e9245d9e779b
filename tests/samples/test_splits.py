"""Splits of the days into training, validation and test."""

from typing import Any

import pytest
from pydantic import ValidationError

from weatherpeft.samples.splits import Splits


class TestSplits:
    @staticmethod
    def parse(**changes: Any) -> Splits:
        splits = {
            "train": {"periods": [{"start": "2001-01-01", "end": "2001-01-10"}]},
            "validation": {"periods": [{"start": "2001-01-11", "end": "2001-01-12"}]},
            "test": {"periods": [{"start": "2001-01-13", "end": "2001-01-14"}]},
        }
        return Splits.parse({**splits, **changes})

    def test_days_that_touch_are_apart(self) -> None:
        assert self.parse().train.periods[0].days == 10

    @pytest.mark.parametrize(
        ("name", "start", "message"),
        [
            (
                "validation",
                "2001-01-10",
                "train period 20010101-20010110 and validation period 20010110-20010131",
            ),
            ("test", "2001-01-10", "train period 20010101-20010110 and test period 20010110-20010131"),
            ("test", "2001-01-12", "validation period 20010111-20010112 and test period 20010112-20010131"),
        ],
    )
    def test_a_day_in_two_splits_is_named(self, name: str, start: str, message: str) -> None:
        other = {"start": "2001-03-01", "end": "2001-03-02"}
        with pytest.raises(ValidationError, match=f"{message} share a day"):
            self.parse(**{name: {"periods": [other, {"start": start, "end": "2001-01-31"}]}})

    def test_members_set_splits_apart(self) -> None:
        days = [{"start": "2001-01-01", "end": "2001-01-10"}]
        train, apart = {"periods": days, "members": [0, 1]}, {"periods": days, "members": [2]}
        assert self.parse(train=train, test=apart).test.members == (2,)
        for members in ([1, 2], []):
            with pytest.raises(ValidationError, match="train period .* and test period .* share a day"):
                self.parse(train=train, test={"periods": days, "members": members})
