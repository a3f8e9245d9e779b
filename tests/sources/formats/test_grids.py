"""Grids of GRIB and NetCDF files: Gaussian, in any scanning order, or refused with a command."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import eccodes
import numpy as np
import pytest
import xarray as xr

from weatherpeft.fields.gaussian import gaussian_latitudes
from weatherpeft.fields.grid import Grid, Region
from weatherpeft.fields.regridding import Regridder
from weatherpeft.interfaces import DataRequest
from weatherpeft.sources.formats.files import open_canonical
from weatherpeft.sources.formats.grids import advice

DAY = {"start": "2007-03-23", "end": "2007-03-23"}
TEMPERATURE = DataRequest.parse(
    {"variables": {"surface": ["2m_temperature"]}, "period": DAY, "step_hours": 24}
)


def smooth(latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
    """A field in K that differs at all places and in both directions."""
    north, east = np.deg2rad(latitude), np.deg2rad(longitude)
    return 280 + 20 * np.cos(north) + 5 * np.sin(north) + 3 * np.sin(east) * np.cos(north) ** 2


def write(path: Path, sample: str, values: np.ndarray | None = None, **keys: Any) -> Path:
    """A message of the sample with other keys, at 00 UTC of the day; by default smooth at its points."""
    handle = eccodes.codes_grib_new_from_samples(sample)
    keys = {"paramId": 167, "dataDate": 20070323, "dataTime": 0, **keys}
    for key, value in keys.items():
        eccodes.codes_set(handle, key, value)
    if values is None:
        values = smooth(*(eccodes.codes_get_array(handle, name) for name in ("latitudes", "longitudes")))
    eccodes.codes_set(handle, "bitsPerValue", 24)
    eccodes.codes_set_values(handle, values.ravel())
    path.write_bytes(eccodes.codes_get_message(handle))
    eccodes.codes_release(handle)
    return path


def read(path: Path) -> xr.DataArray:
    return open_canonical([path], TEMPERATURE)["2m_temperature"][0].load()


def assert_smooth(found: xr.DataArray, tolerance: float = 1e-4) -> None:
    expected = smooth(found["latitude"].values[:, None], found["longitude"].values)
    np.testing.assert_allclose(found, expected, atol=tolerance)


@pytest.mark.parametrize("edition", [1, 2])
@pytest.mark.parametrize("number", [32, 48, 320])
def test_regular_gaussian_grib(tmp_path: Path, edition: int, number: int) -> None:
    rows, columns = 2 * number, 4 * number
    latitude = gaussian_latitudes(rows)
    keys = {
        "N": number, "Ni": columns, "Nj": rows, "latitudeOfFirstGridPointInDegrees": latitude[0],
        "latitudeOfLastGridPointInDegrees": latitude[-1], "longitudeOfFirstGridPointInDegrees": 0,
        "longitudeOfLastGridPointInDegrees": 360 - 360 / columns,
        "iDirectionIncrementInDegrees": 360 / columns,
    }  # fmt: skip
    values = smooth(latitude[:, None], np.arange(columns) * 360 / columns)
    found = read(write(tmp_path / "a.grib", f"regular_gg_sfc_grib{edition}", values, **keys))
    assert found.shape == (rows, columns)
    np.testing.assert_allclose(found["latitude"], latitude, atol=1e-9)
    assert_smooth(found)


def test_a_part_of_a_gaussian_grid_south_first(tmp_path: Path) -> None:
    latitude = gaussian_latitudes(64)[:20][::-1]
    longitude = np.arange(350, 372, 2.0)
    keys = {
        "N": 32, "Ni": longitude.size, "Nj": latitude.size, "jScansPositively": 1,
        "latitudeOfFirstGridPointInDegrees": latitude[0], "latitudeOfLastGridPointInDegrees": latitude[-1],
        "longitudeOfFirstGridPointInDegrees": 350, "longitudeOfLastGridPointInDegrees": 10,
        "iDirectionIncrementInDegrees": 2,
    }  # fmt: skip
    values = smooth(latitude[:, None], longitude)
    found = read(write(tmp_path / "a.grib", "regular_gg_sfc_grib2", values, **keys))
    np.testing.assert_allclose(found["latitude"], latitude[::-1], atol=1e-9)
    assert_smooth(found)


def test_rows_of_another_gaussian_grid_are_refused(tmp_path: Path) -> None:
    values = np.linspace(280, 290, 8192)
    path = write(tmp_path / "a.grib", "regular_gg_sfc_grib2", values, latitudeOfFirstGridPointInDegrees=87.0)
    with pytest.raises(
        ValueError, match=r"a\.grib: 2m_temperature.*: expected consecutive rows of .* grid F32"
    ):
        read(path)


@pytest.mark.parametrize("south_first", [False, True])
@pytest.mark.parametrize("number", [32, 320])
def test_gaussian_netcdf_and_its_cells(tmp_path: Path, south_first: bool, number: int) -> None:
    """Latitudes as files write them, to six digits, up to the pole, where no axis is regular."""
    latitude = gaussian_latitudes(2 * number)[: number // 2]
    longitude = np.arange(0, 360, 2.5)
    axes = {
        "time": [np.datetime64("2007-03-23", "ns")],
        "latitude": np.round(latitude, 6),
        "longitude": longitude,
    }
    values = smooth(latitude[:, None], longitude)[None].astype(np.float32)
    dataset = xr.Dataset({"t2m": (list(axes), values, {"units": "K"})}, axes)
    dataset.isel(latitude=slice(None, None, -1 if south_first else 1)).to_netcdf(tmp_path / "a.nc")
    found = read(tmp_path / "a.nc")
    np.testing.assert_allclose(found["latitude"], latitude, atol=1e-9)
    assert_smooth(found)
    target = Grid(resolution_deg=5, region=Region(north=90, south=60, west=0, east=360))
    regridder = Regridder(found["latitude"].values, found["longitude"].values, target, "bilinear")
    wanted = smooth(target.latitude[:, None], target.longitude)
    np.testing.assert_allclose(regridder(found.values), wanted, atol=0.01)


def test_a_part_of_a_fine_gaussian_grid_stays_regular(tmp_path: Path) -> None:
    latitude = gaussian_latitudes(640)
    latitude = latitude[(latitude < 50.1) & (latitude > 45)]
    longitude = np.arange(0, 6, 0.25)
    axes = {"time": [np.datetime64("2007-03-23", "ns")], "latitude": latitude, "longitude": longitude}
    values = smooth(latitude[:, None], longitude)[None].astype(np.float32)
    xr.Dataset({"t2m": (list(axes), values, {"units": "K"})}, axes).to_netcdf(tmp_path / "a.nc")
    found = read(tmp_path / "a.nc")
    np.testing.assert_allclose(found["latitude"], latitude, atol=1.2e-3)
    np.testing.assert_array_equal(found, values[0])


@pytest.mark.parametrize("by_column", [0, 1])
@pytest.mark.parametrize("alternating", [0, 1])
@pytest.mark.parametrize(("westward", "northward"), [(0, 0), (1, 0), (0, 1)])
def test_scanning_orders(
    tmp_path: Path, by_column: int, alternating: int, westward: int, northward: int
) -> None:
    """The order of the values is that of the WMO's flag table 3.4."""
    latitude, longitude = np.linspace(60, 30, 16), np.linspace(0, 60, 31)
    latitude = latitude[::-1] if northward else latitude
    longitude = longitude[::-1] if westward else longitude
    lines = smooth(latitude[:, None], longitude)
    lines = lines.T if by_column else lines
    if alternating:
        lines = np.array([line[::-1] if number % 2 else line for number, line in enumerate(lines)])
    keys = {
        "Ni": 31, "Nj": 16, "iScansNegatively": westward, "jScansPositively": northward,
        "jPointsAreConsecutive": by_column, "alternativeRowScanning": alternating,
        "latitudeOfFirstGridPointInDegrees": latitude[0], "latitudeOfLastGridPointInDegrees": latitude[-1],
        "longitudeOfFirstGridPointInDegrees": longitude[0],
        "longitudeOfLastGridPointInDegrees": longitude[-1], "iDirectionIncrementInDegrees": 2,
        "jDirectionIncrementInDegrees": 2,
    }  # fmt: skip
    assert_smooth(read(write(tmp_path / "a.grib", "regular_ll_sfc_grib2", lines, **keys)))


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "reduced_gg": ("reduced_gg_sfc_grib1", {}, "cdo setgridtype,regular FILE NEW"),
    "rotated_ll": ("rotated_ll_sfc_grib2", {}, "cdo sellonlatbox,WEST,EAST,SOUTH,NORTH -remapbil,"),
    "polar_stereographic": ("polar_stereographic_sfc_grib2", {}, "cdo sellonlatbox,"),
    "lambert": (
        "GRIB2",
        {
            "gridType": "lambert", "Nx": 40, "Ny": 30, "latitudeOfFirstGridPointInDegrees": 40.0,
            "longitudeOfFirstGridPointInDegrees": 355.0, "LaDInDegrees": 47.0, "LoVInDegrees": 5.0,
            "DxInMetres": 30000, "DyInMetres": 30000, "Latin1InDegrees": 47.0, "Latin2InDegrees": 47.0,
            "jScansPositively": 1,
        },
        "cdo sellonlatbox,",
    ),
    "rotated_gg": ("rotated_gg_sfc_grib2", {}, "MARS: grid=0.25/0.25"),
}  # fmt: skip


