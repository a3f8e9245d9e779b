"""Sets of variables and of placeholders."""

from typing import Any

import pytest
from pydantic import ValidationError

from weatherpeft.fields.variables import FieldSet, VariableSet, channel_label


class TestVariables:
    SET = {"surface": ["2m_temperature"], "atmospheric": ["temperature"], "levels_hpa": [500, 850]}

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            (
                {"surface": ["2m_temprature"]},
                r"unknown variable '2m_temprature'; known here: .*; did you mean '2m_temperature'\?",
            ),
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
