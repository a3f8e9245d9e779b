"""Regions: their roles, and that they hold points of a grid."""

import pytest

from weatherpeft.fields.grid import Grid, Region
from weatherpeft.fields.regions import NamedRegion, check_regions, held_out

GRID = Grid(resolution_deg=30)


def test_a_region_is_scored_alone_unless_it_is_held_out() -> None:
    scored = NamedRegion(north=60, south=0, west=10, east=100)
    assert scored.held_out is False
    (box,) = held_out({"scored": scored, "out": scored.model_copy(update={"held_out": True})})
    assert type(box) is Region and box == Region(north=60, south=0, west=10, east=100)


@pytest.mark.parametrize(
    "between",
    [
        NamedRegion(north=14, south=-14, west=10, east=100),
        NamedRegion(north=60, south=0, west=10, east=20),
    ],
    ids=["rows", "columns"],
)
def test_a_region_between_the_points_of_a_grid_is_named(between: NamedRegion) -> None:
    with pytest.raises(ValueError, match="regions.box: holds no point of the grid 30deg"):
        check_regions(GRID, {"box": between})
