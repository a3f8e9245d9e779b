"""Geometry of regular grids against values known by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weatherpeft.fields.gaussian import gaussian_latitudes
from weatherpeft.fields.grid import (
    Grid,
    Region,
    is_regular,
    latitude_bounds,
    longitude_cells,
    snap_axis,
    snap_latitude,
)

CHINA = Region(north=58.5, south=-1.25, west=74.0, east=133.75)


@pytest.mark.parametrize(
    ("grid", "shape", "first", "last", "label"),
    [
        (Grid(resolution_deg=5.625), (32, 64), 87.1875, 354.375, "5.625deg"),
        (Grid(resolution_deg=1.40625), (128, 256), 89.296875, 358.59375, "1.40625deg"),
        (Grid(resolution_deg=0.25, poles=True), (721, 1440), 90.0, 359.75, "0.25deg-poles"),
        (Grid(resolution_deg=3, poles=True), (61, 120), 90.0, 357.0, "3deg-poles"),
        (Grid(resolution_deg=90), (2, 4), 45.0, 270.0, "90deg"),
        (Grid(resolution_deg=0.3515625), (512, 1024), 89.82421875, 359.6484375, "0.3515625deg"),
    ],
)
def test_known_grids(grid: Grid, shape: tuple[int, int], first: float, last: float, label: str) -> None:
    assert grid.shape == shape == (grid.latitude.size, grid.longitude.size)
    assert grid.latitude[0] == first == -grid.latitude[-1]
    assert grid.longitude[0] == 0 and grid.longitude[-1] == last
    assert grid.label == label
    assert grid.latitude_bounds()[[0, -1]].tolist() == [90, -90]
    assert np.ptp(grid.longitude_bounds()) == pytest.approx(360)


def test_weatherbench_latitudes_nest_and_longitudes_do_not() -> None:
    coarse, fine = Grid(resolution_deg=5.625), Grid(resolution_deg=1.40625)
    np.testing.assert_allclose(fine.latitude.reshape(-1, 4).mean(axis=1), coarse.latitude)
    np.testing.assert_array_equal(fine.longitude[::4], coarse.longitude)
    assert set(coarse.latitude_bounds()) <= set(fine.latitude_bounds())
    assert not set(coarse.longitude_bounds()) & set(fine.longitude_bounds())


def test_region_is_the_part_of_the_global_grid() -> None:
    whole = Grid(resolution_deg=0.25, poles=True)
    part = Grid(resolution_deg=0.25, poles=True, region=CHINA)
    assert part.shape == (240, 240)
    assert part.rows == slice(126, 366)
    np.testing.assert_array_equal(part.longitude, whole.longitude[296:536])
    np.testing.assert_array_equal(part.area_weights(), whole.area_weights()[126:366])
    np.testing.assert_array_equal(part.latitude_bounds(), whole.latitude_bounds()[126:367])
    assert part.label == "0.25deg-poles-58.5N-1.25S-74E-133.75E"


def test_a_region_across_greenwich_increases_from_west_to_east() -> None:
    box = Region(north=58, south=50, west=350, east=2)
    grid = Grid(resolution_deg=0.25, poles=True, region=box)
    np.testing.assert_array_equal(grid.longitude, np.arange(-10, 2.25, 0.25))
    np.testing.assert_array_equal(grid.longitude_bounds(), np.arange(-10.125, 2.25, 0.25))
    assert grid.shape == (33, 49)
    assert grid.label == "0.25deg-poles-58N-50N-350E-2E"


@pytest.mark.parametrize(
    ("west", "east", "kept"),
    [
        (-8, 2, (352, 2)), (352, 2, (352, 2)), (-10, -4, (350, 356)), (-1e-15, 5, (0, 5)), (0, 10, (0, 10)),
        (350, 360, (350, 0)), (0, 360, (0, 360)), (-180, 180, (0, 360)), (-8, 352, (0, 360)),
        (-360, -350, (0, 10)),
    ],
)  # fmt: skip
def test_longitudes_may_be_written_either_way(west: float, east: float, kept: tuple[float, float]) -> None:
    region = Region(north=60, south=50, west=west, east=east)
    assert (region.west, region.east) == kept
    again = Region.parse(region.model_dump())
    assert again == region and again.digest() == region.digest()
    grid = Grid(resolution_deg=2, poles=True, region=region)
    degrees = np.arange(np.ceil(west / 2) * 2, (east + 360 if east < west else east) + 1e-9, 2) % 360
    assert sorted(grid.longitude % 360) == sorted(set(degrees))
    assert grid.inside(region)[1].size == grid.longitude.size


def test_the_whole_circle_is_the_global_axis() -> None:
    band = Grid(resolution_deg=5, region=Region(north=60, south=-60, west=-180, east=180))
    np.testing.assert_array_equal(band.longitude, Grid(resolution_deg=5).longitude)
    assert np.ptp(band.longitude_bounds()) == pytest.approx(360)


def test_a_region_may_be_the_globe_or_one_cell() -> None:
    whole = Grid(resolution_deg=10, poles=True)
    globe = whole.model_copy(update={"region": Region(north=90, south=-90, west=0, east=350)})
    assert globe.shape == whole.shape == (19, 36)
    cell = Region(north=0, south=0, west=20, east=20)
    one = whole.model_copy(update={"region": cell})
    assert one.latitude.tolist() == [0] and one.longitude.tolist() == [20]
    assert [found.tolist() for found in whole.inside(cell)] == [[9], [2]]
    assert one.label == "10deg-poles-0N-0N-20E-20E"


@pytest.mark.parametrize("poles", [False, True])
def test_area_weights_are_exact_areas(poles: bool) -> None:
    grid = Grid(resolution_deg=5.625, poles=poles)
    weights = grid.area_weights()
    assert weights.mean() == pytest.approx(1, abs=1e-14)
    # Closed form of the cap around the pole: 1 - cos(half width of the row, from the pole).
    cap = 1 - np.cos(np.deg2rad(5.625 / 2 if poles else 5.625))
    assert weights[0] / weights.sum() == pytest.approx(cap / 2)
    # In the middle the cosine of the center is close.
    cosine = np.cos(np.deg2rad(grid.latitude))
    np.testing.assert_allclose((weights / weights.max())[3:-3], cosine[3:-3] / cosine.max(), atol=2e-3)


@pytest.mark.parametrize("resolution", [7.0, 1.4063, 0.0, -1.0, 120.0, 180.0])
def test_a_resolution_must_divide_the_globe(resolution: float) -> None:
    with pytest.raises(ValueError, match=rf"(expected .* found |input_value=){resolution}"):
        Grid(resolution_deg=resolution)


def test_regions_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="west\n.*greater than or equal to -360"):
        Region(north=60, south=50, west=-361, east=10)
    with pytest.raises(ValueError, match="region expects south <= north, found 60.0, 50.0"):
        Region(north=50, south=60, west=0, east=10)
    for north, south, message in ((90.5, 50, "north\n.*equal to 90"), (50, -90.5, "south\n.*equal to -90")):
        with pytest.raises(ValueError, match=message):
            Region(north=north, south=south, west=0, east=10)
    with pytest.raises(ValueError, match="east\n.*less than or equal to 360"):
        Region(north=60, south=50, west=0, east=360.5)
    with pytest.raises(ValueError, match="west\n.*valid number"):
        Region(north=60, south=50, west=True, east=10)
    with pytest.raises(ValueError, match="no cell center"):
        Grid(resolution_deg=5.625, region=Region(north=1, south=0.5, west=1, east=2))


@given(
    resolution=st.sampled_from([0.25, 0.5, 0.75, 1.0, 1.25, 1.40625, 2.5, 2.8125, 3.0, 5.625]),
    poles=st.booleans(),
    flip=st.booleans(),
    crop=st.tuples(st.integers(0, 10), st.integers(5, 40)),
)
def test_millidegrees_snap_to_the_axis(
    resolution: float, poles: bool, flip: bool, crop: tuple[int, int]
) -> None:
    grid = Grid(resolution_deg=resolution, poles=poles)
    for exact in (grid.latitude, grid.longitude):
        for part in (exact, exact[crop[0] : crop[0] + crop[1]]):
            part = part[::-1] if flip else part
            np.testing.assert_allclose(snap_axis(np.round(part, 3), "axis"), part, rtol=0, atol=1e-9)


def test_an_axis_may_start_anywhere_and_have_any_spacing() -> None:
    third = 0.1 + np.arange(39.0) / 3  # its first value is no multiple of half the spacing
    found = snap_axis(np.round(third, 3), "axis")
    np.testing.assert_allclose(found, third, atol=5e-4)
    np.testing.assert_allclose(np.diff(found), 1 / 3, atol=1e-12)
    other = np.linspace(0, 27.3, 40)  # 360 is no multiple of its spacing, 0.7
    np.testing.assert_allclose(snap_axis(other, "axis"), other, atol=1e-12)


def test_irregular_axes_are_refused() -> None:
    np.testing.assert_array_equal(snap_axis(np.array([50.0, 51.0015, 52.0]), "axis"), [50, 51, 52])
    with pytest.raises(ValueError, match="axis: expected a regular axis"):
        snap_axis(np.array([50.0, 51.004, 52.0]), "axis")
    with pytest.raises(ValueError, match="latitude: expected a regular axis, found 3 values from 90 to 85"):
        snap_axis(np.array([90.0, 88.0, 85.0]), "latitude")
    with pytest.raises(ValueError, match="finite"):
        snap_axis(np.array([90.0, np.nan]), "latitude")
    with pytest.raises(ValueError, match="the meridian 0° is there twice"):
        longitude_cells(np.arange(0, 363, 3.0))
    with pytest.raises(ValueError, match="the meridian 359.999° is there twice"):
        longitude_cells(np.array([0.0, 90.0, 180.0, 270.0, 359.999]))


@settings(deadline=None, max_examples=50)
@given(number=st.sampled_from([16, 32, 48, 80, 160, 320, 512]), part=st.tuples(*[st.floats(0, 1)] * 2))
def test_gaussian_rows_are_found_in_millidegrees(number: int, part: tuple[float, float]) -> None:
    whole = gaussian_latitudes(2 * number)
    start, stop = sorted(round(share * 2 * number) for share in part)
    rows = whole[start : max(stop, start + 2)]
    for values in (rows, rows[::-1]):
        if values.size < 2:
            continue
        found = snap_latitude(np.round(values, 3))
        np.testing.assert_allclose(found, values, atol=1e-9 if not is_regular(found) else 2.5e-3)
        assert latitude_bounds(found).size == values.size + 1


def test_rows_of_a_gaussian_grid_have_no_gap() -> None:
    whole = gaussian_latitudes(64)
    np.testing.assert_allclose(np.sin(np.deg2rad(whole)), np.polynomial.legendre.leggauss(64)[0][::-1])
    for values in (np.delete(whole, 5), whole[::2], whole + 0.01):
        with pytest.raises(ValueError, match="latitude: expected a regular axis"):
            snap_latitude(values)
    bounds = latitude_bounds(whole)
    assert bounds[[0, -1]].tolist() == [90, -90] and bounds[32] == pytest.approx(0, abs=1e-12)
    assert latitude_bounds(whole[1:9])[0] == pytest.approx(whole[1] + (whole[1] - whole[2]) / 2)


def test_latitude_bounds_of_any_axis() -> None:
    assert latitude_bounds(np.array([58.0, 57.75, 57.5])).tolist() == [58.125, 57.875, 57.625, 57.375]
    assert latitude_bounds(np.array([-87.188, -81.563, -75.938])).tolist() == [-90, -84.375, -78.75, -73.125]
    assert latitude_bounds(np.array([89.25, 88.75])).tolist() == [89.5, 89, 88.5]  # ends beside the pole
    for outside in ([95.0, 90.0], [90.25, 90.0], [90.0]):
        with pytest.raises(ValueError, match="two or more values in -90 … 90"):
            latitude_bounds(np.array(outside))


@pytest.mark.parametrize("start", [-180.0, -10.0, 0.0, 200.0])
def test_longitude_cells_start_anywhere(start: float) -> None:
    longitude = np.sort((start + 0.25 * np.arange(49)) % 360)
    west, width = longitude_cells(longitude)
    assert width == pytest.approx(0.25)
    np.testing.assert_allclose((west + width / 2) % 360, longitude)
    assert np.ptp(west) == pytest.approx(12)


def test_longitude_cells_of_columns_that_are_no_decimal_numbers() -> None:
    longitude = (1.2 * np.arange(109, 116)).astype(np.float64)  # the first is 130.79999999999998
    west, width = longitude_cells(longitude)
    np.testing.assert_allclose(west + width / 2, longitude)
