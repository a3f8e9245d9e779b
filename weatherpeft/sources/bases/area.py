"""A box of the globe, as the Climate Data Store writes it: north, west, south, east."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import AfterValidator, Field

from weatherpeft.spec import Latitude

Meridian: TypeAlias = Annotated[float, Field(ge=-180, le=360)]
"""Degrees east, or negative west of 0°."""


def _check(area: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    north, west, south, east = area
    if not (south < north and west < east <= west + 360):
        raise ValueError(
            "area expects north, west, south, east with south < north and west < east <= west + 360, "
            f"found {area}"
        )
    return area


Area: TypeAlias = Annotated[tuple[Latitude, Meridian, Latitude, Meridian], AfterValidator(_check)]
"""North, west, south and east border in degrees."""
