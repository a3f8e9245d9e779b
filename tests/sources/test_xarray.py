"""Stores under other names, in other orders and chunks than those of ARCO-ERA5 and WeatherBench 2."""

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from tests.sources.cloud_stores import (
    STATIC,
    UNITS,
    Server,
    check_values,
    expected,
    fetch,
    hours,
    request,
)
from weatherpeft.sources.formats.units import GRAVITY
from weatherpeft.sources.transfer import zarr_copy
from weatherpeft.sources.xarray import Xarray

JANUARY = ("2001-01-01", "2001-01-31")
FIELDS: dict[str, Any] = {
    "surface": ["2m_temperature"],
    "atmospheric": ["temperature", "geopotential"],
    "levels_hpa": [500, 850],
    "static": ["land_sea_mask"],
}
NAMES = {
    "2m_temperature": "tas", "temperature": "ta", "geopotential": "zg", "land_sea_mask": "mask",
    "total_precipitation": "tp", "10m_wind_gust": "i10fg",
}  # fmt: skip
Change = Callable[[xr.Dataset], xr.Dataset]


def dataset(*names: str, step: int = 6, levels: tuple[int, ...] = (850, 500, 250)) -> xr.Dataset:
    """A month in a modeling center's words: south first, levels in Pa, heights in place of geopotential."""
    axes = {
        "time": hours("2000-12-31", "2001-02-01", step).astype("datetime64[ns]"),
        "plev": np.array(levels) * 100.0,
        "lat": np.arange(-82.5, 90, 15),
        "lon": np.arange(-180, 180, 15.0),
    }
    arrays: dict[str, Any] = {}
    for name in names or ("2m_temperature", "temperature", "geopotential", "land_sea_mask"):
        static, on_levels = name in STATIC, name in ("temperature", "geopotential")
        dims = [d for d in axes if (d != "time" or not static) and (d != "plev" or on_levels)]
        values = expected(
            name,
            None if static else axes["time"],
            axes["lat"],
            axes["lon"] % 360,
            levels if on_levels else None,
        )
        units = "m" if name == "geopotential" else UNITS[name]
        values = (values / np.float64(GRAVITY)).astype("f8") if name == "geopotential" else values
        arrays[NAMES[name]] = (dims, values, {"units": units})
    found = xr.Dataset(arrays, axes)
    found["plev"].attrs = {"units": "Pa", "standard_name": "air_pressure", "positive": "down"}
    if "mask" in found:
        found["mask"].attrs["standard_name"] = "land_binary_mask"
    return found


def written(path: Path, data: xr.Dataset, chunks: dict[str, int], zarr_format: Any = 2) -> Path:
    encoding = {
        name: {"chunks": [min(chunks.get(str(d), size), size) for d, size in array.sizes.items()]}
        for name, array in data.data_vars.items()
    }
    data.to_zarr(path, zarr_format=zarr_format, encoding=encoding)
    return path


def source(path: Path | str, start: str = JANUARY[0], end: str = JANUARY[1], **more: Any) -> Xarray:
    spans = [{"start": start, "end": end}]
    return Xarray.parse({"name": "xarray", "path": str(path), "spans": spans, **more})


def close(found: xr.Dataset) -> None:
    """Values as the formula has them, geopotential to rounding."""
    check_values(found.drop_vars("geopotential", errors="ignore"))
    if "geopotential" in found:
        axes = (found[axis].values for axis in ("time", "latitude", "longitude", "level"))
        np.testing.assert_allclose(found["geopotential"], expected("geopotential", *axes), rtol=3e-7)
        assert found["geopotential"].attrs["units"] == "m2 s-2"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stores")
    written(path / "time.zarr", dataset(), {"time": 1})
    written(path / "geo.zarr", dataset(), {"time": 100, "lat": 4, "lon": 5, "plev": 2})
    return path


@pytest.mark.filterwarnings("ignore:Consolidated metadata")
@pytest.mark.parametrize(
    "kind", ["zarr 2", "zarr 3", "zarr 3 in shards", "not consolidated", "zip", "netcdf"]
)
def test_the_same_from_every_kind_of_store(tmp_path: Path, kind: str) -> None:
    path, data = tmp_path / "store", dataset()
    if kind == "netcdf":
        data.to_netcdf(path, encoding={"ta": {"chunksizes": (7, 1, 5, 24)}})
    elif kind == "zip":
        from zarr.storage import ZipStore

        path = tmp_path / "store.zarr.zip"
        with ZipStore(path, mode="w") as store:
            data.to_zarr(store, zarr_format=3, consolidated=False)
    elif kind == "zarr 3 in shards":
        encoding = {"ta": {"chunks": (1, 3, 12, 24), "shards": (13, 3, 12, 24)}}
        data.to_zarr(path, zarr_format=3, encoding=encoding)
    else:
        data.to_zarr(path, zarr_format=3 if "3" in kind else 2, consolidated="not" not in kind)
    found = fetch(source(path), request(*JANUARY, **FIELDS), tmp_path)
    close(found)
    assert found.sizes == {"time": 124, "level": 2, "latitude": 12, "longitude": 24}
    assert found["temperature"].chunks == ((1,) * 124, (2,), (12,), (24,))
    assert source(path).files()[0].is_file()


