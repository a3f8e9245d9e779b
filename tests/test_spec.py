"""Specs: strict, frozen, with a digest; and the rules of those that every experiment is made of."""

import json
from datetime import date
from typing import Any

import pytest
from pydantic import ValidationError

from weatherpeft.fields.grid import Grid
from weatherpeft.fields.variables import FieldSet, VariableSet, channel_label
from weatherpeft.samples.splits import Splits
from weatherpeft.spec import Period, Spec
from weatherpeft.tasks.downscaling import Downscaling
from weatherpeft.tasks.forecasting import Forecasting

GRID = {"resolution_deg": 11.25}


class Inner(Spec):
    size: int
    share: float = 0.5


class Outer(Spec):
    days: tuple[date, ...] = ()
    inner: Inner = Inner(size=1)
    constants: dict[str, float] = {}


def period(start: str, end: str) -> Period:
    return Period.parse({"start": start, "end": end})


def errors(kind: type[Spec], values: Any) -> dict[str, str]:
    """Type of the error of every key at fault."""
    with pytest.raises(ValidationError) as caught:
        kind.parse(values)
    return {".".join(map(str, error["loc"])): error["type"] for error in caught.value.errors()}


class TestSpec:
    def test_a_misspelt_key_is_named_where_it_stands(self) -> None:
        assert errors(Outer, {"inner": {"sise": 1}, "day": []}) == {
            "inner.size": "missing",
            "inner.sise": "extra_forbidden",
            "day": "extra_forbidden",
        }

    @pytest.mark.parametrize("size", ["1", 1.5, True, None, [1]])
    def test_no_type_is_converted(self, size: Any) -> None:
        assert list(errors(Inner, {"size": size})) == ["size"]

    def test_lists_are_tuples_and_strings_are_dates(self) -> None:
        values = {"days": ["2001-01-15", date(2002, 2, 3)], "inner": {"size": 2, "share": 1}}
        parsed = Outer.parse(values)
        assert parsed.days == (date(2001, 1, 15), date(2002, 2, 3))
        assert parsed.inner == Inner(size=2, share=1.0)
        assert list(errors(Outer, {"days": ["15.1.2001"]})) == ["days.0"]

    def test_a_spec_does_not_change(self) -> None:
        with pytest.raises(ValidationError, match="frozen"):
            Inner(size=1).size = 2  # type: ignore[misc]

    def test_the_digest_depends_on_values_and_not_on_the_order_of_keys(self) -> None:
        one = Outer.parse({"constants": {"a": 1.0, "b": 2.0}, "inner": {"size": 1, "share": 0.5}})
        two = Outer.parse({"inner": {"share": 0.5, "size": 1}, "constants": {"b": 2.0, "a": 1.0}})
        assert one.canonical_json() == two.canonical_json() and one.digest() == two.digest()
        assert len(one.digest()) == 16 and set(one.digest()) <= set("0123456789abcdef")
        others = [
            Outer.parse({"constants": {"a": 2.0, "b": 1.0}}),
            Outer.parse({"constants": {"a": 1.0, "b": 2.0}, "days": ["2001-01-15"]}),
            Outer.parse({"constants": {"a": 1.0, "b": 2.0}, "inner": {"size": 2}}),
        ]
        assert len({spec.digest() for spec in (one, *others)}) == 4

    def test_a_default_that_is_written_out_changes_no_digest(self) -> None:
        assert Inner.parse({"size": 1}).digest() == Inner.parse({"size": 1, "share": 0.5}).digest()

    def test_canonical_json_gives_the_spec_back(self) -> None:
        spec = Outer.parse({"days": ["2001-01-15"], "constants": {"a": 0.1}, "inner": {"size": 3}})
        assert Outer.parse(json.loads(spec.canonical_json())) == spec


class TestPeriod:
    def test_both_ends_are_included(self) -> None:
        assert period("2001-01-15", "2001-01-15").days == 1
        assert period("2000-02-28", "2000-03-01").days == 3
        assert period("2001-01-15", "2001-02-23").label == "20010115-20010223"

    def test_the_end_is_not_before_the_start(self) -> None:
        with pytest.raises(ValidationError, match="ends on 2001-01-14, before its start 2001-01-15"):
            period("2001-01-15", "2001-01-14")

    @pytest.mark.parametrize(
        ("start", "end", "expected"),
        [
            ("2001-01-01", "2001-01-09", False),
            ("2001-01-01", "2001-01-10", True),
            ("2001-01-12", "2001-01-13", True),
            ("2001-01-01", "2001-12-31", True),
            ("2001-01-20", "2001-02-01", True),
            ("2001-01-21", "2001-02-01", False),
        ],
    )
    def test_overlap_is_a_day_in_common(self, start: str, end: str, expected: bool) -> None:
        own, other = period("2001-01-10", "2001-01-20"), period(start, end)
        assert own.overlaps(other) is other.overlaps(own) is expected


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


