"""Raw files of providers, from the small real data sets."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
import xarray as xr

from weatherpeft.interfaces import DataRequest
from weatherpeft.sources.formats.files import open_canonical


def real(
    start: str, end: str, step_hours: int = 1, members: tuple[int, ...] = (), **variables: Any
) -> DataRequest:
    period = {"start": start, "end": end}
    return DataRequest.parse(
        {"variables": variables, "period": period, "step_hours": step_hours, "members": members}
    )


@pytest.mark.shared
def test_real_ensemble(shared_data: Path) -> None:
    path = shared_data / "era5_ensemble_members_3deg.grib"
    wanted = real(
        "2017-01-01", "2017-01-02", 12, tuple(range(10)), atmospheric=["geopotential"], levels_hpa=[500, 850]
    )
    found = open_canonical([path], wanted)["geopotential"]
    options = {"indexpath": "", "time_dims": ("valid_time",), "errors": "raise"}
    with xr.open_dataset(path, engine="cfgrib", backend_kwargs=options) as expected:
        values = expected["z"].sel(isobaricInhPa=[500, 850])
        np.testing.assert_array_equal(found, values.transpose("number", "valid_time", "isobaricInhPa", ...))
    with pytest.raises(ValueError, match="T06:00 UTC, member 0 is missing"):
        open_canonical(
            [path], real("2017-01-01", "2017-01-02", 6, (0,), atmospheric=["geopotential"], levels_hpa=[500])
        )


@pytest.mark.shared
def test_real_region_across_greenwich(shared_data: Path) -> None:
    path = shared_data / "era5_2t_hourly_uk_2019-03.grib"
    dataset = open_canonical([path], real("2019-03-01", "2019-03-31", surface=["2m_temperature"]))
    found = dataset["2m_temperature"]
    assert found.shape == (744, 33, 49)
    longitude = found["longitude"].values
    assert (np.diff(longitude) > 0).all() and longitude[[0, 8, 9, -1]].tolist() == [0, 2, 350, 359.75]
    with xr.open_dataset(path, engine="cfgrib", backend_kwargs={"indexpath": ""}) as expected:
        values = expected["t2m"].assign_coords(longitude=expected["longitude"] % 360).sortby("longitude")
        np.testing.assert_array_equal(found[::50], values[::50])
    with pytest.raises(ValueError, match="2019-04-01T00:00 UTC is missing"):
        open_canonical([path], real("2019-03-01", "2019-04-01", surface=["2m_temperature"]))


@pytest.mark.shared
def test_real_hourly_rain(shared_data: Path) -> None:
    path = shared_data / "era5_tp_hourly_india_2023.nc"
    wanted = real("2023-06-01", "2023-08-31", 6, accumulated=["total_precipitation"])
    found = open_canonical([path], wanted)
    with xr.open_dataset(path, engine="netcdf4") as expected:
        np.testing.assert_array_equal(found["total_precipitation"][::50], expected["tp"][::50])
    assert found.attrs["expver"].startswith("0001: 2208 fields")


@pytest.mark.shared
def test_real_sums_over_six_hours(shared_data: Path) -> None:
    """The hour that ends at T is the last of the six before T; the sum at 00 UTC needs the day before."""
    path = shared_data / "era5_tp_hourly_india_2023.nc"
    wanted = real("2023-07-18", "2023-07-20", 6, accumulated=["total_precipitation"])
    rain = open_canonical([path], wanted)["total_precipitation"].load()
    with netCDF4.Dataset(path) as opened:
        hours: Any = netCDF4.num2date(opened["valid_time"][:], opened["valid_time"].units)
        whole = {(t.month, t.day, t.hour): opened["tp"][i].data for i, t in enumerate(hours)}
    for end in ("2023-07-18T06", "2023-07-19T00", "2023-07-20T18"):
        last = np.datetime64(end)
        found = rain.sel(hourly_time=slice(last - np.timedelta64(5, "h"), last)).sum("hourly_time")
        moments = [datetime.fromisoformat(end) - timedelta(hours=back) for back in range(6)]
        expected = np.sum([whole[t.month, t.day, t.hour].astype(float) for t in moments], axis=0)
        assert expected.max() > 1e-4
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-9)


@pytest.mark.shared
def test_the_change_of_version_is_dated(shared_data: Path, tmp_path: Path) -> None:
    """The real axis of versions, under the name of an instantaneous field: its sums are not hourly."""
    with xr.open_dataset(shared_data / "era5_tp_mixed_expver.nc", engine="netcdf4") as opened:
        version = opened["expver"].load()
        renamed = opened[["tp"]].rename(tp="t2m").load()
    renamed["t2m"].attrs = {"units": "K"}
    renamed.to_netcdf(tmp_path / "mixed.nc")
    change = version["valid_time"].values[version.values != "0001"][0].astype("datetime64[m]")
    first, last = (str(change.astype("datetime64[D]") + np.timedelta64(shift, "D")) for shift in (-1, 1))
    found = open_canonical([tmp_path / "mixed.nc"], real(first, last, 6, surface=["2m_temperature"]))
    before = change - np.timedelta64(6, "h")
    assert f"{first}T00:00 to {before}; 0005:" in found.attrs["expver"]
    assert f"0005: {int((found['time'].values >= change).sum())} fields, {change} to" in found.attrs["expver"]
    np.testing.assert_array_equal(found["preliminary"], found["time"].values >= change)
    final = real("2024-01-01", "2024-01-31", 6, surface=["2m_temperature"])
    assert "preliminary" not in open_canonical([tmp_path / "mixed.nc"], final).coords


@pytest.mark.shared
def test_real_traps(shared_data: Path) -> None:
    wanted = real("2024-01-01", "2024-01-02", accumulated=["total_precipitation"])
    message = (
        r"mixed_expver\.nc: .*2024-01-01T01:00 UTC is missing \(40 of 48 .* every 6 h; each is the sum over "
        "1 hour, so no sums over 6 h can be made of them"
    )
    with pytest.raises(ValueError, match=message):
        open_canonical([shared_data / "era5_tp_mixed_expver.nc"], wanted)
    with pytest.raises(ValueError, match=r"zip_named_as\.nc: is a ZIP archive"):
        open_canonical([shared_data / "zip_named_as.nc"], wanted)
    # The instantaneous gust is not the largest of the hour, whatever the similar name.
    gust = real("2011-08-01", "2011-08-01", 24, surface=["10m_wind_gust"])
    with pytest.raises(
        ValueError, match=r"10m_wind_gust, .* found none at all \(short name 10fg, param id 49"
    ):
        open_canonical([shared_data / "era5_wind_gust_0p25deg.nc"], gust)