def test_packed_values(tmp_path: Path) -> None:
    encoding = {"tas": {"dtype": "i2", "scale_factor": 0.01, "add_offset": 280.0, "_FillValue": -32768}}
    dataset("2m_temperature").to_zarr(tmp_path / "a.zarr", zarr_format=2, encoding=encoding)
    found = fetch(source(tmp_path / "a.zarr"), request(*JANUARY, surface=["2m_temperature"]), tmp_path)
    with xr.open_zarr(tmp_path / "a.zarr") as opened:
        values = (
            opened["tas"].assign_coords(lon=opened["lon"] % 360).sortby("lon").sortby("lat", ascending=False)
        )
        np.testing.assert_array_equal(found["2m_temperature"], values.sel(time=found["time"]).astype("f4"))


def test_an_area_across_greenwich_over_http(server: Server, tmp_path: Path) -> None:
    one = source(f"{server.url}/geo.zarr", area=[60, -40, 10, 40])
    found = fetch(one, request(*JANUARY, **FIELDS), tmp_path)
    close(found)
    assert found["latitude"].values.tolist() == [52.5, 37.5, 22.5]
    assert found["longitude"].values.tolist() == [0, 15, 30, 330, 345]
    # Rows 6 to 9 lie in chunks 1 and 2, columns 10 to 14 in chunk 2 alone.
    assert {path.split("/")[-1] for path in server.chunks("/tas/")} == {
        f"{t}.{row}.2" for t in (0, 1) for row in (1, 2)
    }
    with pytest.raises(
        ValueError, match=r"no point lies in the area \[89.0, .* latitudes from -82.5 to 82.5"
    ):
        source(f"{server.url}/geo.zarr", area=[89, 0, 88, 10]).selected(request(*JANUARY, **FIELDS))


