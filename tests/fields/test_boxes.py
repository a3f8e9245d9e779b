"""Boxes that fit a model and boxes that reach around a target, against all boxes there are."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from weatherpeft.fields.boxes import check_reach, enclosing, nearest, within, written
from weatherpeft.fields.grid import Grid, Region
from weatherpeft.fields.regridding import interpolation_matrices

RESOLUTIONS = st.sampled_from([0.1, 0.25, 1.2, 1.40625, 3.0, 180 / 7, 5.625, 7.5])


@st.composite
def boxes(draw: st.DrawFn) -> Grid:
    """A part of a grid, across Greenwich or not, on rows with poles or without."""
    south = draw(st.floats(-90, 80))
    north = draw(st.floats(south, min(90, south + 40)))
    west = draw(st.floats(-180, 180))
    east = west + draw(st.sampled_from([2.0, 9.0, 31.7, 100.0, 300.0]))
    region = Region(north=north, south=south, west=west, east=east - 360 if east > 360 else east)
    values = {
        "resolution_deg": draw(RESOLUTIONS),
        "poles": draw(st.booleans()),
        "region": region.model_dump(),
    }
    try:
        return Grid.parse(values)
    except ValueError:
        assume(False)
        raise


def rows_and_columns(grid: Grid) -> tuple[set[int], set[int]]:
    """Positions in the global grid."""
    step = grid.resolution_deg
    around = round(360 / step)
    return set(range(grid.rows.start, grid.rows.stop)), {round(x / step) % around for x in grid.longitude}


@settings(deadline=None)
@given(grid=boxes(), multiple=st.sampled_from([1, 2, 4, 6]), patches=st.sampled_from([1, 2, 4]))
def test_nearest_boxes_are_multiples_inside_and_around(grid: Grid, multiple: int, patches: int) -> None:
    inner, outer = nearest(grid, multiple, multiple * patches)
    rows, columns = rows_and_columns(grid)
    whole = Grid(resolution_deg=grid.resolution_deg, poles=grid.poles)
    poles = {0, whole.shape[0] - 1} if grid.poles else set()
    sizes = len(rows - poles), len(columns)
    for found in (inner, outer):
        if found is not None:
            assert all(size % multiple == 0 and size >= multiple * patches for size in found.shape)
            assert abs(found.latitude).max() < 90
            assert Grid.parse(found.model_dump()).shape == found.shape, "as it is written"
    if all(size // multiple >= patches for size in sizes):
        assert inner is not None and inner.shape == tuple(size // multiple * multiple for size in sizes)
        kept = rows_and_columns(inner)
        assert kept[0] <= rows and kept[1] <= columns
    else:
        assert inner is None
    if outer is not None:
        held = rows_and_columns(outer)
        assert held[0] >= rows - poles and held[1] >= columns
        assert all(
            size - max(own, 1) < max(multiple, multiple * patches)  # a pole alone has no row of its own
            for size, own in zip(outer.shape, sizes, strict=True)
        )


def test_a_grid_that_fits_is_its_own_nearest_box() -> None:
    grid = Grid(resolution_deg=0.25, region=Region(north=60, south=50, west=-8, east=3.75))
    assert grid.shape == (40, 48)
    assert [found and found.shape for found in nearest(grid, 4, 4)] == [(40, 48)] * 2


def test_the_whole_globe_is_cut_in_rows_alone() -> None:
    inner, outer = nearest(Grid(resolution_deg=0.25, poles=True), 4, 4)
    assert inner and inner.shape == (716, 1440) and outer is None
    assert written(inner) == "{north: 89.5, south: -89.25, west: 0, east: 360}"


@settings(deadline=None)
@given(grid=boxes(), target=boxes())
def test_reach_is_that_of_the_interpolation(grid: Grid, target: Grid) -> None:
    assume(max(*grid.shape, *target.shape) < 200)
    try:
        interpolation_matrices(grid, target)
        reaches = True
    except ValueError:
        reaches = False
    if reaches:
        check_reach(grid, target)
    else:
        with pytest.raises(
            ValueError, match="two or more|too small: it ends before .* a region that reaches"
        ):
            check_reach(grid, target)


@settings(deadline=None)
@given(grid=boxes(), target=boxes())
def test_the_box_that_is_named_reaches_the_target(grid: Grid, target: Grid) -> None:
    found = enclosing(grid, target)
    if min(found.shape) > 1:
        check_reach(found, target)
    rows = found.latitude
    assert rows[0] >= target.latitude[0] - 1e-9 or found.rows.start == 0
    assert np.isin(rows, Grid(resolution_deg=grid.resolution_deg, poles=grid.poles).latitude).all()


@given(
    step=st.sampled_from([1.0, 2.5, 7.5]),
    poles=st.booleans(),
    south=st.floats(-90, 80),
    height=st.floats(10, 60),
    west=st.floats(-180, 360),
    width=st.floats(1, 360),
)
def test_a_box_within_borders_holds_all_cells_that_lie_there(
    step: float, poles: bool, south: float, height: float, west: float, width: float
) -> None:
    whole, north = Grid(resolution_deg=step, poles=poles), min(south + height, 90)
    found = within(whole, (south, north), (west, west + width))
    edges = whole.latitude_bounds()
    rows = [i for i in range(whole.shape[0]) if edges[i + 1] >= south - 1e-5 and edges[i] <= north + 1e-5]
    inside = [(x - step / 2 - west + 1e-5) % 360 + step <= width + 2e-5 for x in whole.longitude]
    inside = [True] * whole.shape[1] if width >= 360 - 1e-6 * step else inside
    if found is None:
        assert not rows or not any(inside)
    else:
        assert np.array_equal(found.latitude, whole.latitude[rows])
        assert sorted(found.longitude % 360) == whole.longitude[inside].tolist()
