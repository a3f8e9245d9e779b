"""Weights against brute force on the sphere, SciPy, closed forms and CDO."""

import math
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray
from scipy.interpolate import RegularGridInterpolator

from weatherpeft.fields.gaussian import gaussian_latitudes
from weatherpeft.fields.grid import Grid, Region
from weatherpeft.fields.regridding import Method, Regridder, interpolation_matrices

GUST = "era5_wind_gust_0p25deg.nc"
COARSE, FINE = Grid(resolution_deg=5.625), Grid(resolution_deg=1.40625)
METHODS: tuple[Method, ...] = ("conservative", "bilinear")


def smooth(latitude: NDArray[np.float64], longitude: NDArray[np.float64]) -> NDArray[np.float64]:
    """A smooth field on the sphere, ``(latitude, longitude)``."""
    phi, theta = np.deg2rad(latitude)[:, None], np.deg2rad(longitude)[None]
    return (
        3
        + np.sin(phi)
        + np.cos(phi) ** 2 * np.cos(2 * theta + 0.3)
        + 0.2 * np.sin(5 * theta) * np.cos(phi) ** 5
    )


def between(source: Grid, target: Grid, method: Method, **options: float) -> Regridder:
    return Regridder(source.latitude, source.longitude, target, method, **options)


def brute_force(field: NDArray[np.float64], source: Grid, target: Grid) -> NDArray[np.float64]:
    """Mean of every target cell over the areas it shares with every source cell, one by one."""

    def rows(grid: Grid) -> list[tuple[float, float]]:
        half = grid.resolution_deg / 2
        return [(max(center - half, -90), min(center + half, 90)) for center in grid.latitude]

    def shared_degrees(one: float, other: float, width_one: float, width_other: float) -> float:
        distance = abs((one - other + 180) % 360 - 180)
        return max(0.0, min(width_one, width_other, (width_one + width_other) / 2 - distance))

    result = np.zeros(target.shape)
    for i, (south, north) in enumerate(rows(target)):
        for j, center in enumerate(target.longitude):
            total = area = 0.0
            for k, (low, high) in enumerate(rows(source)):
                bottom, top = max(south, low), min(north, high)
                if bottom >= top:
                    continue
                band = math.sin(math.radians(top)) - math.sin(math.radians(bottom))
                for m, other in enumerate(source.longitude):
                    width = shared_degrees(center, other, target.resolution_deg, source.resolution_deg)
                    total += band * width * field[k, m]
                    area += band * width
            result[i, j] = total / area
    return result


