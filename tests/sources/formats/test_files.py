"""Raw files against ecCodes' and cfgrib's own reading, and every trap with its message."""

import subprocess
import sys
import zipfile
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import eccodes
import numpy as np
import pytest
import xarray as xr

from weatherpeft.fields.grid import Grid
from weatherpeft.interfaces import DataRequest
from weatherpeft.sources.formats.files import HOURLY_TIME, open_canonical, sniff
from weatherpeft.sources.formats.grib_header import inventory

GRID = Grid(resolution_deg=15, poles=True)
START = datetime(2001, 1, 1)


def grib(
    path: Path, messages: list[dict[str, Any]], grid: Grid = GRID, edition: int = 1, ascending: bool = False
) -> Path:
    """Write messages; ``values`` is a field, north first, everything else ecCodes keys."""
    latitude = grid.latitude[::-1] if ascending else grid.latitude
    with path.open("wb") as stream:
        for message in messages:
            handle = eccodes.codes_grib_new_from_samples(f"regular_ll_sfc_grib{edition}")
            keys = {
                "centre": "ecmf", "Ni": grid.shape[1], "Nj": grid.shape[0],
                "latitudeOfFirstGridPointInDegrees": latitude[0],
                "latitudeOfLastGridPointInDegrees": latitude[-1], "longitudeOfFirstGridPointInDegrees": 0.0,
                "longitudeOfLastGridPointInDegrees": grid.longitude[-1],
                "iDirectionIncrementInDegrees": grid.resolution_deg,
                "jDirectionIncrementInDegrees": grid.resolution_deg, "jScansPositively": int(ascending),
                **message,
            }  # fmt: skip
            values = np.asarray(
                keys.pop("values", np.linspace(0, 1, np.prod(grid.shape)).reshape(grid.shape))
            )
            eccodes.codes_set_values(
                handle, np.linspace(0, 1, values.size)
            )  # a template that is not constant
            for key, value in keys.items():
                eccodes.codes_set(handle, key, value)
            eccodes.codes_set(handle, "bitsPerValue", 16)
            values = values[::-1] if ascending else values
            if np.isnan(values).any():
                eccodes.codes_set(handle, "bitmapPresent", 1)
                eccodes.codes_set(handle, "missingValue", 9999.0)
            eccodes.codes_set_values(handle, np.nan_to_num(values, nan=9999.0).ravel())
            eccodes.codes_write(handle, stream)
            eccodes.codes_release(handle)
    return path


def moment(hours: int) -> dict[str, int]:
    time = START + timedelta(hours=hours)
    return {"dataDate": int(f"{time:%Y%m%d}"), "dataTime": time.hour * 100}


def surface(param: int = 167, hours: tuple[int, ...] = (0, 6, 12, 18), **keys: Any) -> list[dict[str, Any]]:
    return [{"paramId": param, **moment(hour), "values": field(hour), **keys} for hour in hours]


def field(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(280, 10, GRID.shape)


def rain() -> list[dict[str, Any]]:
    """Hourly sums as ERA5 has them: forecasts from 06 and 18 UTC, steps 1 to 12 h."""
    messages = []
    for hour in range(24):
        base = 6 if 7 <= hour <= 18 else 18 if hour > 18 else -6
        values = np.full(GRID.shape, hour * 1e-3)
        values[0, 0] = 1.0
        keys = {"startStep": hour - base - 1, "endStep": hour - base}
        messages.append({"paramId": 228, "stepType": "accum", **moment(base), **keys, "values": values})
    return messages


def pressure(
    levels: tuple[int, ...] = (500, 850), hours: tuple[int, ...] = (0, 6, 12, 18)
) -> list[dict[str, Any]]:
    return [
        {
            "paramId": 130,
            "typeOfLevel": "isobaricInhPa",
            "level": level,
            **moment(hour),
            "values": field(level + hour),
        }
        for hour in hours
        for level in levels
    ]


def request(
    step_hours: int = 6, members: tuple[int, ...] = (), days: int = 1, **variables: Any
) -> DataRequest:
    period = {"start": "2001-01-01", "end": f"2001-01-{days:02d}"}
    values = {"variables": variables, "period": period, "step_hours": step_hours, "members": members}
    return DataRequest.parse(values)


TEMPERATURE = request(surface=["2m_temperature"])


def test_content_is_sniffed_whatever_the_name(tmp_path: Path) -> None:
    path = tmp_path / "data.nc"
    contents = {
        b"\x89HDF\r\n\x1a\n....": "NetCDF4", b"CDF\x02....": "NetCDF3", b"GRIB\0\0\0\1": "GRIB",
        b"\0\0\0\0GRIB\0\0\0\1": "GRIB", b"PK\x03\x04": "ZIP archive", b" <!DOCTYPE html>": "HTML page",
        b"<html>": "HTML page", b"": "empty", b"time,value\n": "unknown",
    }  # fmt: skip
    for content, kind in contents.items():
        path.write_bytes(content)
        assert sniff(path) == kind


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty"), (b"<html>", "is an HTML page"), (b"a,b\n", "is neither GRIB nor NetCDF")],
)
def test_files_that_are_no_data(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "data.grib").write_bytes(content)
    with pytest.raises(ValueError, match=rf"data\.grib: {message}"):
        open_canonical([tmp_path / "data.grib"], TEMPERATURE)


