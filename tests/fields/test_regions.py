"""Regions: their roles, and that they hold points of a grid."""

import numpy as np
import pytest

from tests import small_data as small
from tests.region_masks import mask
from weatherpeft.fields.grid import Grid, Region
from weatherpeft.fields.regions import NamedRegion, check_regions, held_out, training_points

GRID = Grid(resolution_deg=30)
BOX = Region(north=50, south=0, west=90, east=200)
ACROSS = Region(north=-10, south=-60, west=340, east=30)


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


@pytest.mark.parametrize(
    "grid",
    [
        small.FINE,
        Grid(resolution_deg=5, poles=True, region=Region(north=60, south=-60, west=330, east=120)),
    ],
    ids=["globe", "region"],
)
def test_training_points_are_those_outside(grid: Grid) -> None:
    for regions in ((BOX,), (ACROSS,), (BOX, ACROSS)):
        points = training_points(grid, regions)
        assert points is not None
        assert points.tolist() == np.flatnonzero(~mask(grid, *regions)).tolist()
    assert training_points(grid, ()) is None


def test_regions_must_be_in_the_grid_and_leave_some_of_it() -> None:
    grid = Grid(resolution_deg=5, region=Region(north=60, south=0, west=0, east=90))

    def named(box: Region, out: bool = False) -> NamedRegion:
        return NamedRegion(**box.model_dump(), held_out=out)

    check_regions(grid, {"a": named(BOX), "b": named(BOX, out=True)})
    with pytest.raises(ValueError, match=r"regions.south: holds no point of the grid 5deg-60N-0N-0E-90E"):
        check_regions(grid, {"south": named(ACROSS)})
    everything = Region(north=90, south=-90, west=0, east=355)
    check_regions(grid, {"all": named(everything)})
    with pytest.raises(ValueError, match=r"what is held out is all of the grid"):
        check_regions(grid, {"all": named(everything, out=True)})
    assert held_out({"a": named(BOX), "b": named(ACROSS, out=True)}) == (ACROSS,)
