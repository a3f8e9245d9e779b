"""Ranges of variables against records, units and fill values, and what a message names."""

import math
from dataclasses import replace

import numpy as np
import pytest

from weatherpeft.fields.plausible import VARYING, Implausible, check_field
from weatherpeft.fields.variables import VARIABLES, Variable

LATITUDE, LONGITUDE = np.arange(20, -20, -2.5), 350 + np.arange(12.0)
FILLS = (9999.0, -9999.0, -32767.0, 9.96921e36, 1e20, math.inf, -math.inf)
RECORDS: list[tuple[str, int | None, float]] = [
    ("2m_temperature", None, 273.15 - 89.2), ("2m_temperature", None, 273.15 + 56.7),
    ("skin_temperature", None, 273.15 - 98), ("skin_temperature", None, 273.15 + 80.8),
    ("mean_sea_level_pressure", None, 87_000), ("mean_sea_level_pressure", None, 108_940),
    ("surface_pressure", None, 33_500), ("10m_wind_gust", None, 113.2),
    ("10m_u_component_of_wind", None, -90),
    ("sea_surface_temperature", None, 271.3), ("sea_surface_temperature", None, 273.15 + 38.4),
    ("temperature", 1000, 273.15 + 56.7), ("temperature", 50, 273.15 - 96), ("temperature", 2, 320),
    ("u_component_of_wind", 200, 180), ("u_component_of_wind", 1, 250), ("specific_humidity", 1000, 0.036),
    ("total_precipitation", None, 0.305), ("total_precipitation_48hr", None, 2.493),
    ("geopotential_at_surface", None, 8849 * 9.80665), ("geopotential_at_surface", None, -430 * 9.80665),
    ("geopotential", 1000, -1150 * 9.80665), ("geopotential", 1000, 700 * 9.80665),
    ("geopotential", 500, 4500 * 9.80665), ("geopotential", 500, 6070 * 9.80665),
    ("geopotential", 10, 27_500 * 9.80665), ("geopotential", 10, 32_800 * 9.80665),
    ("geopotential", 1, 42_000 * 9.80665), ("geopotential", 1, 51_500 * 9.80665),
]  # fmt: skip
"""Values that occurred: of the WMO's archive of extremes, of satellites, and of levels in ERA5."""
OTHER_UNITS: list[tuple[str, int | None, float]] = [
    ("2m_temperature", None, 15.0), ("2m_temperature", None, 59.0), ("temperature", 850, 1.0),
    ("mean_sea_level_pressure", None, 1013.0), ("surface_pressure", None, 985.0),
    ("sea_surface_temperature", None, 18.0), ("total_cloud_cover", None, 80.0),
    ("specific_humidity", 850, 9.0), ("total_precipitation", None, 3.0), ("geopotential", 500, 5570.0),
    ("geopotential", 500, 557.0), ("geopotential", 50, 20_500.0), ("land_sea_mask", None, 100.0),
]  # fmt: skip
"""Usual values in °C, °F, hPa, %, g/kg, mm, gpm and dam, and anomalies."""


def field_of(value: float) -> np.ndarray:
    """Values that differ, all near one."""
    step = 1e-4 * max(abs(value), 1e-3) if math.isfinite(value) else 0
    return (value + step * np.arange(192.0).reshape(16, 12) / 192).astype(np.float32)


def check(field: np.ndarray, row: Variable, level: int | None = None) -> None:
    check_field(field, row, level, LATITUDE, LONGITUDE)


def level_of(row: Variable) -> int | None:
    return 500 if row.kind == "atmospheric" else None


def middle(row: Variable) -> float:
    return sum(row.plausible_at(level_of(row))) / 2


def test_every_variable_has_a_range() -> None:
    assert [row.name for row in VARIABLES.values() if row.plausible is None] == []
    assert set(VARIABLES) >= VARYING


@pytest.mark.parametrize(("name", "level", "value"), RECORDS)
def test_records_are_plausible(name: str, level: int | None, value: float) -> None:
    check(field_of(value), VARIABLES[name], level)


@pytest.mark.parametrize(("name", "level", "value"), OTHER_UNITS)
def test_other_units_are_not(name: str, level: int | None, value: float) -> None:
    with pytest.raises(Implausible, match=r"expected values from .* found .* \(192 of 192 points"):
        check(field_of(value), VARIABLES[name], level)


REACH_9999 = {
    "geopotential_at_surface",  # of a hill of 1020 m
    "convective_available_potential_energy",
    "surface_solar_radiation_downwards",  # at dawn
    "surface_solar_radiation_downwards_6hr",
}


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("row", VARIABLES.values(), ids=lambda row: row.name)
def test_one_fill_value_is_named_with_its_place(row: Variable, fill: float) -> None:
    if fill == 9999 and row.name in REACH_9999:
        return
    field = field_of(middle(row))
    check(field, row, level_of(row))
    field[11, 3] = fill
    with pytest.raises(Implausible, match=r"found \S+ at 7\.5°S 353°E \(1 of 192 points") as caught:
        check(field, row, level_of(row))
    assert caught.value.usable == math.isfinite(fill)


def test_a_variable_of_which_nobody_said_a_range_is_finite() -> None:
    row = replace(VARIABLES["2m_temperature"], plausible=None)
    check(field_of(1e7), row)
    for fill in (9.96921e36, math.inf, math.nan):
        with pytest.raises(Implausible):
            check(field_of(fill), row)


@pytest.mark.parametrize("row", VARIABLES.values(), ids=lambda row: row.name)
def test_equal_values_everywhere_are_a_missing_field_where_that_cannot_be(row: Variable) -> None:
    value = np.float32(middle(row))
    check(np.full((3, 4), value), row, level_of(row))
    equal = np.full((16, 12), value)
    if row.name in VARYING:
        with pytest.raises(Implausible, match="expected a field that varies, found .* at all points"):
            check(equal, row, level_of(row))
    else:
        check(equal, row, level_of(row))


def test_zeros_where_a_field_is_missing() -> None:
    zeros = np.zeros((16, 12), np.float32)
    for name in VARYING:
        level = level_of(VARIABLES[name])
        with pytest.raises(Implausible, match="found 0"):
            check(zeros, VARIABLES[name], level)


def test_holes_belong_to_partial_variables_alone() -> None:
    field = field_of(290)
    field[2, 5:] = np.nan
    check(field, VARIABLES["sea_surface_temperature"])
    with pytest.raises(Implausible, match="found 7 NaN, the first at 15°N 355°E") as caught:
        check(field, VARIABLES["2m_temperature"])
    assert not caught.value.usable
    with pytest.raises(Implausible, match="found 192 NaN"):
        check(np.full((16, 12), np.nan, np.float32), VARIABLES["sea_surface_temperature"])
    field[3, 0] = -32767
    with pytest.raises(Implausible, match=r"found -32767 at 12\.5°N 350°E \(1 of"):
        check(field, VARIABLES["sea_surface_temperature"])
