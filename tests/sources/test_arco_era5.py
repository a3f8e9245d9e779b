"""ARCO-ERA5's layout, read from a folder, over HTTP and as a bucket of Google's storage."""

import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

from tests.shared_parts import raw_of
from tests.sources.cloud_stores import Server, arco, check_values, fetch, request
from weatherpeft.artifacts.store import artifact_digest, content_digest
from weatherpeft.interfaces import DataRequest
from weatherpeft.sources.arco_era5 import ArcoEra5
from weatherpeft.sources.transfer import zarr_copy

DAYS = ("2001-01-01", "2001-01-02")
EVERYTHING = request(
    *DAYS,
    surface=["2m_temperature", "10m_wind_gust"],
    atmospheric=["temperature"],
    levels_hpa=[500, 850],
    accumulated=["total_precipitation"],
    static=["land_sea_mask", "geopotential_at_surface", "soil_type"],
)
TEMPERATURE = request(*DAYS, surface=["2m_temperature"])
RAIN = request(*DAYS, accumulated=["total_precipitation"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return arco(tmp_path_factory.mktemp("stores") / "arco.zarr").parent


def source(url: str, start: str = DAYS[0], end: str = DAYS[1]) -> ArcoEra5:
    return ArcoEra5.parse({"name": "arco_era5", "url": url, "spans": [{"start": start, "end": end}]})


def damaged(path: Path, change: Callable[[xr.Dataset], xr.Dataset]) -> str:
    """A store that differs from the layout in one thing."""
    names = ["2m_temperature", "temperature", "total_precipitation"]
    return str(arco(path, 45.0, names, change=change))


def test_a_job_for_each_month() -> None:
    spans = [{"start": "2001-01-30", "end": "2001-03-02"}, {"start": "2002-02-01", "end": "2002-02-28"}]
    one = ArcoEra5.parse({"name": "arco_era5", "spans": spans})
    labels = ["20010130-20010131", "20010201-20010228", "20010301-20010302", "20020201-20020228"]
    assert [period.label for period in one.periods()] == labels
    with pytest.raises(ValueError, match="spans 20010101-20010102 and 20010102-20010103 overlap"):
        ArcoEra5.parse({"name": "arco_era5", "spans": [dict(start=d, end=e) for d, e in (
            ("2001-01-01", "2001-01-02"), ("2001-01-02", "2001-01-03"))]})  # fmt: skip


def test_a_folder_is_watched_and_an_address_is_not(folder: Path, tmp_path: Path) -> None:
    assert source(str(folder / "arco.zarr")).files() == [folder / "arco.zarr/.zmetadata"]
    assert source("http://example.org/arco.zarr").files() == []
    with pytest.raises(ValueError, match=rf"source arco_era5: expected a Zarr store .* in {tmp_path}"):
        source(str(tmp_path)).files()


def test_values_over_http_and_from_a_folder(folder: Path, server: Server, tmp_path: Path) -> None:
    remote = fetch(source(f"{server.url}/arco.zarr"), EVERYTHING, tmp_path / "http")
    check_values(remote)
    assert set(remote.data_vars) == {
        "2m_temperature", "10m_wind_gust", "temperature", "total_precipitation", "land_sea_mask",
        "geopotential_at_surface", "soil_type",
    }  # fmt: skip
    assert remote.sizes == {"time": 8, "hourly_time": 48, "level": 2, "latitude": 13, "longitude": 24}
    local = fetch(source(str(folder / "arco.zarr")), EVERYTHING, tmp_path / "folder")
    xr.testing.assert_identical(remote.load(), local.load())


def test_a_bucket_is_read_without_an_account(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gcsfs.core import GCSFileSystem

    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    GCSFileSystem.clear_instance_cache()
    try:
        check_values(fetch(source("gs://bucket/arco.zarr"), TEMPERATURE, tmp_path))
    finally:
        GCSFileSystem.clear_instance_cache()
    assert server.chunks("2m_temperature") and not any("Authorization" in found for found in server.headers)


def test_only_what_is_asked_for_is_read_and_each_chunk_once(server: Server, tmp_path: Path) -> None:
    wanted = request("2001-01-02", "2001-01-02", 12, surface=["2m_temperature"],
                     atmospheric=["temperature"], levels_hpa=[850])  # fmt: skip
    fetch(source(f"{server.url}/arco.zarr"), wanted, tmp_path)
    first = 8 * 24  # hours from the start of the store's axis
    chunks = [f"/arco.zarr/{name}/{hour}.0.0" for name in ("2m_temperature",) for hour in (first, first + 12)]
    chunks += [f"/arco.zarr/temperature/{hour}.0.0.0" for hour in (first, first + 12)]
    fields = {path: n for path, n in server.chunks().items() if "temperature" in path}
    assert fields == dict.fromkeys(chunks, 1)
    assert not any(name in path for path in server.asked for name in ("wind", "precipitation", "soil"))


def test_memory_does_not_grow_with_the_period(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zarr_copy, "_BLOCK_BYTES", 4 * (37 * 13 * 24) * 4)  # four times of all levels
    peaks = []
    for start in ("2001-01-02", "2000-12-31"):
        wanted = request(
            start, "2001-01-02", 1, atmospheric=["temperature"], levels_hpa=[*range(100, 300, 50)]
        )
        tracemalloc.start()
        dataset = fetch(source(str(folder / "arco.zarr"), start), wanted, tmp_path / start)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        check_values(dataset)
    assert peaks[1] < 1.3 * peaks[0]


def test_the_raw_store_has_a_chunk_a_time_in_the_providers_words(folder: Path, tmp_path: Path) -> None:
    fetch(source(str(folder / "arco.zarr")), EVERYTHING, tmp_path)
    raw = zarr.open_group(tmp_path / "raw/fields.zarr", mode="r")
    found: Any = raw["10m_wind_gust_since_previous_post_processing"]
    rain: Any = raw["total_precipitation"]
    assert found.shape == (8, 13, 24) and found.chunks == (1, 13, 24)
    assert found.attrs["units"] == "m s**-1"
    assert rain.metadata.dimension_names[0] == "hourly_time"


@pytest.mark.filterwarnings("ignore:Consolidated metadata")
def test_a_store_of_format_3(folder: Path, tmp_path: Path) -> None:
    # Its fill value is 0 by default: what was never written reads as zeros.
    with xr.open_zarr(folder / "arco.zarr", chunks=None) as dataset:
        dataset = dataset[["2m_temperature"]].isel(time=slice(6 * 24, 9 * 24)).load()
    for array in dataset.variables.values():
        array.encoding.clear()
    holes = dataset["2m_temperature"].values[24 + 6 : 24 + 7]
    holes[:] = np.nan
    for name, fill in (("nan", np.nan), ("zero", 0.0)):
        encoding = {"2m_temperature": {"chunks": (1, 13, 24), "fill_value": fill, "_FillValue": None}}
        written = dataset.fillna(fill)
        written.to_zarr(tmp_path / f"{name}.zarr", zarr_format=3, consolidated=True, encoding=encoding)
        check_values(fetch(source(str(tmp_path / f"{name}.zarr")), request(
            "2001-01-02", "2001-01-02", surface=["2m_temperature"]), tmp_path / f"{name}-good"))  # fmt: skip
        message = (
            rf"{name}\.zarr: 2m_temperature, 2001-01-01T06:00 UTC: expected finite .* found no value at all"
        )
        with pytest.raises(ValueError, match=message):
            fetch(source(str(tmp_path / f"{name}.zarr")), TEMPERATURE, tmp_path / name)


def test_days_without_final_data(folder: Path, tmp_path: Path) -> None:
    one = source(str(folder / "arco.zarr"))
    bounds = r"from 2000-12-31 to 2001-01-02, preliminary data \(ERA5T\) until 2001-01-05"
    for number, days in enumerate((("2001-01-02", "2001-01-03"), ("2000-12-30", "2000-12-31"))):
        with pytest.raises(
            ValueError, match=rf"arco\.zarr: expected .* {bounds}; found {days[0]} to {days[1]}"
        ):
            fetch(one, request(*days, surface=["2m_temperature"]), tmp_path / str(number))


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (request(*DAYS, surface=["surface_pressure"]), "surface_pressure is missing"),
        (
            request(*DAYS, atmospheric=["temperature"], levels_hpa=[500, 510]),
            "temperature at 510 hPa is missing; found 1, 2, 3, .*975, 1000 hPa",
        ),
        (request(*DAYS, atmospheric=["geopotential"], levels_hpa=[500]), "geopotential is missing"),
        (TEMPERATURE.model_copy(update={"members": (0, 1)}), r"has no ensemble members, found \(0, 1\)"),
    ],
)
def test_what_is_missing_is_named(folder: Path, tmp_path: Path, wanted: DataRequest, message: str) -> None:
    with pytest.raises(ValueError, match=rf"arco\.zarr: {message}"):
        fetch(source(str(folder / "arco.zarr")), wanted, tmp_path)


def hole(dataset: xr.Dataset) -> xr.Dataset:
    dataset["temperature"][8 * 24 + 6, 20, 1, 2] = np.nan  # 2001-01-02 06 UTC, 450 hPa
    return dataset


def without(dataset: xr.Dataset) -> xr.Dataset:
    return dataset.assign_attrs(valid_time_stop="soon")


def celsius(dataset: xr.Dataset) -> xr.Dataset:
    dataset["2m_temperature"].attrs["units"] = "degC"
    return dataset


def furlongs(dataset: xr.Dataset) -> xr.Dataset:
    dataset["2m_temperature"].attrs["units"] = "furlong"
    return dataset


def packed(dataset: xr.Dataset) -> xr.Dataset:
    dataset["2m_temperature"].attrs["scale_factor"] = 0.1
    return dataset


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without, "expected the layout of ARCO-ERA5, with a date as attribute valid_time_stop, found soon"),
        (
            lambda data: data.rename(latitude="lat"),
            "2m_temperature: expected the dimensions latitude, .* found time, lat, .*layout",
        ),
        (lambda data: data.rename(time="valid_time"), "expected the dimensions .*, time, found valid_time"),
        (lambda data: data.drop_vars("longitude"), "expected .* found .*longitude without a coordinate"),
        (lambda data: data.rename(level="isobaric"), "temperature: expected the dimensions"),
        (furlongs, "2m_temperature: expected units K, found furlong"),
        (packed, r"2m_temperature: expected plain values, found packed ones \(scale_factor\)"),
        (hole, "temperature at 450 hPa, 2001-01-02T06:00 UTC: expected finite values, found 1 NaN"),
        (
            lambda data: data.isel(latitude=[0, 1, 3, 4]),
            "2m_temperature: latitude: expected a regular axis",
        ),
        (
            lambda data: data.isel(time=slice(None, None, 2)),
            "total_precipitation, 2001-01-01T01:00 UTC is missing; .* each is the sum over 1 hour",
        ),
    ],
)  # fmt: skip
def test_another_layout(tmp_path: Path, change: Callable[[xr.Dataset], xr.Dataset], message: str) -> None:
    url = damaged(tmp_path / "other.zarr", change)
    wanted = request(*DAYS, surface=["2m_temperature"], atmospheric=["temperature"], levels_hpa=[450],
                     accumulated=["total_precipitation"])  # fmt: skip
    with pytest.raises(ValueError, match=rf"other\.zarr: .*{message}") as error:
        fetch(source(url), wanted, tmp_path)
    assert "\n" not in str(error.value)


