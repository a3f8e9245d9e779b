"""The layout of anemoi-datasets: all variables in one array, on a flattened grid."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from tests.sources.cloud_stores import STATIC, Server, check_values, expected, fetch, hours, request
from weatherpeft.interfaces import DataRequest
from weatherpeft.sources.anemoi import Anemoi
from weatherpeft.sources.formats.units import GRAVITY

JANUARY = ("2001-01-01", "2001-01-10")
TIMES = hours("2000-12-31", "2001-01-12", 6).astype("datetime64[s]")
LATITUDE, LONGITUDE = np.arange(82.5, -90, -15), np.arange(0, 360, 15.0)
FIELDS: dict[str, Any] = {
    "surface": ["2m_temperature"],
    "atmospheric": ["temperature", "geopotential"],
    "levels_hpa": [500, 850],
    "static": ["land_sea_mask"],
}
VARIABLES = {
    "2t": "2m_temperature", "cos_latitude": "2m_temperature", "lsm": "land_sea_mask",
    "t_1000": "temperature", "t_500": "temperature", "t_850": "temperature", "z": "geopotential_at_surface",
    "z_500": "geopotential", "z_850": "geopotential",
}  # fmt: skip


def values(name: str) -> np.ndarray:
    """Fields of a variable, ``(dates, grid)``."""
    ours, _, level = VARIABLES[name], *name.rpartition("_")[1:]
    on_levels = ours in ("temperature", "geopotential")
    times = None if ours in STATIC else TIMES
    field = expected(ours, times, LATITUDE, LONGITUDE, [int(level)] if on_levels else None)
    shape = (TIMES.size, LATITUDE.size * LONGITUDE.size)
    return np.broadcast_to(field.reshape(-1, shape[1]), shape)


def written(path: Path, zarr_format: Any = 2, chunk: int = 1, **changes: Any) -> Path:
    """Write a dataset; ``changes`` replaces arrays and attributes, None leaves them out."""
    content = {
        "data": np.stack([values(name) for name in VARIABLES], axis=1)[:, :, None], "dates": TIMES,
        "latitudes": np.repeat(LATITUDE, LONGITUDE.size), "longitudes": np.tile(LONGITUDE, LATITUDE.size),
        "variables": list(VARIABLES), "resolution": 15.0, "missing_dates": [], "frequency": "6h",
    } | changes  # fmt: skip
    group = zarr.create_group(path, zarr_format=zarr_format)
    for name, value in content.items():
        if isinstance(value, np.ndarray):
            chunks = (chunk, *value.shape[1:]) if name == "data" else value.shape
            group.create_array(name, data=value, chunks=chunks)
        elif value is not None:
            group.attrs[name] = value
    zarr.consolidate_metadata(path, zarr_format=zarr_format)
    return path


def source(path: Path | str, **more: Any) -> Anemoi:
    spans = [{"start": JANUARY[0], "end": JANUARY[1]}]
    return Anemoi.parse({"name": "anemoi", "path": str(path), "spans": spans, **more})


WANTED = request(*JANUARY, **FIELDS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("stores") / "era5.zarr").parent


@pytest.mark.filterwarnings("ignore:Consolidated metadata", "ignore:The data type")
@pytest.mark.parametrize(("zarr_format", "chunk"), [(2, 1), (2, 5), (3, 1)])
def test_values(tmp_path: Path, zarr_format: int, chunk: int) -> None:
    path = written(tmp_path / "era5.zarr", zarr_format, chunk)
    found = fetch(source(path), WANTED, tmp_path)
    check_values(found)
    assert found.sizes == {"time": 40, "level": 2, "latitude": 12, "longitude": 24}
    assert found["temperature"].dims == ("time", "level", "latitude", "longitude")
    assert source(path).files()[0].is_file()


def test_each_chunk_is_read_once_for_all_variables(server: Server, tmp_path: Path) -> None:
    check_values(fetch(source(f"{server.url}/era5.zarr"), WANTED, tmp_path))
    read = server.chunks("/data/")
    # The 40 times of the request and, for the static field, the first of the dataset.
    assert set(read) == {f"/era5.zarr/data/{n}.0.0.0" for n in [0, *range(4, 44)]}
    assert max(read.values()) <= 2 and sum(read.values()) <= 42


def test_an_area_and_south_first(tmp_path: Path) -> None:
    turned: dict[str, Any] = {
        "latitudes": np.repeat(LATITUDE[::-1], LONGITUDE.size),
        "data": np.stack([values(name) for name in VARIABLES], 1)
        .reshape(TIMES.size, len(VARIABLES), 1, LATITUDE.size, LONGITUDE.size)[..., ::-1, :]
        .reshape(TIMES.size, len(VARIABLES), 1, -1),
    }
    path = written(tmp_path / "era5.zarr", **turned)
    found = fetch(source(path, area=[60, -40, 10, 40]), WANTED, tmp_path)
    check_values(found)
    assert found["latitude"].values.tolist() == [52.5, 37.5, 22.5]
    assert found["longitude"].values.tolist() == [0, 15, 30, 330, 345]


def test_heights_and_renamed_variables(tmp_path: Path) -> None:
    names = ["gh" + name[1:] if name.startswith("z_") else name for name in VARIABLES]
    names[0] = "t2"
    path = written(tmp_path / "era5.zarr", variables=names)
    found = fetch(source(path, rename={"t2": "2m_temperature"}), WANTED, tmp_path)
    check_values(found.drop_vars("geopotential"))
    axes = (found[axis].values for axis in ("time", "latitude", "longitude", "level"))
    np.testing.assert_allclose(found["geopotential"], expected("geopotential", *axes) * GRAVITY, rtol=3e-7)


# An octahedral grid: 20 points around each pole and 4 more on each row towards the equator.
POINTS = [20, 24, 28, 28, 24, 20]
REDUCED = {
    "latitudes": np.repeat(np.linspace(75, -75, 6), POINTS),
    "longitudes": np.concatenate([np.arange(n) * 360 / n for n in POINTS]),
    "data": np.full((TIMES.size, len(VARIABLES), 1, sum(POINTS)), 280.0, "f4"),
    "resolution": "o3",
}
SCATTERED = REDUCED | {"latitudes": np.linspace(60, 50, sum(POINTS)), "resolution": None}

REFUSED: dict[str, tuple[dict[str, Any], DataRequest, str]] = {
    "reduced Gaussian": (REDUCED, WANTED, "found 144 points of resolution o3, .* grid: 0.25/0.25"),
    "unstructured": (SCATTERED, WANTED, "expected a grid of rows and columns, found 144 points .*unknown"),
    "an ensemble": (
        {"data": np.zeros((TIMES.size, len(VARIABLES), 2, 288), "f4")}, WANTED, "of one member, found 2"
    ),
    "no such variable": (
        {}, request(*JANUARY, surface=["surface_pressure"]), "surface_pressure is missing; found 2t, cos_lat"
    ),
    "no such level": (
        {}, request(*JANUARY, atmospheric=["temperature"], levels_hpa=[700]),
        "temperature at 700 hPa is missing; found 500, 850, 1000 hPa",
    ),
    "no such time": (
        {}, request("2001-01-12", "2001-01-13", surface=["2m_temperature"]),
        "2001-01-13T00:00 UTC is missing; found 52 times .*, every 6 h",
    ),
    "a missing date": (
        {"missing_dates": ["2001-01-03T06:00:00", "2001-01-03T12:00:00"]}, WANTED,
        "2001-01-03T06:00 UTC is one of the dataset's missing_dates, .* 2 times from",
    ),
    "sums over six hours": (
        {"variables": ["tp", *list(VARIABLES)[1:]]}, request(*JANUARY, accumulated=["total_precipitation"]),
        "T01:00 UTC is missing; .* sum over 1 hour",
    ),
    "another layout": ({"dates": None}, WANTED, "layout of anemoi-datasets, found no array dates"),
    "no names": ({"variables": None}, WANTED, "found no attribute variables"),
    "two of a name": (
        {"variables": ["2t", "2m_temperature", *list(VARIABLES)[2:]]}, WANTED,
        "could be either of 2t and 2m_temperature",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line(tmp_path: Path, name: str) -> None:
    changes, wanted, message = REFUSED[name]
    path = written(tmp_path / "era5.zarr", **changes)
    with pytest.raises(ValueError, match=rf"era5\.zarr: .*{message}") as error:
        source(path).selected(wanted)
    assert "\n" not in str(error.value)


def test_what_cannot_be_opened(server: Server, tmp_path: Path) -> None:
    for path in (tmp_path / "none.zarr", f"{server.url}/none.zarr"):
        with pytest.raises(ValueError, match=f"{path}: cannot open a Zarr store there") as error:
            source(path).selected(WANTED)
        assert "\n" not in str(error.value)


# What anemoi-datasets itself made of these values (see make.py there).
MADE = Path(__file__).with_name("anemoi_made")
DAY = ("2001-01-01", "2001-01-01")
RAIN = request(*DAY, accumulated=["total_precipitation"])


def test_a_dataset_of_anemoi_datasets(tmp_path: Path) -> None:
    shutil.unpack_archive(MADE / "analyses.zarr.zip", tmp_path / "analyses.zarr")
    wanted = request(
        "2001-01-01", "2001-01-02", **FIELDS | {"static": ["land_sea_mask", "geopotential_at_surface"]}
    )
    for number, path in enumerate((MADE / "analyses.zarr.zip", tmp_path / "analyses.zarr")):
        found = fetch(source(path), wanted, tmp_path / str(number))
        check_values(found)
        assert len(found) == 5 and found.sizes == {"time": 8, "level": 2, "latitude": 12, "longitude": 24}
    check_values(fetch(source(MADE / "rain.zarr.zip"), RAIN, tmp_path))


def test_a_missing_date_of_anemoi_datasets(tmp_path: Path) -> None:
    spans = [
        {
            "start": "2001-01-03",
            "end": "2001-01-03",
            "gaps": [{"start": "2001-01-03T06", "end": "2001-01-03T06"}],
        }
    ]
    wanted = {"variables": {"surface": ["2m_temperature"]}, "period": spans[0], "step_hours": 6}
    one = Anemoi.parse({"name": "anemoi", "path": str(MADE / "analyses.zarr.zip"), "spans": spans})
    found = fetch(one, DataRequest.parse(wanted), tmp_path)
    check_values(found)
    assert found["time"].dt.hour.values.tolist() == [0, 12, 18]
    with pytest.raises(
        ValueError, match=r"2001-01-03T06:00 UTC is one of the dataset's missing_dates, .* hours: \[0, 12, 18"
    ):
        one.selected(request("2001-01-03", "2001-01-03", surface=["2m_temperature"]))


def test_datasets_of_anemoi_datasets_that_are_refused() -> None:
    with pytest.raises(ValueError, match=r"ensemble\.zarr\.zip: expected a dataset of one member, found 2$"):
        source(MADE / "ensemble.zarr.zip").selected(request(*DAY, surface=["2m_temperature"]))
    with pytest.raises(ValueError, match=r"3h\.zarr\.zip: total_precipitation: .* found sums over 3 h, tp$"):
        source(MADE / "rain_3h.zarr.zip").selected(RAIN)


def test_stated_units_are_converted(tmp_path: Path) -> None:
    path = tmp_path / "era5.zarr"
    shutil.unpack_archive(MADE / "analyses.zarr.zip", path)
    attributes = json.loads((path / ".zattrs").read_text())
    metadata = attributes["variables_metadata"]
    metadata["2t"]["units"] = "degC"
    metadata["z_500"]["units"] = metadata["z_850"]["units"] = "gpm"
    (path / ".zattrs").write_text(json.dumps(attributes))
    found = fetch(source(path), request(*DAY, **FIELDS), tmp_path)
    axes = [found[axis].values for axis in ("time", "latitude", "longitude", "level")]
    np.testing.assert_allclose(
        found["2m_temperature"], expected("2m_temperature", *axes[:3]) + 273.15, rtol=3e-7
    )
    np.testing.assert_allclose(found["geopotential"], expected("geopotential", *axes) * GRAVITY, rtol=3e-7)
    for units, message in (
        ("K", "same units on all levels, found K, gpm"),
        ("Pa", "expected units m2 s-2, found Pa"),
    ):
        metadata["z_500"]["units"] = units
        metadata["z_850"]["units"] = "gpm" if units == "K" else units
        (path / ".zattrs").write_text(json.dumps(attributes))
        with pytest.raises(ValueError, match=f"era5.zarr: geopotential: .*{message}"):
            source(path).selected(request(*DAY, **FIELDS))


def test_a_server_without_listings(server: Server, folder: Path, tmp_path: Path) -> None:
    """Nothing is read by a codec that is not known to be harmless, though no list names the arrays."""
    shutil.unpack_archive(MADE / "analyses.zarr.zip", folder / "made.zarr")
    server.status |= {"/made.zarr": 404, "/made.zarr/": 404}
    wanted = request(*DAY, **FIELDS)
    check_values(fetch(source(f"{server.url}/made.zarr"), wanted, tmp_path))
    array = folder / "made.zarr/data/.zarray"
    array.write_text(json.dumps({**json.loads(array.read_text()), "compressor": {"id": "base64"}}))
    with pytest.raises(ValueError, match="data: expected codecs that are known to be harmless, found base64"):
        source(f"{server.url}/made.zarr").selected(wanted)