def test_a_zip_archive_is_called_one(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "data.nc", "w") as archive:
        archive.writestr("inner.nc", b"CDF")
    with pytest.raises(ValueError, match=r"data\.nc: is a ZIP archive; unpack it"):
        open_canonical([tmp_path / "data.nc"], TEMPERATURE)


@pytest.mark.parametrize("keep", [0.999, 0.9, 0.6, 0.01])
def test_truncated_grib(tmp_path: Path, keep: float) -> None:
    path = grib(tmp_path / "data.grib", surface())
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(ValueError, match=r"data\.grib: message \d, after byte \d+ of \d+: truncated"):
        inventory(path)


def test_a_hole_between_messages(tmp_path: Path) -> None:
    path = grib(tmp_path / "data.grib", surface(hours=(0, 6, 12)))
    content = bytearray(path.read_bytes())
    length = len(content) // 3
    content[length : length + 4] = b"XXXX"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"message 2, after byte {length} .*bytes are no message"):
        inventory(path)
    path.write_bytes(b"".join(bytes(content[:length]) + b"\0" * 18 for _ in range(2)))
    assert len(inventory(path)) == 2  # ECMWF's padding


def test_inventory_reads_headers(tmp_path: Path) -> None:
    path = grib(tmp_path / "data.grib", [*pressure(hours=(6,)), *rain()[:2]])
    first, _, third, fourth = inventory(path)
    assert (first.param_id, first.type_of_level, first.level) == (130, "isobaricInhPa", 500)
    assert first.valid_time == np.datetime64("2001-01-01T06:00") and first.interval_hours == 0
    assert third.valid_time == np.datetime64("2001-01-01T00:00")
    assert fourth.valid_time == np.datetime64("2001-01-01T01:00")
    assert (third.param_id, third.interval_hours) == (228, 1)


@pytest.mark.parametrize("edition", [1, 2])
@pytest.mark.parametrize("ascending", [False, True])
def test_grib_is_read_as_cfgrib_reads_it(tmp_path: Path, edition: int, ascending: bool) -> None:
    height: dict[str, Any] = {"typeOfLevel": "heightAboveGround", "level": 2} if edition == 2 else {}
    winds: dict[str, Any] = {"typeOfLevel": "heightAboveGround", "level": 10} if edition == 2 else {}
    messages = [*surface(**height), *surface(165, **winds), *pressure(), *surface(151)]
    path = grib(tmp_path / "data.grib", messages, edition=edition, ascending=ascending)
    wanted = request(
        surface=["10m_u_component_of_wind", "2m_temperature"],
        atmospheric=["temperature"],
        levels_hpa=[500, 850],
    )
    found = open_canonical([path], wanted)
    assert found["temperature"].dims == ("time", "level", "latitude", "longitude")
    assert found["temperature"].chunks == ((1,) * 4, (2,), (13,), (24,))
    np.testing.assert_array_equal(found["latitude"], GRID.latitude)
    assert all(array.dtype == np.float32 for array in found.data_vars.values())
    found.load()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["data.grib"]  # no index files
    for name, param in (("2m_temperature", 167), ("10m_u_component_of_wind", 165), ("temperature", 130)):
        options = {"indexpath": "", "errors": "raise", "filter_by_keys": {"paramId": param}}
        with xr.open_dataset(path, engine="cfgrib", backend_kwargs=options) as dataset:
            expected = next(iter(dataset.data_vars.values())).sortby("latitude", ascending=False)
            if param == 130:
                expected = expected.sel(isobaricInhPa=[500, 850]).transpose("time", "isobaricInhPa", ...)
            np.testing.assert_array_equal(found[name], expected)