def test_chunks_that_are_long_in_time_are_read_once_in_bounded_memory(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = request(*JANUARY, **FIELDS)
    whole = fetch(source(f"{server.url}/geo.zarr"), wanted, tmp_path / "whole").load()
    server.asked.clear()
    monkeypatch.setattr(zarr_copy, "_BLOCK_BYTES", 4 * 100 * 2 * 4 * 5)  # one chunk of two levels
    found = fetch(source(f"{server.url}/geo.zarr"), wanted, tmp_path / "tiles")
    xr.testing.assert_identical(found.load(), whole)
    close(found)
    read = {path: n for path, n in server.chunks("/ta/").items()}
    assert len(read) == 2 * 3 * 5 and set(read.values()) == {1}
    left = [path.name for path in (tmp_path / "tiles/work").iterdir()]
    assert left == ["fields.zarr"]


def test_memory_does_not_grow_with_the_area(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    axes = {
        "time": hours("2001-01-01", "2001-01-14", 1).astype("datetime64[ns]"),
        "lat": np.arange(30, -30, -0.5),
        "lon": np.arange(0, 120, 0.5),
    }
    values = np.full([axis.size for axis in axes.values()], 280, "f4") + np.arange(240, dtype="f4")
    data = xr.Dataset({"tas": (list(axes), values, {"units": "K"})}, axes)
    written(tmp_path / "a.zarr", data, {"lat": 20, "lon": 20})
    monkeypatch.setattr(zarr_copy, "_BLOCK_BYTES", 4 * 336 * 20 * 40)
    peaks = []
    for number, east in enumerate((30, 119.5)):
        one = source(tmp_path / "a.zarr", "2001-01-01", "2001-01-14", area=[30, 0, -30, east], job="span")
        tracemalloc.start()
        found = fetch(
            one, request("2001-01-01", "2001-01-14", 1, surface=["2m_temperature"]), tmp_path / str(number)
        )
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        np.testing.assert_array_equal(
            found["2m_temperature"][-1, 3], np.arange(found.sizes["longitude"]) + 280
        )
    assert peaks[1] < 1.3 * peaks[0] < values.nbytes / 3


def test_holes_are_found_in_tiles_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = dataset("2m_temperature")
    data["tas"][10, 11, 23] = np.nan
    path = written(tmp_path / "a.zarr", data, {"lat": 4, "lon": 5})
    wanted = request(*JANUARY, surface=["2m_temperature"])
    for number, limit in enumerate((2**28, 4 * 132 * 20)):
        monkeypatch.setattr(zarr_copy, "_BLOCK_BYTES", limit)
        with pytest.raises(
            ValueError, match="2m_temperature, 2001-01-02T12:00 UTC: expected finite .* 1 NaN"
        ):
            fetch(source(path), wanted, tmp_path / str(number))


@pytest.mark.filterwarnings("ignore:Consolidated metadata")
def test_an_hour_without_rain_is_no_hole(tmp_path: Path) -> None:
    """In Zarr 3, zero stands for what was never written."""
    data = dataset("total_precipitation", "2m_temperature", step=1) * 0
    for name, units in (("tp", "m"), ("tas", "K")):
        data[name].attrs["units"] = units
    encoding = {name: {"fill_value": 0.0, "_FillValue": None} for name in data.data_vars}
    data.to_zarr(tmp_path / "a.zarr", zarr_format=3, encoding=encoding)
    rain = request("2001-01-01", "2001-01-01", accumulated=["total_precipitation"])
    found = fetch(source(tmp_path / "a.zarr"), rain, tmp_path / "rain")
    assert (found["total_precipitation"] == 0).all()
    with pytest.raises(ValueError, match="2m_temperature, .* no value at all"):
        fetch(source(tmp_path / "a.zarr"), request(*JANUARY, surface=["2m_temperature"]), tmp_path / "air")


def references(path: Path, target: Path) -> Path:
    """A kerchunk file of a store of format 2: metadata inline, chunks by address."""
    refs: dict[str, Any] = {}
    for file in path.rglob("*"):
        if file.is_file():
            name = str(file.relative_to(path))
            refs[name] = (
                file.read_text() if file.name.startswith(".z") else [str(file), 0, file.stat().st_size]
            )
    target.write_text(json.dumps({"version": 1, "refs": refs}))
    return target


def test_kerchunk(folder: Path, tmp_path: Path) -> None:
    path = references(folder / "time.zarr", tmp_path / "refs.json")
    found = fetch(source(path, engine="kerchunk"), request("2001-01-05", "2001-01-05", **FIELDS), tmp_path)
    close(found)
    assert source(path, engine="kerchunk").files() == [path]


@pytest.mark.parametrize("engine", ["netcdf4", "scipy"])
def test_an_engine_by_name(tmp_path: Path, engine: str) -> None:
    dataset("2m_temperature").to_netcdf(tmp_path / "a.nc", format="NETCDF3_64BIT")
    one = source(tmp_path / "a.nc", engine=engine)
    close(fetch(one, request(*JANUARY, surface=["2m_temperature"]), tmp_path))


def test_options_come_from_the_environment(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"headers": {"Authorization": "Bearer $DATA_TOKEN"}}
    one = source(f"{server.url}/time.zarr", storage_options=options)
    wanted = request("2001-01-05", "2001-01-05", surface=["2m_temperature"])
    with pytest.raises(ValueError, match="storage_options: the environment variable DATA_TOKEN is not set"):
        fetch(one, wanted, tmp_path / "without")
    monkeypatch.setenv("DATA_TOKEN", "secret-of-the-job")
    close(fetch(one, wanted, tmp_path / "with"))
    assert {found["Authorization"] for found in server.headers} == {"Bearer secret-of-the-job"}
    assert "secret" not in one.canonical_json()
    kept = [path.read_bytes() for path in (tmp_path / "with").rglob("*") if path.is_file()]
    assert kept and not any(b"secret-of-the-job" in content for content in kept)
    with pytest.raises(ValueError, match="http://example.org: expected https"):
        source("http://example.org/a.zarr", storage_options=options).selected(wanted)


def test_rename_and_one_level_without_a_dimension(tmp_path: Path) -> None:
    data = dataset("temperature").isel(plev=1).rename(ta="x")
    data.to_zarr(tmp_path / "a.zarr", zarr_format=2)
    one = source(tmp_path / "a.zarr", rename={"x": "temperature"})
    close(fetch(one, request(*JANUARY, atmospheric=["temperature"], levels_hpa=[500]), tmp_path))


def test_several_stores_with_different_variables(tmp_path: Path) -> None:
    data = dataset()
    data[["tas", "mask"]].rename(time="valid_time").to_zarr(tmp_path / "surface.zarr", zarr_format=2)
    data[["ta", "zg"]].to_netcdf(tmp_path / "levels.nc")
    stores = [str(tmp_path / "surface.zarr"), str(tmp_path / "levels.nc")]
    one = Xarray.parse({**source("").model_dump(mode="json"), "path": stores})
    close(fetch(one, request(*JANUARY, **FIELDS), tmp_path))
    assert len(one.files()) == 2
    data.to_netcdf(tmp_path / "levels.nc")
    with pytest.raises(ValueError, match=r"levels\.nc: 2m_temperature is in .*surface\.zarr too; give one"):
        one.selected(request(*JANUARY, **FIELDS))


@pytest.mark.parametrize("change", ["turned", "moved", "cropped"])
def test_two_grids_are_never_mixed(tmp_path: Path, change: str) -> None:
    """A copy has one axis of latitude: fields in another order would be upside down."""
    data = dataset("2m_temperature", "temperature")
    other = data["tas"].rename(lat="y", lon="x")
    other["y"].attrs["standard_name"], other["x"].attrs["standard_name"] = "latitude", "longitude"
    changes = {
        "turned": other.isel(y=slice(None, None, -1)), "moved": other.assign_coords(x=other["x"] + 7.5),
        "cropped": other.isel(y=slice(1, None)),
    }  # fmt: skip
    xr.merge([data[["ta"]], changes[change].rename("tas")], compat="no_conflicts", join="outer").to_zarr(
        tmp_path / "a.zarr", zarr_format=2
    )
    wanted = request(*JANUARY, surface=["2m_temperature"], atmospheric=["temperature"], levels_hpa=[500])
    with pytest.raises(ValueError, match=r"a\.zarr: temperature: expected the (lat|long)itudes of 2m_temp"):
        source(tmp_path / "a.zarr").selected(wanted)


def test_jobs_of_months_years_and_spans() -> None:
    labels = {
        job: [p.label for p in source("a", "2000-12-01", "2001-02-03", job=job).periods()]
        for job in ("month", "year", "span")
    }
    assert labels == {
        "month": ["20001201-20001231", "20010101-20010131", "20010201-20010203"],
        "year": ["20001201-20001231", "20010101-20010203"],
        "span": ["20001201-20010203"],
    }


REFUSED: dict[str, tuple[Change, str]] = {
    "no such variable": (
        lambda data: data.drop_vars("tas"),
        r"2m_temperature is missing; found mask \(land_binary_mask, .*\), ta \(K\), zg \(m\)$",
    ),
    "no units": (
        lambda data: data.assign(tas=data["tas"].drop_attrs()), "temperature: expected units K, found none$"
    ),
    "another unit": (lambda data: data.assign(tas=data["tas"].assign_attrs(units="Pa")), "units K, found Pa"),
    "two candidates": (lambda data: data.assign(T2M=data["tas"]), "could be either of T2M and tas"),
    "levels without units": (
        lambda data: data.assign_coords(plev=("plev", data["plev"].values)),
        "its units are not stated, and 85000 is no plausible hPa",
    ),
    "no such level": (lambda data: data.isel(plev=[0]), "temperature at 500 hPa is missing; found 850 hPa"),
    "no such time": (
        lambda data: data.isel(time=slice(0, 40)),
        "2001-01-10T00:00 UTC is missing; found 40 times from .*, every 6 h",
    ),
    "members": (lambda data: data.expand_dims(number=[0, 1]), "expected the dimensions .* found number"),
    "another calendar": (
        lambda data: data.assign_coords(
            time=xr.date_range("2000-12-31", periods=132, freq="6h", calendar="noleap", use_cftime=True)
        ),
        "expected increasing times of the standard calendar",
    ),
    "a projection": (
        lambda data: data.rename(lat="y", lon="x").drop_vars(["x", "y"]), "found .*y without a coordinate"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line(tmp_path: Path, name: str) -> None:
    change, message = REFUSED[name]
    change(dataset()).to_zarr(tmp_path / "a.zarr", zarr_format=2)
    with pytest.raises(ValueError, match=rf"a\.zarr: .*{message}") as error:
        source(tmp_path / "a.zarr").selected(request(*JANUARY, **FIELDS))
    assert "\n" not in str(error.value)


def test_what_cannot_be_opened(server: Server, tmp_path: Path) -> None:
    (tmp_path / "text.nc").write_text("text")
    for path in (
        f"{server.url}/none.zarr",
        f"{server.url}/none.zarr/",
        tmp_path / "none",
        tmp_path / "text.nc",
    ):
        with pytest.raises(ValueError, match=str(path)) as error:
            source(path).selected(request(*JANUARY, **FIELDS))
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="source xarray: expected a store, found none at"):
        source(tmp_path / "none").files()
    (tmp_path / "refs.json").write_text(json.dumps({"version": 1, "refs": {".zgroup": '{"zarr_format": 2}'}}))
    with pytest.raises(ValueError, match="2m_temperature is missing"):
        source(tmp_path / "refs.json", engine="kerchunk").selected(request(*JANUARY, **FIELDS))
