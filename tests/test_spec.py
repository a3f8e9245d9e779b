"""Specs: strict, frozen, with a digest; and the rules of those that every experiment is made of."""

import json
from datetime import date
from typing import Any

import pytest
from pydantic import ValidationError

from weatherpeft.spec import Period, Spec

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
