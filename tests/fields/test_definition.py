"""Variables of one's own: what a definition may say, and what a set of variables makes of it."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from weatherpeft.fields.definition import Defining, Log1p
from weatherpeft.fields.variables import VARIABLES, OneField, VariableSet, channel_label

HAIL = {"kind": "surface", "units": "kg m**-2"}
FOG = {"kind": "surface", "units": "1"}


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("2m_temperature", {}, "2m_temperature: the table of variables has this name"),
        ("total_precipitation_12hr", {}, "this name means something else"),
        (
            "hail_6hr",
            {},
            "hail_6hr: this name means something else, the sum of 6 hours of the accumulated var",
        ),
        ("hail", {"kind": "static", "partial": True}, "partial: a static variable is defined everywhere"),
        (
            "hail",
            {"kind": "accumulated", "forecast_hours": 48},
            "forecast_hours: expected the kind surface, found accumulated",
        ),
        ("t", {}, "t: this name means something else"),
        ("level", {}, "level: this name means something else"),
        ("hail_std", {}, "hail_std: this name means something else"),
        ("my hail", {}, "'my hail': expected a name of letters, digits and underscores"),
        ("hail.kg", {}, "expected a name of letters, digits and underscores"),
        (
            "hail",
            {"units": "bananas"},
            "expected units that UDUNITS reads, such as W m-2 or 1, found 'bananas'",
        ),
        ("hail", {"units": ""}, "expected units that UDUNITS reads"),
        ("hail", {"units": "unknown"}, "expected units that UDUNITS reads"),
        ("hail", {"starts_from": "2m_temprature"}, "unknown variable '2m_temprature'; did you mean '2m_temp"),
        ("hail", {"starts_from": "xyz"}, "unknown variable 'xyz'; known here: 2m_temperature, "),
        (
            "hail",
            {"starts_from": "temperature"},
            "expected a variable of the kind surface, found temperature",
        ),
        ("hail", {"plausible": [5, 1]}, r"expected the smaller number first, found \(5.0, 1.0\)"),
        ("hail", {"kind": "hourly"}, "kind"),
        ("hail", {"kind": "static", "minimum": 0}, "minimum: static variables are not predicted"),
        ("hail", {"categorical": True}, "categorical: expected the kind static, found surface"),
        ("hail", {"transformation": {"name": "log1p", "scale": 0}}, "scale"),
        ("hail", {"transformation": {"name": "sqrt"}}, "log1p"),
        ("hail", {"unit": "K"}, "unit"),
    ],
)
def test_a_wrong_definition(name: str, changes: dict[str, Any], message: str) -> None:
    assert Defining.parse({"define": {"hail": HAIL}}).define
    with pytest.raises(ValidationError, match=message):
        Defining.parse({"define": {name: {**HAIL, **changes}}})


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        ({"short_name": "x"}, {"short_name": "x"}, "x"),
        ({"short_name": "x"}, {"aliases": ["y", "x"]}, "x"),
        ({"param_id": 260001}, {"param_id": 260001}, "param id 260001"),
        ({"standard_name": "fog_area_fraction"}, {"standard_name": "fog_area_fraction"}, "fog_area_fraction"),
        ({}, {"short_name": "hail"}, "hail"),
    ],
)
def test_two_with_the_same_name_in_files(one: dict[str, Any], other: dict[str, Any], shared: str) -> None:
    with pytest.raises(ValidationError, match=f"hail and fog have the same name in files, {shared};"):
        Defining.parse({"define": {"hail": {**HAIL, **one}, "fog": {**FOG, **other}}})
    upper = {**FOG, **other, "kind": "atmospheric"}  # which lies elsewhere
    assert Defining.parse({"define": {"hail": {**HAIL, **one}, "fog": upper}}).define


def test_the_name_in_files_of_a_variable_of_the_table_that_is_used_too() -> None:
    define = {"vostok": {**HAIL, "units": "K", "param_id": 167}}
    assert VariableSet.parse({"define": define, "surface": ["vostok"]}).row("vostok").param_id == 167
    with pytest.raises(ValidationError, match="vostok and 2m_temperature have the same name in files"):
        VariableSet.parse({"define": define, "surface": ["vostok", "2m_temperature"]})


def test_two_fields_with_one_label() -> None:
    define = {"no2": {**HAIL, "kind": "atmospheric"}, "no2_850": HAIL}
    values = {"define": define, "surface": ["no2_850"], "atmospheric": ["no2"]}
    assert len(VariableSet.parse({**values, "levels_hpa": [500]}).channels()) == 2
    with pytest.raises(ValidationError, match="two fields would be called no2_850"):
        VariableSet.parse({**values, "levels_hpa": [850]})


def test_sets_do_not_see_each_others_definitions() -> None:
    values = {"surface": ["2m_temperature", "hail"]}
    ours, theirs = (
        VariableSet.parse({**values, "define": {"hail": {**HAIL, "units": units}}}) for units in ("mm", "m")
    )
    assert (ours.row("hail").units, theirs.row("hail").units) == ("mm", "m")
    assert "hail" not in VARIABLES
    with pytest.raises(ValidationError, match="unknown variable 'hail'"):
        VariableSet.parse(values)
    with pytest.raises(ValidationError, match="unknown variable 'hail'"):
        OneField(variable="hail")


def test_a_set_without_definitions_says_nothing_of_them() -> None:
    assert "define" not in VariableSet.parse({"surface": ["2m_temperature"]}).canonical_json()
    assert "define" not in OneField(variable="2m_temperature").canonical_json()


def test_what_a_set_hands_on() -> None:
    values = {"define": {"hail": HAIL, "fog": FOG}, "surface": ["2m_temperature", "hail", "fog"]}
    variables = VariableSet.parse(values)
    assert variables.of(surface=("fog",)).define.keys() == {"fog"}
    assert VariableSet.parse(variables.model_dump(mode="json")) == variables
    assert variables.row("hail").units == "kg m-2" and variables.row("hail").long_name == "Hail"
    assert (channel_label("hail", None), channel_label("hail", 850)) == ("hail", "hail_850")


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e5])
def test_log1p_and_back(scale: float) -> None:
    change = Log1p(name="log1p", scale=scale)
    sizes = np.logspace(-6, 6, 1001)
    values = (scale * np.concatenate([-sizes, [0], sizes])).astype(np.float32)
    there = change.forward(values)
    sign = np.sign(values)
    np.testing.assert_allclose(there, sign * np.log1p(np.abs(values.astype(float)) / scale), rtol=1e-7)
    back = change.inverse(there)
    assert back.dtype == there.dtype == np.float32
    # a float32 logarithm y keeps its value to y · 2^-24, which is the relative error of what it stands for
    bound = (1 + np.abs(there)) * 2.0**-23
    assert (np.abs(back - values) <= bound * np.abs(values)).all()
    assert back[values == 0].tolist() == [0.0]


def test_log1p_of_nothing_and_of_too_much() -> None:
    change = Log1p(name="log1p")
    assert np.isnan(change.forward(np.array([np.nan], np.float32)))[0]
    assert np.isinf(change.inverse(np.array([1e4], np.float32)))[0]


def test_only_what_has_a_transformation_is_transformed() -> None:
    define = {"hail": {**HAIL, "transformation": {"name": "log1p", "scale": 2.0}}, "fog": FOG}
    variables = VariableSet.parse({"define": define, "surface": ["2m_temperature", "hail", "fog"]})
    fields = {name: np.full((2, 3), 6, np.float32) for name in variables.surface}
    seen = variables.transformed(fields)
    assert seen["fog"] is fields["fog"] and seen["2m_temperature"] is fields["2m_temperature"]
    np.testing.assert_allclose(seen["hail"], np.log(4), rtol=1e-6)
    np.testing.assert_allclose(variables.in_units(seen)["hail"], 6, rtol=1e-6)


SNOW = {
    "kind": "accumulated",
    "units": "m",
    "short_name": "sf",
    "param_id": 144,
    "minimum": 0,
    "plausible": [-0.01, 0.5],
    "transformation": {"name": "log1p", "scale": 0.5},
}


def test_sums_of_an_accumulated_one() -> None:
    values = {"define": {"snow": SNOW}, "surface": ["2m_temperature", "snow_6hr", "snow_12hr"]}
    variables = VariableSet.parse({**values, "accumulated": ["snow"]})
    row = variables.row("snow_6hr")
    assert (row.name, row.kind, row.sum_hours, row.minimum) == ("snow_6hr", "surface", 6, 0)
    assert (row.units, row.plausible, row.long_name) == ("m", (-0.06, 3.0), "Snow over 6 h")
    assert variables.row("snow").sum_hours == 0 and variables.row("snow").kind == "accumulated"
    assert variables.sums == ("snow_6hr", "snow_12hr") and variables.stored.surface == ("2m_temperature",)
    assert variables.of(surface=("snow_6hr",), accumulated=("snow",)).define.keys() == {"snow"}
    assert variables.only(["snow", "snow_6hr"]).names == ("snow_6hr", "snow")
    seen = variables.transformed({"snow_6hr": np.full((2, 3), 0.5, np.float32)})
    np.testing.assert_allclose(seen["snow_6hr"], np.log(2), rtol=1e-6)
    assert channel_label("snow_6hr", None) == "snow_6hr"
    assert OneField.parse({"define": {"snow": SNOW}, "variable": "snow_6hr"}).label == "snow_6hr"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "snow_6hr is the sum of 6 hours: name snow among accumulated too"),
        ({"surface": ["snow_48hr"]}, "snow_48hr: expected a sum of at most 24 hours"),
        (
            {"surface": ["snow_06hr"]},
            "unknown variable 'snow_06hr'; known here: .*snow_6hr; did you mean 'snow",
        ),
        ({"surface": ["snow"]}, "unknown variable 'snow'"),
        ({"surface": ["fog_6hr"]}, "unknown variable 'fog_6hr'"),
        (
            {
                "accumulated": ["snow", "total_precipitation"],
                "define": {"snow": {**SNOW, "short_name": "tp"}},
            },
            "snow and total_precipitation have the same name in files, tp",
        ),
    ],
)
def test_sums_that_are_refused(changes: dict[str, Any], message: str) -> None:
    values = {"define": {"snow": SNOW, "fog": FOG}, "surface": ["snow_6hr"], **changes}
    with pytest.raises(ValidationError, match=message):
        VariableSet.parse(values)