class TestVariables:
    SET = {"surface": ["2m_temperature"], "atmospheric": ["temperature"], "levels_hpa": [500, 850]}

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"surface": ["2m_temprature"]}, "unknown variable '2m_temprature'; known here: 2m_temperature"),
            ({"surface": ["land_sea_mask"]}, "unknown variable 'land_sea_mask'"),
            ({"static": ["2m_temperature"]}, "unknown variable '2m_temperature'"),
            ({"surface": ["total_precipitation"]}, "unknown variable 'total_precipitation'"),
            ({"surface": ["2m_temperature"] * 2}, "named twice: 2m_temperature, 2m_temperature"),
            ({"levels_hpa": [850, 500]}, r"must increase without repeats, found \(850, 500\)"),
            ({"levels_hpa": [500, 500]}, r"must increase without repeats, found \(500, 500\)"),
            ({"levels_hpa": []}, "must be given together"),
            ({"atmospheric": []}, "must be given together"),
        ],
    )
    def test_rules(self, changes: dict[str, Any], message: str) -> None:
        assert VariableSet.parse(self.SET).surface == ("2m_temperature",)
        with pytest.raises(ValidationError, match=message):
            VariableSet.parse({**self.SET, **changes})

    def test_channels_are_surface_first_then_variables_by_levels(self) -> None:
        variables = VariableSet.parse(
            {
                **self.SET,
                "surface": ["2m_temperature", "10m_u_component_of_wind"],
                "atmospheric": ["temperature", "geopotential"],
                "static": ["land_sea_mask"],
                "accumulated": ["total_precipitation"],
            }
        )
        labels = [channel_label(name, level) for name, level in variables.channels()]
        assert labels == ["2t", "10u", "t500", "t850", "z500", "z850"]

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            (
                "total_precipitation",
                "placeholder 'total_precipitation' is not a known surface, atmospheric or static variable",
            ),
            ("soil", "placeholder 'soil' is not a known"),
            ("2m_temperature", "placeholder '2m_temperature' is in the data too"),
        ],
    )
    def test_placeholders_stand_in_for_known_fields_that_the_data_has_not(
        self, name: str, message: str
    ) -> None:
        measured = VariableSet.parse(self.SET)
        with pytest.raises(ValidationError, match=message):
            FieldSet(measured=measured, placeholders={name: 1.0})

    def test_placeholders_follow_the_measured_fields_of_their_kind(self) -> None:
        measured = VariableSet.parse({**self.SET, "static": ["land_sea_mask"]})
        constants = {"soil_type": 1.0, "mean_sea_level_pressure": 1e5}
        found = FieldSet(measured=measured, placeholders=constants).all
        assert found.surface == ("2m_temperature", "mean_sea_level_pressure")
        assert found.static == ("land_sea_mask", "soil_type")
        assert found.atmospheric == ("temperature",) and found.levels_hpa == (500, 850)

    def test_an_atmospheric_placeholder_has_the_levels_of_the_data_or_one_of_its_own(self) -> None:
        measured = VariableSet.parse(self.SET)
        found = FieldSet(measured=measured, placeholders={"geopotential": 1.0}).all
        assert found.atmospheric == ("temperature", "geopotential") and found.levels_hpa == (500, 850)
        alone = FieldSet(
            measured=VariableSet(surface=("2m_temperature",)), placeholders={"temperature": 250.0}
        ).all
        assert alone.atmospheric == ("temperature",) and alone.levels_hpa == (500,)


class TestWindows:
    def test_downscaling_is_at_one_time(self) -> None:
        task = Downscaling.parse(
            {"name": "downscaling", "input_grid": {"resolution_deg": 22.5}, "target_grid": GRID}
        )
        assert task.window.input_hours == (-6, 0) and task.window.target_hours == (task.lead_hours,) == (0,)
        assert task.window.input_grid == Grid(resolution_deg=22.5)
        assert task.window.target_grid == Grid(resolution_deg=11.25)
        longer = Downscaling.parse({**task.model_dump(), "history_hours": 12})
        assert longer.window.input_hours == (-12, 0) and longer.window.target_hours == (0,)

    def test_forecasting_looks_ahead_as_far_as_back(self) -> None:
        task = Forecasting.parse({"name": "forecasting", "grid": GRID, "lead_time_hours": 12})
        assert task.window.input_hours == (-12, 0)
        assert task.window.target_hours == (task.lead_hours,) == (12,)
        assert task.window.input_grid == task.window.target_grid == Grid(resolution_deg=11.25)