def test_rain_statics_and_several_files(tmp_path: Path) -> None:
    files = [
        grib(tmp_path / "rain.grib", rain()),
        grib(
            tmp_path / "air.grib",
            [*surface(hours=tuple(range(24))), *surface(129, hours=(0, 1)), *pressure()],
        ),
    ]
    wanted = request(
        surface=["2m_temperature"], accumulated=["total_precipitation"], static=["geopotential_at_surface"],
        atmospheric=["temperature"], levels_hpa=[850],
    )  # fmt: skip
    found = open_canonical(files, wanted)
    assert found.sizes[HOURLY_TIME] == 24 and found.sizes["time"] == 4 and found.sizes["level"] == 1
    hours = (found[HOURLY_TIME].values - np.datetime64(START)) / np.timedelta64(1, "h")
    np.testing.assert_allclose(found["total_precipitation"][:, 5, 5], hours * 1e-3, atol=2e-5)
    np.testing.assert_allclose(found["geopotential_at_surface"], field(0), atol=1e-2)
    np.testing.assert_allclose(found["2m_temperature"][1], field(6), atol=1e-2)
    assert found["total_precipitation"].attrs["units"] == "m"


def test_members(tmp_path: Path) -> None:
    member = {"localDefinitionNumber": 1, "setLocalDefinition": 1, "stream": "enda"}
    messages = [
        m | member | {"number": n, "values": field(n)} for m in surface(hours=(0,)) for n in (0, 1, 2)
    ]
    path = grib(tmp_path / "data.grib", messages)
    wanted = request(step_hours=24, members=(0, 2), surface=["2m_temperature"])
    found = open_canonical([path], wanted)["2m_temperature"]
    assert found.dims == ("member", "time", "latitude", "longitude") and found["member"].values.tolist() == [
        0,
        2,
    ]
    np.testing.assert_allclose(found[1, 0], field(2), atol=1e-2)
    with pytest.raises(ValueError, match="member 3 is missing .* found no member 3, only 0, 1, 2"):
        open_canonical([path], request(step_hours=24, members=(0, 3), surface=["2m_temperature"]))
    with pytest.raises(ValueError, match="as members 0 and 1, and the request names no members"):
        open_canonical([path], request(step_hours=24, surface=["2m_temperature"]))


def test_missing_fields_are_named(tmp_path: Path) -> None:
    path = grib(tmp_path / "data.grib", [*surface(hours=(0, 6, 18)), *pressure()])
    for wanted, message in (
        (TEMPERATURE, r"data\.grib: 2m_temperature, 2001-01-01T12:00 UTC is missing \(1 of 4"),
        (
            request(atmospheric=["temperature"], levels_hpa=[500, 700]),
            "found no level 700, only 500, 850 hPa",
        ),
        (request(surface=["surface_pressure"]), r"found none at all \(short name sp, param id 134\)"),
        (request(static=["land_sea_mask"]), "land_sea_mask is missing"),
    ):
        with pytest.raises(ValueError, match=message) as error:
            open_canonical([path], wanted)
        assert "\n" not in str(error.value)


def test_two_versions_of_a_field(tmp_path: Path) -> None:
    local: dict[str, Any] = {"setLocalDefinition": 1}
    first = grib(tmp_path / "a.grib", surface(**local, expver="0001"))
    second = grib(tmp_path / "b.grib", surface(hours=(18,), **local, expver="0005"))
    with pytest.raises(ValueError, match=r"b\.grib: .*T18:00 UTC: found twice .*expver 0001 and 0005"):
        open_canonical([first, second], TEMPERATURE)
    with pytest.raises(ValueError, match=r"found twice \(before in a\.grib\), the same field"):
        open_canonical([first, first], TEMPERATURE)