@pytest.mark.parametrize("source_poles", [False, True])
@pytest.mark.parametrize("target_poles", [False, True])
@pytest.mark.parametrize(("fine", "coarse"), [(9.0, 20.0), (10.0, 15.0), (22.5, 10.0)])
def test_conservative_is_the_mean_over_shared_areas(
    fine: float, coarse: float, source_poles: bool, target_poles: bool
) -> None:
    source = Grid(resolution_deg=fine, poles=source_poles)
    target = Grid(resolution_deg=coarse, poles=target_poles)
    field = np.random.default_rng(0).normal(size=source.shape)
    found = between(source, target, "conservative")(field)
    np.testing.assert_allclose(found, brute_force(field, source, target), rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("source", [Grid(resolution_deg=3, poles=True), FINE, COARSE])
@pytest.mark.parametrize("target", [COARSE, FINE, Grid(resolution_deg=2.5, poles=True)])
def test_a_constant_stays_constant(source: Grid, target: Grid, method: Method) -> None:
    found = between(source, target, method)(np.full(source.shape, 273.15))
    np.testing.assert_allclose(found, 273.15, rtol=1e-6)


@pytest.mark.parametrize("source", [Grid(resolution_deg=3, poles=True), FINE])
@pytest.mark.parametrize("target", [COARSE, Grid(resolution_deg=2.5, poles=True)])
def test_conservative_keeps_the_global_mean(source: Grid, target: Grid) -> None:
    field = np.random.default_rng(1).normal(10, 3, source.shape)
    before = np.average(field.mean(axis=1), weights=source.area_weights())
    found = between(source, target, "conservative")(field)
    assert np.average(found.mean(axis=1, dtype=float), weights=target.area_weights()) == pytest.approx(
        before, rel=1e-6
    )


def test_bilinear_goes_by_coordinates() -> None:
    """The trap of longitude centers: an enlarged image is shifted by 1.5 fine cells."""
    field = smooth(COARSE.latitude, COARSE.longitude)
    wrapped = np.concatenate([field, field[:, :1]], axis=1)
    axes = (COARSE.latitude[::-1], np.append(COARSE.longitude, 360))
    points = np.stack(
        np.meshgrid(FINE.latitude.clip(*axes[0][[0, -1]]), FINE.longitude, indexing="ij"), axis=-1
    )
    expected = RegularGridInterpolator(axes, wrapped[::-1])(points)
    np.testing.assert_allclose(between(COARSE, FINE, "bilinear")(field), expected, atol=1e-6)
    rows, columns = interpolation_matrices(COARSE, FINE)
    np.testing.assert_allclose(rows @ field @ columns.T, expected, atol=1e-12)
    # Shared meridians carry the coarse values themselves.
    np.testing.assert_array_equal(columns[::4], np.eye(64))


def test_interpolation_matrices_clamp_at_the_poles() -> None:
    rows, columns = interpolation_matrices(COARSE, FINE)
    assert rows.shape == (128, 32) and columns.shape == (256, 64)
    np.testing.assert_allclose(rows.sum(axis=1), 1)
    np.testing.assert_allclose(columns.sum(axis=1), 1)
    np.testing.assert_array_equal(rows[:2], np.eye(32)[[0, 0]])


def test_bilinear_keeps_a_field_that_is_linear() -> None:
    source, target = Grid(resolution_deg=10, poles=True), Grid(resolution_deg=0.4)
    field = np.broadcast_to(source.latitude[:, None], source.shape)
    found = between(source, target, "bilinear")(field)
    np.testing.assert_allclose(found, np.broadcast_to(target.latitude[:, None], target.shape), atol=2e-5)


def test_bilinear_takes_the_value_itself_at_a_shared_point() -> None:
    """Also where the quotient of the coordinates misses the whole number by rounding."""
    source, target = Grid(resolution_deg=1.2, poles=True), Grid(resolution_deg=3.6, poles=True)
    rows, columns = interpolation_matrices(source, target)
    np.testing.assert_array_equal(rows, np.eye(151)[::3])
    np.testing.assert_array_equal(columns, np.eye(300)[::3])


@pytest.mark.parametrize("method", METHODS)
def test_source_axes_in_millidegrees_are_the_exact_ones(method: Method) -> None:
    exact = between(FINE, COARSE, method)
    rounded = Regridder(np.round(FINE.latitude, 3), np.round(FINE.longitude, 3), COARSE, method)
    for found, expected in (
        (rounded.latitude_matrix, exact.latitude_matrix),
        (rounded.longitude_matrix, exact.longitude_matrix),
    ):
        np.testing.assert_allclose(found.toarray(), expected.toarray(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("south_first", [False, True])
def test_gaussian_rows_have_cells_between_them(south_first: bool) -> None:
    """Against means over thousands of points, each with the value of the row whose cell it is in."""
    latitude, target = gaussian_latitudes(48), Grid(resolution_deg=22.5)
    rows = np.random.default_rng(8).normal(size=48)
    borders = (latitude[1:] + latitude[:-1]) / 2
    points = 90 - (np.arange(180_000) + 0.5) / 1000
    nearest = rows[np.searchsorted(-borders, -points)]
    area = np.cos(np.deg2rad(points))
    expected = (nearest * area).reshape(8, -1).sum(axis=1) / area.reshape(8, -1).sum(axis=1)
    order = slice(None, None, -1 if south_first else 1)
    field = np.repeat(rows[order, None], 96, axis=1)
    found = Regridder(latitude[order], np.arange(0, 360, 3.75), target, "conservative")(field)
    np.testing.assert_allclose(found, np.repeat(expected[:, None], 16, axis=1), atol=1e-4)


@pytest.mark.parametrize("south_first", [False, True])
def test_values_between_gaussian_rows_are_linear_and_reach_the_poles(south_first: bool) -> None:
    latitude, target = gaussian_latitudes(48), Grid(resolution_deg=2.5, poles=True)
    order = slice(None, None, -1 if south_first else 1)
    field = np.repeat(latitude[order, None], 96, axis=1)
    found = Regridder(latitude[order], np.arange(0, 360, 3.75), target, "bilinear")(field)
    expected = np.clip(target.latitude, latitude[-1], latitude[0])
    np.testing.assert_allclose(found, np.repeat(expected[:, None], 144, axis=1), atol=2e-5)


@pytest.mark.parametrize("method", METHODS)
def test_a_part_of_a_gaussian_grid_reaches_as_far_as_its_cells(method: Method) -> None:
    latitude = gaussian_latitudes(48)[:12]  # 87.2 to 46.4
    field = np.repeat(latitude[:, None], 96, axis=1)
    for south, reaches in ((50.0, True), (30.0, False)):
        target = Grid(resolution_deg=5, region=Region(north=90, south=south, west=0, east=20))
        if reaches:
            found = Regridder(latitude, np.arange(0, 360, 3.75), target, method)(field)
            np.testing.assert_allclose(found[1:, 0], target.latitude[1:], atol=2)
        else:
            with pytest.raises(
                ValueError, match="does not reach 3 of 12 target latitudes, the first at 42.5"
            ):
                Regridder(latitude, np.arange(0, 360, 3.75), target, method)


@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_the_source_axes_does_not_matter(method: Method) -> None:
    source = Grid(resolution_deg=3, poles=True)
    field = smooth(source.latitude, source.longitude).astype(np.float32)
    expected = between(source, COARSE, method)(field)
    south_first = Regridder(source.latitude[::-1], source.longitude, COARSE, method)(field[::-1])
    np.testing.assert_allclose(south_first, expected, atol=1e-6)
    west_first = Regridder(source.latitude, (source.longitude + 180) % 360 - 180, COARSE, method)(field)
    np.testing.assert_allclose(west_first, expected, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_leading_dimensions_are_kept(method: Method) -> None:
    regridder = between(FINE, COARSE, method)
    fields = np.random.default_rng(2).normal(size=(2, 3, *FINE.shape)).astype(np.float32)
    found = regridder(fields)
    assert found.shape == (2, 3, *COARSE.shape) and found.dtype == np.float32
    np.testing.assert_array_equal(found[1, 2], regridder(fields[1, 2]))
    with pytest.raises(ValueError, match="expected fields of shape"):
        regridder(fields[..., :-1])


def test_nan_is_neither_filled_nor_spread() -> None:
    source, target = Grid(resolution_deg=1), Grid(resolution_deg=4)
    field = np.full(source.shape, 5.0, np.float32)
    field[8:12, 40:43] = np.nan  # around the target cell (2, 10), which covers columns 38.5 to 42.5
    whole = between(source, target, "conservative", minimum_valid_share=0.01)(field)
    assert np.isfinite(whole).all() and np.allclose(whole, 5)  # renormalized by the valid share
    masked = between(source, target, "conservative", minimum_valid_share=0.5)(field)
    assert np.argwhere(np.isnan(masked)).tolist() == [[2, 10]]  # 2.5 of 4 columns are NaN
    assert np.allclose(masked[~np.isnan(masked)], 5)
    strict = between(source, target, "conservative", minimum_valid_share=1)(field)
    assert np.argwhere(np.isnan(strict)).tolist() == [[2, 10], [2, 11]]
    field[:] = np.nan
    assert np.isnan(between(source, target, "conservative")(field)).all()


def test_nan_share_counts_area() -> None:
    source, target = Grid(resolution_deg=15), Grid(resolution_deg=30)
    field = np.ones(source.shape)
    field[0] = np.nan  # the polar row is the smaller half of its target row: 1 - cos 15° of 1 - cos 30°
    assert 1 - (1 - math.cos(math.radians(15))) / (1 - math.cos(math.radians(30))) == pytest.approx(
        0.7457, abs=1e-4
    )
    for share, missing in ((0.74, False), (0.75, True)):
        found = between(source, target, "conservative", minimum_valid_share=share)(field)
        assert np.isnan(found[0]).all() == missing and np.isfinite(found[1:]).all()


@pytest.mark.parametrize("method", METHODS)
def test_a_region_across_greenwich(method: Method) -> None:
    latitude, longitude = np.arange(58, 49.9, -0.25), np.sort(np.arange(-10, 2.1, 0.25) % 360)
    field = smooth(latitude, longitude)
    for west, east, columns in ((0.0, 1.5, 4), (351.0, 359.5, 18), (351.0, 1.5, 22)):
        target = Grid(resolution_deg=0.5, region=Region(north=57, south=51, west=west, east=east))
        assert target.longitude.size == columns
        found = Regridder(latitude, longitude, target, method)(field)
        np.testing.assert_allclose(found, smooth(target.latitude, target.longitude), atol=2e-4)


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_extrapolated(method: Method) -> None:
    latitude, longitude = np.arange(58, 49.9, -0.25), np.arange(-10, 2.1, 0.25)
    for region, axis in (
        (Region(north=70, south=51, west=0, east=1), "latitude"),
        (Region(north=57, south=51, west=0, east=20), "longitude"),
    ):
        with pytest.raises(ValueError, match=f"does not reach .* target {axis}s, the first at"):
            Regridder(latitude, longitude, Grid(resolution_deg=0.5, region=region), method)


def test_bilinear_reaches_half_a_step_beyond_the_source() -> None:
    latitude, longitude = np.arange(50, 9, -10.0), np.arange(10, 91, 10.0)
    field = np.random.default_rng(5).normal(size=(5, 9))
    borders = {"north": 55.0, "south": 5.0, "west": 5.0, "east": 95.0}
    target = Grid(resolution_deg=0.25, poles=True, region=Region(**borders))
    found = Regridder(latitude, longitude, target, "bilinear")(field)
    inside = Region(north=50, south=10, west=10, east=90)
    nearest = Regridder(latitude, longitude, target.model_copy(update={"region": inside}), "bilinear")(field)
    np.testing.assert_array_equal(found, np.pad(nearest, 20, mode="edge"))
    for side, axis, farther in (
        ("north", "latitude", 55.25),
        ("south", "latitude", 4.75),
        ("west", "longitude", 4.75),
        ("east", "longitude", 95.25),
    ):
        region = Region(**(borders | {side: farther}))
        message = rf"does not reach 1 of \d+ target {axis}s, the first at {farther}°"
        with pytest.raises(ValueError, match=message):
            Regridder(latitude, longitude, Grid(resolution_deg=0.25, poles=True, region=region), "bilinear")


def test_conservative_needs_half_of_a_cell_covered() -> None:
    """Half of the degrees of latitude are 46 % of the area in the cell's north and 54 % in its south."""
    one = Grid(resolution_deg=20, region=Region(north=40, south=40, west=20, east=20))  # 30-50°N, 10-30°E
    south, north, east = np.array([35.0, 25.0]), np.array([55.0, 45.0]), np.array([25.0, 35.0])
    field = np.array([[5.0, 7.0], [5.0, 7.0]])
    found = Regridder(south, east, one, "conservative")(field)  # a quarter of the cell, half of each axis
    np.testing.assert_allclose(found, 5, rtol=1e-6)
    with pytest.raises(ValueError, match="latitudes, the first at 40°: expected 50% .* covered, found 46%"):
        Regridder(north, east, one, "conservative")
    with pytest.raises(ValueError, match="longitudes, the first at 20°: expected 50% .* covered, found 45%"):
        Regridder(south, east + 1, one, "conservative")
    less = Regridder(north, east, one, "conservative", minimum_valid_share=0.46)(field)
    np.testing.assert_allclose(less, 5, rtol=1e-6)
    with pytest.raises(ValueError, match="latitudes, .* expected 47% of the cell covered, found 46%"):
        Regridder(north, east, one, "conservative", minimum_valid_share=0.47)


def test_half_of_a_cell_must_be_valid() -> None:
    """The default share, which decides where a variable with holes has values."""
    source, target = Grid(resolution_deg=1), Grid(resolution_deg=20)
    for missing, held in ((10, True), (11, False)):
        field = np.ones(source.shape)
        field[:, 10 : 10 + missing] = np.nan  # of the columns from 9.5°E; the cell is 10°E to 30°E
        found = between(source, target, "conservative")(field)
        assert np.isfinite(found[:, 1]).all() == held and np.isfinite(found[:, [0, 2]]).all()


@pytest.mark.parametrize("method", METHODS)
def test_a_gap_of_one_column_is_not_bridged(method: Method) -> None:
    """The source goes once around the globe, from 350°E to 330°E; the target from 200°E to 10°E."""
    source = Grid(resolution_deg=10, poles=True)
    kept = source.longitude != 340
    field = np.broadcast_to(np.where(source.longitude == 330, 4.0, 1.0), source.shape)[:, kept]
    region = Region(north=40, south=-40, west=200, east=330)
    near = Grid(resolution_deg=10, poles=True, region=region)
    found = Regridder(source.latitude, source.longitude[kept], near, method)(field)
    np.testing.assert_allclose(found[:, near.longitude == 330], 4, rtol=1e-6)
    across = near.model_copy(update={"region": region.model_copy(update={"east": 10.0})})
    with pytest.raises(ValueError, match="does not reach 1 of .* longitudes, the first at -20°"):
        Regridder(source.latitude, source.longitude[kept], across, method)


@pytest.mark.parametrize(("fine", "coarse"), [(9.0, 20.0), (10.0, 15.0)])
def test_a_cell_has_the_class_with_the_largest_area(fine: float, coarse: float) -> None:
    source, target = Grid(resolution_deg=fine, poles=True), Grid(resolution_deg=coarse)
    numbers = np.random.default_rng(4).choice([0, 1, 2, 7], source.shape)
    areas = np.stack([brute_force(numbers == number, source, target) for number in (0, 1, 2, 7)])
    least, most = np.sort(areas, axis=0)[-2:]
    clear = most - least > 1e-6
    assert clear.mean() > 0.8
    found = between(source, target, "conservative").classes(numbers.astype(np.float32))
    np.testing.assert_array_equal(found[clear], np.array([0, 1, 2, 7])[areas.argmax(axis=0)][clear])


def test_of_equal_areas_the_least_class_counts() -> None:
    """In each cell of six columns, the eastern three are the complement of the western three."""
    source, target = Grid(resolution_deg=3), Grid(resolution_deg=18)
    west = np.random.default_rng(6).integers(1, 3, (60, 20, 3))
    numbers = np.concatenate([west, 3 - west], axis=-1).reshape(source.shape)
    regridder = Regridder(source.latitude, source.longitude - 7.5, target, "conservative")
    first, second = (regridder((numbers == number).astype(np.float32)) for number in (1, 2))
    np.testing.assert_allclose(first, 0.5, rtol=1e-6)
    assert (second > first).any()  # by the rounding of the sums
    assert (regridder.classes(numbers) == 1).all()


def test_a_point_has_the_class_with_the_most_weight_around_it() -> None:
    source = Grid(resolution_deg=10, poles=True)
    field = np.zeros(source.shape, np.float32)
    field[::2, ::2] = 3  # a point on a row or column of the source is there, one between two belongs to 0
    found = between(source, Grid(resolution_deg=5, poles=True), "bilinear").classes(field)
    np.testing.assert_array_equal(found[::2, ::2], field)
    assert not found[1::2].any() and not found[:, 1::2].any()
    several = between(source, COARSE, "bilinear").classes(np.stack([field, field + 1]))
    assert several.shape == (2, *COARSE.shape) and set(np.unique(several[1])) == {1, 4}


def test_unknown_options_are_named() -> None:
    with pytest.raises(ValueError, match="found 'cubic'"):
        between(FINE, COARSE, "cubic")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="minimum_valid_share"):
        between(FINE, COARSE, "bilinear", minimum_valid_share=0)
    with pytest.raises(ValueError, match=r"minimum_valid_share: expected .* \(0, 1\], found 1.5"):
        between(FINE, COARSE, "conservative", minimum_valid_share=1.5)


@pytest.mark.parametrize("method", METHODS)
def test_one_row_or_column_is_no_grid(method: Method) -> None:
    with pytest.raises(ValueError, match="latitude: expected two or more"):
        Regridder(COARSE.latitude[:1], COARSE.longitude, COARSE, method)
    with pytest.raises(ValueError, match="longitude: expected two or more"):
        Regridder(COARSE.latitude, COARSE.longitude[:1], COARSE, method)


@pytest.fixture(scope="module")
def gust(shared_data: Path) -> xr.DataArray:
    with xr.open_dataset(shared_data / GUST, engine="netcdf4") as dataset:
        return dataset["i10fg"][0].load()


@pytest.mark.shared
def test_a_native_field_keeps_its_mean(gust: xr.DataArray) -> None:
    native = Grid(resolution_deg=0.25, poles=True)
    before = np.average(gust.values.mean(axis=1), weights=native.area_weights())
    for target in (FINE, COARSE):
        regridder = Regridder(gust.latitude.values, gust.longitude.values, target, "conservative")
        found = regridder(gust.values.astype(np.float32))
        after = np.average(found.mean(axis=1, dtype=float), weights=target.area_weights())
        assert after == pytest.approx(before, rel=1e-6)
        assert gust.values.min() <= found.min() and found.max() <= gust.values.max()


@pytest.mark.shared
@pytest.mark.skipif(shutil.which("cdo") is None, reason="cdo is not on PATH")
@pytest.mark.parametrize(("method", "operator"), [("conservative", "remapcon"), ("bilinear", "remapbil")])
@pytest.mark.parametrize("target", [COARSE, FINE], ids=lambda grid: grid.label)
def test_agrees_with_cdo(
    shared_data: Path, gust: xr.DataArray, tmp_path: Path, method: Method, operator: str, target: Grid
) -> None:
    rows, columns = target.shape
    description = {
        "gridtype": "lonlat", "xsize": columns, "ysize": rows, "xfirst": 0, "xinc": target.resolution_deg,
        "yfirst": target.latitude[0], "yinc": -target.resolution_deg,
    }  # fmt: skip
    (tmp_path / "grid").write_text("".join(f"{key} = {value}\n" for key, value in description.items()))
    command = [
        "cdo",
        "-s",
        "-b",
        "F64",
        f"{operator},{tmp_path / 'grid'}",
        str(shared_data / GUST),
        str(tmp_path / "out.nc"),
    ]
    subprocess.run(command, check=True, capture_output=True)
    with xr.open_dataset(tmp_path / "out.nc", engine="netcdf4") as opened:
        expected = opened["i10fg"][0].values
    found = Regridder(gust.latitude.values, gust.longitude.values, target, method)(gust.values)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
