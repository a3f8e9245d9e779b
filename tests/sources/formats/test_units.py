"""Units: ECMWF's spellings exactly, others by UDUNITS, and none that measure another thing."""

import subprocess
import sys

import numpy as np
import pytest

from weatherpeft.fields.variables import VARIABLES
from weatherpeft.sources.formats.units import GRAVITY, conversion, levels_hpa, unit_conversion


@pytest.mark.parametrize(
    ("found", "expected", "factor", "offset"),
    [
        *[(text, "K", 1.0, 0.0) for text in ("K", "Kelvin", "kelvin", "degK", "degrees_kelvin")],
        *[(text, "K", 1.0, 273.15) for text in ("degC", "celsius", "°C", "degrees_Celsius", "C", "deg C")],
        *[(text, "Pa", 100.0, 0.0) for text in ("hPa", "mbar", "millibars", "mb", "hectopascal")],
        ("kPa", "Pa", 1000.0, 0.0),
        *[(text, "m", 1e-3, 0.0) for text in ("mm", "kg m-2", "kg m**-2", "kg/m^2", "millimeter")],
        ("mm", "kg m-2", 1.0, 0.0),
        ("m of water equivalent", "m", 1.0, 0.0),
        *[(text, "m s-1", 1.0, 0.0) for text in ("m s**-1", "m/s", "m.s-1", "meters second-1")],
        ("knots", "m s-1", 1852 / 3600, 0.0),
        *[(text, "m2 s-2", 1.0, 0.0) for text in ("m**2 s**-2", "m^2/s^2", "J kg-1", "J/kg")],
        *[(text, "1", 1.0, 0.0) for text in ("(0 - 1)", "~", "", "1", "(Code table 4.2)")],
        *[(text, "1", 0.01, 0.0) for text in ("%", "percent")],
        *[(text, "%", 100.0, 0.0) for text in ("1", "(0 - 1)")],
        *[(text, "kg kg-1", 1e-3, 0.0) for text in ("g kg-1", "g kg**-1", "g/kg")],
        ("hPa/h", "Pa s-1", 100 / 3600, 0.0),
    ],
)
def test_spellings(found: str, expected: str, factor: float, offset: float) -> None:
    assert unit_conversion(found, expected) == pytest.approx((factor, offset), rel=1e-12)


@pytest.mark.parametrize(
    ("found", "expected"),
    [("furlong", "K"), ("none", "K"), ("level", "hPa"), ("1", "K"), ("~", "%"), ("kg m-2 s-1", "m"),
     ("m", "m2 s-2"), ("mm day-1", "m"), ("hours since 2000-01-01", "K")],
)  # fmt: skip
def test_what_measures_another_thing(found: str, expected: str) -> None:
    with pytest.raises(ValueError, match=rf"^expected units {expected}, found {found}$"):
        unit_conversion(found, expected)


def test_heights_become_geopotential_and_geopotential_stays() -> None:
    row = VARIABLES["geopotential"]
    for units in ("m", "gpm", "meters"):
        assert conversion(units, row, True) == (GRAVITY, 0.0)
    assert conversion("km", row, True) == pytest.approx((1000 * GRAVITY, 0.0))
    assert conversion("m2 s-2", row, True) == conversion("m**2 s**-2", row, False) == (1.0, 0.0)
    assert conversion("gpm", row, False) == (GRAVITY, 0.0)
    for height, units in ((False, "m"), (True, "K")):
        with pytest.raises(ValueError, match="expected units"):
            conversion(units, row, height)


def test_levels() -> None:
    for units, factor in (
        ("hPa", 1),
        ("millibars", 1),
        ("Pa", 100),
        ("Pascals", 100),
        ("kPa", 0.1),
        (None, 1),
    ):
        found = levels_hpa(np.array([500, 850.0, 1.5]) * factor, units)
        assert found == [500, 850, 1.5] and [type(level) for level in found] == [int, int, float]
    for units, values, message in (
        (None, [850, 50000.0], "its units are not stated, and 50000 is no plausible hPa"),
        ("", [0, 1.0], "and 0 is no plausible hPa"),
        ("level", [1, 2.0], "expected units hPa, found level"),
        ("1", [1, 2.0], "expected units hPa, found 1"),
    ):
        with pytest.raises(ValueError, match=message):
            levels_hpa(np.array(values), units)


def test_common_units_need_no_library() -> None:
    code = (
        "import sys; from weatherpeft.sources.formats.units import unit_conversion as u; "
        "u('m s**-1', 'm s-1'); u('degC', 'K'); u('hPa', 'hPa'); print('cf_units' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "False"