def test_versions_are_recorded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    local: dict[str, Any] = {"setLocalDefinition": 1}
    messages = [
        *surface(hours=(0, 6), **local, expver="0001"),
        *surface(hours=(12, 18), **local, expver="0005"),
    ]
    found = open_canonical([grib(tmp_path / "a.grib", messages)], TEMPERATURE)
    first, second = found.attrs["expver"].split("; ")
    assert first == "0001: 2 fields, 2001-01-01T00:00 to 2001-01-01T06:00"
    assert second == "0005: 2 fields, 2001-01-01T12:00 to 2001-01-01T18:00"
    assert "expver 0005 from 2001-01-01T12:00: preliminary" in caplog.text


def test_bitmaps_are_nan_and_longer_sums_are_refused(tmp_path: Path) -> None:
    hole = field(0)
    hole[3, 4] = np.nan
    path = grib(tmp_path / "a.grib", [{"paramId": 167, **moment(0), "values": hole}])
    found = open_canonical([path], request(step_hours=24, surface=["2m_temperature"]))
    assert np.argwhere(np.isnan(found["2m_temperature"].values)).tolist() == [[0, 3, 4]]
    path = grib(tmp_path / "b.grib", [{**rain()[0], "startStep": 0, "endStep": 6}])
    with pytest.raises(
        ValueError, match=r"b\.grib: total_precipitation.* expected a sum over 1 hour, found 6 hours"
    ):
        open_canonical([path], request(accumulated=["total_precipitation"]))


def test_fields_on_two_grids(tmp_path: Path) -> None:
    other = Grid(resolution_deg=30, poles=True)
    files = [
        grib(tmp_path / "a.grib", surface()),
        grib(tmp_path / "b.grib", [{"paramId": 134, **moment(hour)} for hour in (0, 6, 12, 18)], other),
    ]
    with pytest.raises(
        ValueError, match=r"b\.grib: surface_pressure.* expected the grid 13×24 .* found 7×12"
    ):
        open_canonical(files, request(surface=["2m_temperature", "surface_pressure"]))


def test_millidegrees_snap(tmp_path: Path) -> None:
    grid = Grid(resolution_deg=5.625)
    messages = [{"paramId": 167, **moment(hour)} for hour in (0, 6, 12, 18)]
    found = open_canonical([grib(tmp_path / "a.grib", messages, grid)], TEMPERATURE)
    np.testing.assert_array_equal(found["latitude"], grid.latitude)
    np.testing.assert_array_equal(found["longitude"], grid.longitude)


def celsius(dataset: xr.Dataset) -> xr.Dataset:
    changed = dataset.assign(t2m=dataset["t2m"] - 273.15)
    changed["t2m"].attrs["units"] = "degC"
    return changed


NETCDF: dict[str, Callable[[xr.Dataset], xr.Dataset]] = {
    "old layout": lambda dataset: dataset,
    "new layout": lambda dataset: dataset.rename(time="valid_time").assign_coords(
        number=0, expver=("valid_time", ["0001"] * 4)
    ),
    "south to north": lambda dataset: dataset.isel(latitude=slice(None, None, -1)),
    "from -180": lambda dataset: dataset.assign_coords(
        longitude=(dataset["longitude"] + 180) % 360 - 180
    ).sortby("longitude"),
    "east to west": lambda dataset: dataset.isel(longitude=slice(None, None, -1)),
    "short names": lambda dataset: dataset.rename(latitude="lat", longitude="lon", t2m="2t"),
    "celsius": celsius,
    "expver dimension": lambda dataset: xr.concat(
        [dataset.where(dataset["time"].dt.hour < 12), dataset.where(dataset["time"].dt.hour >= 12)],
        xr.DataArray([1, 5], dims="expver", name="expver"),
    ).transpose("time", "expver", ...),
}