def test_units_are_converted(tmp_path: Path) -> None:
    one = source(damaged(tmp_path / "other.zarr", celsius))
    found = fetch(one, TEMPERATURE, tmp_path)["2m_temperature"]
    plain = fetch(
        source(str(arco(tmp_path / "plain.zarr", 45.0, ["2m_temperature"]))), TEMPERATURE, tmp_path / "plain"
    )
    np.testing.assert_allclose(found, plain["2m_temperature"] + 273.15, rtol=1e-6)


def test_what_cannot_be_opened(tmp_path: Path, server: Server) -> None:
    (tmp_path / "empty").mkdir()
    for url in (
        f"{server.url}/none.zarr",
        "http://127.0.0.1:9/arco.zarr",
        "nonsense://x",
        str(tmp_path / "empty"),
    ):
        with pytest.raises(ValueError, match=rf"{url}: cannot open a Zarr store with consolidated") as error:
            source(url).fetch(TEMPERATURE, tmp_path, tmp_path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("status", "message"),
    [(404, "expected finite values, found no value at all"), (503, "cannot read the values .*503")],
)
def test_a_chunk_that_does_not_come(server: Server, tmp_path: Path, status: int, message: str) -> None:
    server.status["/arco.zarr/2m_temperature/198.0.0"] = status
    one = source(f"{server.url}/arco.zarr", "2001-01-02")
    with pytest.raises(ValueError, match=rf"/arco\.zarr: 2m_temperature, 2001-01-02T0\d:00 UTC: {message}"):
        fetch(one, request("2001-01-02", "2001-01-02", surface=["2m_temperature"]), tmp_path)


