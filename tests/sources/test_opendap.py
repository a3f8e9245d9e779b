"""Datasets of OPeNDAP servers."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from tests.sources.cloud_stores import fetch, request
from tests.sources.dap_server import DapServer, opendap
from tests.sources.test_xarray import FIELDS, close, dataset, source
from weatherpeft.sources.transfer import opendap as client

DAY = ("2001-01-05", "2001-01-05")
WANTED = request(*DAY, **FIELDS)
SIZE = 4687
"""Bytes of the answer with one day's temperatures."""
SURFACE = request(*DAY, surface=["2m_temperature"])


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("opendap") / "file.nc"
    dataset().to_netcdf(path)
    return path


@pytest.fixture
def server(file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DapServer]:
    monkeypatch.setattr(client, "BACKOFF_S", (0.0, 0.0))
    with opendap(file) as server:
        yield server


@pytest.mark.parametrize("engine", [None, "pydap"])
@pytest.mark.parametrize("grids", [False, True])
def test_values(file: Path, tmp_path: Path, engine: str | None, grids: bool) -> None:
    with opendap(file, grids) as server:
        found = fetch(source(server.url, engine=engine), WANTED, tmp_path)
        close(found)
    assert found.sizes == {"time": 4, "level": 2, "latitude": 12, "longitude": 24} and len(found) == 4
    values = 4 * 4 * 12 * 24 * (1 + 2 + 2 * 2) + 4 * 12 * 24  # geopotential is in double precision
    assert values < sum(server.sizes) < values + 6000 < file.stat().st_size / 10


def test_packed_values(tmp_path: Path) -> None:
    encoding = {"tas": {"dtype": "i2", "scale_factor": 0.01, "add_offset": 280.0, "_FillValue": -32768}}
    dataset("2m_temperature").to_netcdf(tmp_path / "packed.nc", encoding=encoding)
    with opendap(tmp_path / "packed.nc") as server:
        found = fetch(source(server.url), SURFACE, tmp_path)
    with xr.open_dataset(tmp_path / "packed.nc") as opened:
        turned = (
            opened["tas"].assign_coords(lon=opened["lon"] % 360).sortby("lon").sortby("lat", ascending=False)
        )
        np.testing.assert_array_equal(found["2m_temperature"], turned.sel(time=found["time"]).astype("f4"))


def test_only_what_is_asked_for(server: DapServer, tmp_path: Path) -> None:
    found = fetch(source(server.url, area=[60, 150, 10, 210]), WANTED, tmp_path)
    close(found)
    assert found["longitude"].values.tolist() == [150, 165, 180, 195, 210]
    times, rows = "[20:1:23]", "[7:1:9]"
    asked = [f"dods?tas{times}{rows}[{columns}]" for columns in ("0:1:2", "22:1:23")]
    assert [one for one in server.values() if "tas" in one] == asked


def test_large_requests_are_cut(server: DapServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "REQUEST_VALUES", 12 * 24)
    close(fetch(source(server.url), request("2001-01-05", "2001-01-06", **FIELDS), tmp_path))
    assert len(server.values()) == 8 + 16 + 16 + 1 == len(set(server.values()))
    assert max(server.sizes) < 8 * 12 * 24 + 100


def test_failures_are_passed_over(server: DapServer, tmp_path: Path) -> None:
    faults = iter([503, 503, 503, 503, None, 429, None, "cut:300", None, 500, 408])
    server.fault = lambda asked: next(faults, None) if asked.startswith("dods") else None
    close(fetch(source(server.url), SURFACE, tmp_path))


@pytest.mark.parametrize(
    "fault",
    ["cut:0", "cut:500", "end:0", "end:50", "end:500", "end:503", f"end:{SIZE - 1}", f"end:{SIZE - 4}"],
)
def test_a_response_that_ends_too_early(
    server: DapServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr("xarray.backends.common.time.sleep", lambda _: None)
    server.fault = lambda asked: fault if "tas[" in asked else None
    message = f"{server.url}: 2m_temperature, 2001-01-05T00:00 UTC: cannot read the values"
    with pytest.raises(ValueError, match=message) as error:
        fetch(source(server.url), SURFACE, tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("status", [404, 500])
def test_a_server_that_fails(server: DapServer, status: int) -> None:
    server.fault = lambda _: status
    advice = f"cannot open .* see whether {server.url}.dds shows its variables"
    with pytest.raises(ValueError, match=f"{server.url}: {advice}") as error:
        source(server.url).selected(WANTED)
    assert "\n" not in str(error.value)
    assert len(server.asked) == (1 if status == 404 else 18)


def test_what_is_refused(server: DapServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="http://127.0.0.1:9/a.nc: cannot open a dataset .*ConnectionError"):
        source("http://127.0.0.1:9/a.nc").selected(WANTED)
    with pytest.raises(ValueError, match="that ends too early for a whole one; say engine: pydap"):
        source(server.url, engine="netcdf4").selected(WANTED)
    with pytest.raises(ValueError, match="OPeNDAP takes no storage_options"):
        source(server.url, storage_options={"anon": True}).selected(WANTED)
    monkeypatch.setitem(sys.modules, "pydap", None)
    with pytest.raises(ValueError, match=f"{server.url}: OPeNDAP needs the package pydap: pip install pydap"):
        source(server.url).selected(WANTED)
