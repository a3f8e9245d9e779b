"""Files with values that no weather has, from the user's folder to the regrid stage."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from tests.experiments import changed, put
from tests.shared_parts import store_of
from weatherpeft.artifacts import store
from weatherpeft.fields.grid import Grid, Region
from weatherpeft.jobs import Jobs
from weatherpeft.stages.download import DownloadSpec, download
from weatherpeft.stages.regrid import RegridSpec, regrid

DAYS = {"start": "2020-02-28", "end": "2020-02-28"}
GRID = Grid(resolution_deg=0.5, region=Region(north=49, south=46, west=1, east=5))


def plain() -> xr.Dataset:
    """A day of 280 K with noise of 1 K on two levels."""
    times = np.datetime64("2020-02-28", "ns") + np.arange(4) * np.timedelta64(6, "h")
    latitude, longitude = np.arange(50, 45, -0.25), np.arange(0, 6, 0.25)
    shape = (times.size, 2, latitude.size, longitude.size)
    values = (280 + np.random.default_rng(0).normal(size=shape)).astype(np.float32)
    coordinates = {"time": times, "level": [500, 850], "latitude": latitude, "longitude": longitude}
    return xr.Dataset({"t": (list(coordinates), values, {"units": "K"})}, coordinates)


def regridded(dataset: xr.Dataset, folder: Path, **options: Any) -> xr.Dataset:
    """The dataset in two files, of one level each, through both stages."""
    for level in dataset["level"].values:
        dataset.sel(level=[level]).to_netcdf(folder / f"at-{level}.nc")
    variables = {"atmospheric": ["temperature"], "levels_hpa": [500, 850]}
    source = {"name": "local", "paths": [str(folder / "at-*.nc")], "span": DAYS}
    values = {"source": source, "request": {"variables": variables, "period": DAYS}}
    download(DownloadSpec.parse(values), folder / "raw", folder / "shared/raw", folder / "work")
    spec = RegridSpec.parse({**values, "grids": [GRID.model_dump()], **options})
    regrid(spec, folder / "raw", folder / "grid", folder / "shared/regridded")
    return store.open_dataset(store_of(folder / "grid", GRID.label))


@pytest.mark.parametrize(
    ("value", "said"), [(np.inf, "inf"), (9999, "9999"), (1e20, r"1e\+20"), (-9999, "-9999")]
)
def test_one_value_is_named_with_file_level_time_and_place(tmp_path: Path, value: float, said: str) -> None:
    dataset = plain()
    dataset["t"][3, 1, 4, 5] = value
    message = (
        rf"shared/raw/local/\S+/at-850\.nc: temperature, time 2020-02-28T18:00 UTC, level 850: "
        rf"expected values from 150 to 350 K, found {said} at 49°N 1\.25°E \(1 of 480 points are outside\)"
    )
    with pytest.raises(ValueError, match=message) as caught:
        regridded(dataset, tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "grid").exists()


def test_anomalies_are_refused(tmp_path: Path) -> None:
    anomalies = plain().assign(t=lambda dataset: (dataset["t"] - 280).assign_attrs(units="K"))
    with pytest.raises(ValueError, match=r"at-500\.nc: temperature, .* \(480 of 480 points are outside\)"):
        regridded(anomalies, tmp_path)


def test_a_field_of_one_value_is_refused(tmp_path: Path) -> None:
    dataset = plain()
    dataset["t"][2, 0] = 273.15
    with pytest.raises(
        ValueError, match=r"T12:00 UTC, level 500: expected a field that varies, found 273.15 K"
    ):
        regridded(dataset, tmp_path)


def test_the_user_may_take_what_is_a_number(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dataset = plain()
    dataset["t"][1:, 1, 4, 5] = 9999
    with caplog.at_level(logging.WARNING):
        found = regridded(dataset, tmp_path, plausible="warn")
    assert found["temperature"].max() > 500
    (said,) = [record.message for record in caplog.records if "9999" in record.message]
    assert "at-850.nc: temperature, time 2020-02-28T06:00 UTC, level 850: expected" in said


def test_nobody_may_take_infinite_values(tmp_path: Path) -> None:
    dataset = plain()
    dataset["t"][3, 1, 4, 5] = -np.inf
    with pytest.raises(ValueError, match="found -inf at 49°N"):
        regridded(dataset, tmp_path, plausible="warn")


def test_the_decision_downloads_nothing_again() -> None:
    stop, warn = Jobs(changed()), Jobs(changed(put("source.plausible", "warn")))
    label = stop.periods()[0]
    assert stop.download(label).digest() == warn.download(label).digest()
    assert (stop.regrid(label).plausible, warn.regrid(label).plausible) == ("stop", "warn")
    assert "plausible" not in stop.regrid(label).canonical_json()