@pytest.mark.parametrize("damage", ["truncated", "changed", "gone"])
def test_a_damaged_raw_store(folder: Path, tmp_path: Path, damage: str) -> None:
    one = source(str(folder / "arco.zarr"))
    fetch(one, TEMPERATURE, tmp_path)
    chunk = tmp_path / "raw/fields.zarr/2m_temperature/c/3/0/0"
    content = bytearray(chunk.read_bytes())
    content[50] ^= 1
    chunk.unlink()
    if damage != "gone":
        chunk.write_bytes(content if damage == "changed" else content[:-100])
    message = (
        "c/3/0/0: missing" if damage == "gone" else r"fields\.zarr: 2m_temperature, 2001-01-01T18:00 UTC"
    )
    with pytest.raises(ValueError, match=message):
        one.decode(TEMPERATURE, tmp_path / "raw").load()


def test_a_killed_download_goes_on_and_ends_with_the_same_bytes(server: Server, tmp_path: Path) -> None:
    one = source(f"{server.url}/arco.zarr")
    spec = {"source": one.model_dump(mode="json"), "request": EVERYTHING.model_dump(mode="json")}
    command = [sys.executable, "-m", "weatherpeft", "download", "--spec", json.dumps(spec)]

    def run(name: str) -> list[str]:
        folders = {"output": name, "shared": f"{name}-shared", "work": f"{name}-work"}
        return [*command, *(f"--{option}={tmp_path / folder}" for option, folder in folders.items())]

    server.limit = 40  # in the middle of the second variable or later
    job = subprocess.Popen(run("raw"), stderr=subprocess.DEVNULL)
    patience = time.monotonic() + 60
    while sum(server.asked.values()) < server.limit:
        assert time.monotonic() < patience and job.poll() is None
        time.sleep(0.02)
    time.sleep(0.3)  # what was answered is written
    os.kill(job.pid, signal.SIGKILL)
    assert job.wait() == -signal.SIGKILL and not (tmp_path / "raw").exists()
    (copied,) = (tmp_path / "raw-work").glob("*/fields.zarr")
    done = {path.parent.name for path in copied.glob("*temperature/c")}
    assert done == {"2m_temperature", "temperature"} and not (copied / "total_precipitation/c").exists()

    server.limit = None
    server.go.set()
    time.sleep(0.3)
    server.asked.clear()
    subprocess.run(run("raw"), check=True, stderr=subprocess.DEVNULL)
    assert server.chunks("total_precipitation") and not any(server.chunks(name) for name in done)
    assert not (tmp_path / "raw-work").exists() or not list((tmp_path / "raw-work").iterdir())
    subprocess.run(run("other"), check=True, stderr=subprocess.DEVNULL)
    assert artifact_digest(tmp_path / "raw") == artifact_digest(tmp_path / "other")
    part = raw_of(tmp_path / "raw")
    assert content_digest(part) == artifact_digest(part)
    check_values(one.decode(EVERYTHING, part))


def test_half_written_files_are_left_behind(folder: Path, tmp_path: Path) -> None:
    one = source(str(folder / "arco.zarr"))
    fetch(one, TEMPERATURE, tmp_path / "clean")
    fetch(one, TEMPERATURE, tmp_path / "again")
    store = tmp_path / "again/work/fields.zarr"
    chunk = store / "2m_temperature/c/2/0/0"
    chunk.with_name("0.4f.partial").write_bytes(chunk.read_bytes()[:10])
    chunk.unlink()
    (tmp_path / "again/raw2").mkdir()
    one.fetch(TEMPERATURE, tmp_path / "again/raw2", tmp_path / "again/work")
    assert content_digest(tmp_path / "again/raw2") == content_digest(tmp_path / "clean/raw")


def test_import_is_light() -> None:
    code = "import sys, weatherpeft.sources; print({'xarray', 'zarr', 'fsspec', 'gcsfs'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "set()"