def plain_netcdf() -> xr.Dataset:
    times = np.datetime64(START, "ns") + np.arange(4) * np.timedelta64(6, "h")
    values = np.stack([field(hour) for hour in (0, 6, 12, 18)]).astype(np.float32)
    coordinates = {"time": times, "latitude": GRID.latitude, "longitude": GRID.longitude}
    return xr.Dataset({"t2m": (list(coordinates), values, {"units": "K"})}, coordinates)


@pytest.mark.parametrize("layout", NETCDF)
@pytest.mark.parametrize("kind", ["NETCDF4", "NETCDF3_64BIT"])
def test_netcdf_layouts(tmp_path: Path, layout: str, kind: Any) -> None:
    path = tmp_path / "data.bin"
    NETCDF[layout](plain_netcdf()).to_netcdf(path, format=kind, engine="netcdf4")
    found = open_canonical([path], TEMPERATURE)["2m_temperature"]
    assert found.dtype == np.float32 and found.chunks == ((1,) * 4, (13,), (24,))
    np.testing.assert_array_equal(found["longitude"], GRID.longitude)
    np.testing.assert_allclose(found, plain_netcdf()["t2m"], rtol=1e-6)


@pytest.mark.parametrize("turn", [1, -1])
def test_a_region_across_greenwich(tmp_path: Path, turn: int) -> None:
    whole = plain_netcdf()
    west = whole.assign_coords(longitude=(whole["longitude"] + 180) % 360 - 180).sortby("longitude")
    west.sel(longitude=slice(-45, 30)).isel(longitude=slice(None, None, turn)).to_netcdf(tmp_path / "a.nc")
    found = open_canonical([tmp_path / "a.nc"], TEMPERATURE)["2m_temperature"]
    assert found["longitude"].values.tolist() == [0, 15, 30, 315, 330, 345]
    np.testing.assert_allclose(found, whole["t2m"].sel(longitude=found["longitude"]), rtol=1e-6)


def test_netcdf_levels_and_statics(tmp_path: Path) -> None:
    dataset = plain_netcdf().rename(t2m="t").expand_dims(pressure_level=[850.0, 500.0]).transpose("time", ...)
    dataset["t"] = dataset["t"] + dataset["pressure_level"]
    dataset["t"].attrs["units"] = "K"
    dataset["z"] = plain_netcdf()["t2m"].assign_attrs(units="m**2 s**-2")
    dataset.to_netcdf(tmp_path / "a.nc")
    wanted = request(atmospheric=["temperature"], levels_hpa=[500, 850], static=["geopotential_at_surface"])
    found = open_canonical([tmp_path / "a.nc"], wanted)
    np.testing.assert_allclose(found["temperature"][2, 0], field(12) + 500, rtol=1e-6)
    np.testing.assert_allclose(found["geopotential_at_surface"], field(0), rtol=1e-6)


@pytest.mark.parametrize("kind", ["NETCDF4", "NETCDF3_64BIT"])
def test_truncated_netcdf(tmp_path: Path, kind: Any) -> None:
    path = tmp_path / "data.nc"
    plain_netcdf().to_netcdf(path, format=kind, engine="netcdf4")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"data\.nc: truncated or damaged NetCDF"):
        open_canonical([path], TEMPERATURE)


def test_netcdf_that_cannot_be_understood(tmp_path: Path) -> None:
    dataset = plain_netcdf()
    cases = {
        "expected units K, found furlong": dataset.assign(t2m=dataset["t2m"].assign_attrs(units="furlong")),
        "unknown dimension depth": dataset.expand_dims("depth"),
        "expected a coordinate time": dataset.isel(time=0, drop=True),
        "latitude: expected a regular axis": dataset.isel(latitude=[0, 1, 3]),
        "longitude: the meridian 0° is there twice": dataset.pad(longitude=(0, 1), mode="wrap").assign_coords(
            longitude=np.arange(0, 361, 15.0)
        ),
    }
    for number, (message, case) in enumerate(cases.items()):
        path = tmp_path / f"{number}.nc"
        case.to_netcdf(path)
        with pytest.raises(ValueError, match=rf"{number}\.nc: 2m_temperature: {message}"):
            open_canonical([path], TEMPERATURE)


def test_import_is_light() -> None:
    modules = "weatherpeft.sources.formats.files, weatherpeft.stages.regrid"
    code = f"import sys, {modules}; print('xarray' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "False"
