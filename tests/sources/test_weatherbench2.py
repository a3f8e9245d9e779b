"""WeatherBench 2's layout: longitude before latitude, either direction, several times to a chunk."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from tests.sources.cloud_stores import Server, check_values, fetch, request, weatherbench2
from weatherpeft.sources.transfer import zarr_copy
from weatherpeft.sources.weatherbench2 import WeatherBench2

JANUARY = ("2001-01-01", "2001-01-31")
FIELDS: dict[str, Any] = {
    "surface": ["2m_temperature"],
    "atmospheric": ["temperature", "geopotential"],
    "levels_hpa": [250, 500, 850],
    "static": ["land_sea_mask", "geopotential_at_surface", "soil_type"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return weatherbench2(tmp_path_factory.mktemp("stores") / "wb2.zarr").parent


def source(url: str, start: str = JANUARY[0], end: str = JANUARY[1]) -> WeatherBench2:
    return WeatherBench2.parse({"name": "weatherbench2", "url": url, "spans": [{"start": start, "end": end}]})


def test_a_month_over_http(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zarr_copy, "_BLOCK_BYTES", 2 * (4 * 3 * 13 * 24 * 12))  # two chunks at once
    found = fetch(source(f"{server.url}/wb2.zarr"), request(*JANUARY, **FIELDS), tmp_path)
    check_values(found)
    assert found.sizes == {"time": 124, "level": 3, "latitude": 12, "longitude": 24}
    assert found["temperature"].dims == ("time", "level", "latitude", "longitude")
    assert found["temperature"].chunks == ((1,) * 124, (3,), (12,), (24,))
    # January begins in the second chunk of three times and ends in the 43rd.
    assert set(server.chunks("/temperature")) == {f"/wb2.zarr/temperature/{n}.0.0.0" for n in range(1, 43)}
    fields = [n for path, n in server.chunks().items() if path.split("/")[2] in found.data_vars]
    assert fields and max(fields) == 1
    assert not server.chunks("precipitation")


@pytest.mark.parametrize("north_first", [False, True])
def test_latitude_either_way_round(tmp_path: Path, north_first: bool) -> None:
    url = str(weatherbench2(tmp_path / "wb2.zarr", north_first=north_first))
    found = fetch(source(url), request("2001-01-31", "2001-01-31", 12, **FIELDS), tmp_path)
    np.testing.assert_array_equal(found["latitude"], np.arange(82.5, -90, -15))
    check_values(found)


def test_longitudes_from_minus_180(tmp_path: Path) -> None:
    def turned(dataset: xr.Dataset) -> xr.Dataset:
        west = (dataset["longitude"] + 180) % 360 - 180
        return dataset.assign_coords(longitude=west).sortby("longitude")

    url = str(weatherbench2(tmp_path / "wb2.zarr", change=turned))
    found = fetch(source(url), request("2001-01-31", "2001-01-31", 12, **FIELDS), tmp_path)
    np.testing.assert_array_equal(found["longitude"], np.arange(0, 360, 15))
    check_values(found)


def test_sums_over_six_hours_are_no_hourly_sums(folder: Path, tmp_path: Path) -> None:
    rain = request(*JANUARY, accumulated=["total_precipitation"])
    message = r"wb2\.zarr: total_precipitation is missing .* over more than an hour, total_precipitation_6hr"
    with pytest.raises(ValueError, match=message):
        fetch(source(str(folder / "wb2.zarr")), rain, tmp_path / "6hr")
    # The raw ERA5 stores have one-hour sums under the plain name, every six hours.
    plain = weatherbench2(
        tmp_path / "plain.zarr",
        change=lambda data: data.rename(total_precipitation_6hr="total_precipitation"),
    )
    with pytest.raises(
        ValueError, match="T01:00 UTC is missing; .* each is the sum over 1 hour, so no sums over 6 h"
    ):
        fetch(source(str(plain)), rain, tmp_path / "plain")
    hourly = weatherbench2(tmp_path / "hourly.zarr", step=1)
    day = request("2001-01-01", "2001-01-01", accumulated=["total_precipitation"])
    found = fetch(source(str(hourly)), day, tmp_path / "hourly")
    assert found.sizes["hourly_time"] == 24
    check_values(found)


def test_times_that_the_store_has_not(folder: Path, tmp_path: Path) -> None:
    one = source(str(folder / "wb2.zarr"))
    for step, day, missing in ((3, "2001-01-01", "2001-01-01T03"), (6, "2001-02-03", "2001-02-03T00")):
        wanted = request(day, day, step, surface=["2m_temperature"])
        message = (
            rf"wb2\.zarr: 2m_temperature, {missing}:00 UTC is missing; found 136 times from 2000-12-31T00:00"
        )
        with pytest.raises(ValueError, match=message):
            fetch(one, wanted, tmp_path / missing)


def test_a_climatology_is_another_layout(tmp_path: Path) -> None:
    url = str(weatherbench2(tmp_path / "wb2.zarr", change=lambda data: data.rename(time="dayofyear")))
    with pytest.raises(
        ValueError, match="2m_temperature: expected the dimensions .* found dayofyear, longitude"
    ):
        fetch(source(url), request(*JANUARY, surface=["2m_temperature"]), tmp_path)


def test_a_variable_that_is_not_defined_everywhere(tmp_path: Path) -> None:
    def sea(dataset: xr.Dataset) -> xr.Dataset:
        values = dataset["2m_temperature"].where(dataset["longitude"] > 100)
        return dataset.assign(
            sea_surface_temperature=values, surface_pressure=(values * np.nan).assign_attrs(units="Pa")
        )

    url = str(weatherbench2(tmp_path / "wb2.zarr", change=sea))
    wanted = request("2001-01-01", "2001-01-01", surface=["sea_surface_temperature"])
    found = fetch(source(url), wanted, tmp_path)["sea_surface_temperature"]
    np.testing.assert_array_equal(found.isnull().any(["time", "latitude"]), found["longitude"] <= 100)
    nothing = request("2001-01-01", "2001-01-01", surface=["surface_pressure"])
    with pytest.raises(ValueError, match="surface_pressure, .* found no value at all"):
        fetch(source(url), nothing, tmp_path / "nothing")