def refused(folder: Path, kind: str) -> tuple[Path, str]:
    """A file of a kind of grid that is refused, and the message."""
    sample, keys, _ = REFUSED[kind]
    path = write(
        folder / f"{kind}.grib", sample, np.linspace(280, 290, 1200) if kind == "lambert" else None, **keys
    )
    with pytest.raises(ValueError) as caught:
        read(path)
    return path, str(caught.value)


@pytest.mark.parametrize("kind", REFUSED)
def test_other_grids_are_refused_with_a_way_out(tmp_path: Path, kind: str) -> None:
    path, message = refused(tmp_path, kind)
    assert message.startswith(f"{path}: 2m_temperature, 2007-03-23T00:00 UTC")
    assert ": expected rows of latitude and columns of longitude, found a" in message
    assert REFUSED[kind][2] in message and "\n" not in message


def test_spectral_coefficients_are_refused_with_a_way_out(tmp_path: Path) -> None:
    coefficients = np.zeros(4160)
    coefficients[[0, 2]] = 280, 10
    path = write(tmp_path / "sh.grib", "sh_sfc_grib2", coefficients)
    with pytest.raises(ValueError, match="found spectral coefficients; convert it with: cdo sp2gp FILE NEW"):
        read(path)


def test_netcdf_without_rows_and_columns(tmp_path: Path) -> None:
    rows, columns = np.mgrid[42:46:0.5, 0:8:0.5]
    time = [np.datetime64("2007-03-23", "ns")]
    two = {"lat": (("y", "x"), rows + 0.1 * columns), "lon": (("y", "x"), columns - 0.05 * rows)}
    field = (("time", "y", "x"), np.full((1, *rows.shape), 280.0), {"units": "K"})
    xr.Dataset({"t2m": field}, {"time": time, **two}).to_netcdf(tmp_path / "two.nc")
    with pytest.raises(ValueError, match=r"two\.nc: 2m_temperature: .*two-dimensional .*cdo sellonlatbox,"):
        read(tmp_path / "two.nc")
    cells = {name: ("cell", values.ravel()) for name, (_, values) in two.items()}
    flat = (("time", "cell"), np.full((1, rows.size), 280.0), {"units": "K"})
    xr.Dataset({"t2m": flat}, {"time": time, **cells}).to_netcdf(tmp_path / "cells.nc")
    with pytest.raises(
        ValueError, match=r"cells\.nc: .* unstructured grid; .*: cdo remapdis,global_0\.25 FILE NEW"
    ):
        read(tmp_path / "cells.nc")


@pytest.mark.skipif(shutil.which("cdo") is None, reason="cdo is not on PATH")
@pytest.mark.parametrize("kind", ["reduced_gg", "lambert", "rotated_ll"])
def test_the_command_makes_a_file_that_is_read(tmp_path: Path, kind: str) -> None:
    path, message = refused(tmp_path, kind)
    command = message.partition("convert it with: ")[2].partition(" (")[0]
    box = {"lambert": "0,10,42,46", "rotated_ll": "20,160,65,80"}.get(kind, "")
    files = {"FILE": str(path), "NEW": str(tmp_path / "new.grib"), "WEST,EAST,SOUTH,NORTH": box}
    for word, value in files.items():
        command = command.replace(word, value)
    subprocess.run([*command.split()[:1], "-s", *command.split()[1:]], check=True, capture_output=True)
    found = read(tmp_path / "new.grib")
    assert 270 < found.mean() < 310 and found.size > 100


def test_an_unknown_kind_is_named() -> None:
    assert advice("space_view").startswith(
        "expected rows of latitude and columns of longitude, found a grid of"
    )
