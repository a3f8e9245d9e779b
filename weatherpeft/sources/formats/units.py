"""Units as files spell them, and what brings values to the units of the table of variables.

Spellings that are common in ECMWF's files have exact conversions here. All others are read by UDUNITS, the
library of the CF conventions.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from weatherpeft.fields.variables import Variable

GRAVITY = 9.80665
"""Standard gravity in m s-2: geopotential is so many times geopotential height."""
_WATER = 1000.0
"""Density of liquid water in kg m-3, by which ECMWF turns mass per area into depth."""

_FRACTION = ("(0 - 1)", "(0-1)", "0-1", "Proportion", "1")
_DIMENSIONLESS = (*_FRACTION, "~", "Numeric", "numeric", "dimensionless", "")
_SPELLINGS = {"mb": "mbar", "C": "degC", "deg C": "degC", "degrees C": "degC", "m of water equivalent": "m"}
"""Spellings that UDUNITS does not read or takes for another unit, such as coulomb."""
_CONVERSIONS = {  # (found, expected): (factor, offset)
    ("degC", "K"): (1.0, 273.15), ("celsius", "K"): (1.0, 273.15), ("hPa", "Pa"): (100.0, 0.0),
    ("mbar", "Pa"): (100.0, 0.0), ("mm", "m"): (1e-3, 0.0), ("kg m-2", "m"): (1e-3, 0.0),
    ("%", "1"): (1e-2, 0.0), ("g kg-1", "kg kg-1"): (1e-3, 0.0), ("gpm", "m2 s-2"): (GRAVITY, 0.0),
}  # fmt: skip


def unit_conversion(found: str, expected: str) -> tuple[float, float]:
    """Factor and offset that convert found units, as files spell them, to the expected ones.

    A mass of water per area and its depth are converted into each other.

    Raises:
        ValueError: the found units cannot be read, or measure something else than the expected ones.

    >>> unit_conversion("degC", "K"), unit_conversion("kPa", "Pa"), unit_conversion("mm", "kg m-2")
    ((1.0, 273.15), (1000.0, 0.0), (1.0, 0.0))
    """
    spelled = found.strip()
    plain = spelled.replace("**", "").replace("^", "")
    plain = "1" if plain in _DIMENSIONLESS or plain.startswith("(Code table") else plain
    if plain == expected:
        return 1.0, 0.0
    if (plain, expected) in _CONVERSIONS:
        return _CONVERSIONS[plain, expected]
    spelled = "1" if spelled in _FRACTION else _SPELLINGS.get(spelled, spelled)
    converted = _converted(spelled, expected)
    if converted is None:
        raise ValueError(f"expected units {expected}, found {found}")
    return converted


@lru_cache
def _converted(found: str, expected: str) -> tuple[float, float] | None:
    """Factor and offset by UDUNITS; None where it has none."""
    from cf_units import Unit

    try:
        unit = Unit(found)
    except ValueError:
        return None
    for other, factor in ((expected, 1.0), *_by_water(expected)):
        if unit.is_convertible(other):
            zero, one = unit.convert(np.array([0.0, 1.0]), other).tolist()
            return (one - zero) * factor, zero * factor
    return None


def _by_water(expected: str) -> Sequence[tuple[str, float]]:
    """Units that water turns into the expected ones, with the factor."""
    return {"m": [("kg m-2", 1 / _WATER)], "kg m-2": [("m", _WATER)]}.get(expected, [])


def conversion(found: str, row: Variable, height: bool) -> tuple[float, float]:
    """Factor and offset that bring values of a variable to its units in the table.

    Args:
        found: units as the file spells them.
        row: table row of the variable.
        height: whether the name is that of a height, of which the row is the geopotential. Values in units
            of geopotential are one nevertheless.

    Raises:
        ValueError: see ``unit_conversion``.
    """
    try:
        return unit_conversion(found, row.units)
    except ValueError:
        if not height:
            raise
    factor, offset = unit_conversion(found, "m")
    return factor * GRAVITY, offset * GRAVITY


def levels_hpa(values: NDArray[np.float64], units: str | None) -> list[int | float]:
    """Pressure levels in hPa. Whole numbers are integers, as in requests.

    Args:
        values: levels as the file has them, shape ``(level,)``.
        units: their units; None where the file states none. They are then hPa if all are plausible as such.

    Raises:
        ValueError: the units are none of pressure, or are not stated and a value is none in hPa.
    """
    if units is None or not units.strip():
        wrong = values[~((values > 0) & (values <= 1100))]
        if wrong.size:
            raise ValueError(f"its units are not stated, and {wrong[0]:g} is no plausible hPa")
        values = np.round(values, 6)
    elif units == "Pa":
        values = np.round(values / 100, 6)
    else:
        factor, offset = unit_conversion(units, "hPa")
        values = np.round(values * factor + offset, 6)
    return [int(level) if level == int(level) else float(level) for level in values.tolist()]
