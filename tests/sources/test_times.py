"""Time axes of users' files: what is there is read, and what is not is named with what to say of it."""

import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml

from tests.sources.formats.test_files import GRID, grib
from weatherpeft.interfaces import DataRequest
from weatherpeft.sources.local import Local
from weatherpeft.sources.toy.spec import Toy
from weatherpeft.sources.xarray import Xarray
from weatherpeft.spec import Period

Times = list[datetime]
Write = Callable[[Path, Times], Path]


def every(step: int, start: str, end: str, *hours: int) -> Times:
    """Times from one to another, every so many hours, or of these those at some hours of the day."""
    first, stop = (np.datetime64(text, "h") for text in (start, end))
    found = np.arange(first, stop, np.timedelta64(step, "h")).tolist()
    return [time for time in found if not hours or time.hour in hours]


def value(time: datetime) -> np.ndarray:
    return np.random.default_rng(int(time.timestamp())).normal(280, 5, GRID.shape).astype("f4")


def to_grib(folder: Path, times: Times) -> Path:
    keys = [
        {"paramId": 167, "dataDate": int(f"{t:%Y%m%d}"), "dataTime": t.hour * 100, "values": value(t)}
        for t in times
    ]
    return grib(folder / "own.grib", keys)


def dataset(times: Times) -> xr.Dataset:
    fields = np.stack([value(time) for time in times])
    return xr.Dataset(
        {"t2m": (("time", "latitude", "longitude"), fields, {"units": "K"})},
        {"time": np.array(times, "datetime64[ns]"), "latitude": GRID.latitude, "longitude": GRID.longitude},
    )


def to_netcdf(folder: Path, times: Times) -> Path:
    dataset(times).to_netcdf(folder / "own.nc")
    return folder / "own.nc"


def to_zarr(folder: Path, times: Times) -> Path:
    dataset(times).to_zarr(folder / "own.zarr", zarr_format=2)
    return folder / "own.zarr"


def request(period: Any, step: int, **variables: Any) -> DataRequest:
    variables = variables or {"surface": ["2m_temperature"]}
    return DataRequest.parse({"variables": variables, "period": period, "step_hours": step})


def decode(path: Path, wanted: DataRequest) -> xr.Dataset:
    """Fetch and decode, through ``local`` or, of a Zarr store, through ``xarray``."""
    period = wanted.period.model_dump(mode="json")
    raw = path.parent / "raw"
    raw.mkdir(exist_ok=True)
    source: Local | Xarray
    if path.suffix == ".zarr":
        source = Xarray.parse({"name": "xarray", "path": str(path), "spans": [period], "job": "span"})
    else:
        source = Local.parse({"name": "local", "paths": [str(path)], "span": period})
    (own,) = source.periods()
    assert own == wanted.period
    source.fetch(wanted, raw, path.parent / "work")
    return source.decode(wanted, raw)


DAYS = {"start": "2020-02-28", "end": "2020-03-01"}
GAP = {"start": "2020-02-28T18", "end": "2020-03-01T06"}
CASES: dict[str, tuple[int, Times, dict[str, Any]]] = {
    "daily at 12 UTC": (24, every(24, "2020-02-28T12", "2020-03-02"), {**DAYS, "hours": [12]}),
    "12 UTC of 6-hourly days": (6, every(24, "2020-02-28T12", "2020-03-02"), {**DAYS, "hours": [12]}),
    "a day's first three hours": (
        1, every(1, "2020-02-28", "2020-02-28T03"), {"start": "2020-02-28", "end": "2020-02-28T02"},
    ),
    "05 and 06 UTC": (
        1, every(1, "2020-02-28T05", "2020-02-28T07"), {"start": "2020-02-28T05", "end": "2020-02-28T06"},
    ),
    "15 to 21 UTC": (6, every(6, "2020-02-28T15", "2020-03-02", 15, 21), {**DAYS, "hours": [15, 21]}),
    "15 to 21 UTC, hourly": (
        1, every(1, "2020-02-28T15", "2020-03-02", *range(15, 22)), {**DAYS, "hours": list(range(15, 22))},
    ),
    "00 to 12 UTC": (6, every(6, "2020-02-28", "2020-03-02", 0, 6, 12), {**DAYS, "hours": [0, 6, 12]}),
    "partial days": (
        6, every(6, "2020-02-28T06", "2020-03-01T18"), {"start": "2020-02-28T06", "end": "2020-03-01T12"},
    ),
    "a gap of two days": (
        6, every(6, "2020-02-28", "2020-02-28T18") + every(6, "2020-03-01T12", "2020-03-02"),
        {**DAYS, "gaps": [GAP]},
    ),
    "12 UTC and a gap": (
        24, every(24, "2020-02-28T12", "2020-03-09", 12)[::3],
        {"start": "2020-02-28", "end": "2020-03-05", "hours": [12],
         "gaps": [{"start": "2020-02-29T12", "end": "2020-03-01T12"},
                  {"start": "2020-03-03T12", "end": "2020-03-04T12"}]},
    ),
    "3-hourly": (3, every(3, "2020-02-28", "2020-03-02"), DAYS),
    "12-hourly": (12, every(12, "2020-02-28", "2020-03-02"), DAYS),
    "24-hourly": (24, every(24, "2020-02-28", "2020-03-02"), DAYS),
}  # fmt: skip


@pytest.mark.parametrize("write", [to_grib, to_netcdf, to_zarr])
@pytest.mark.parametrize("name", CASES)
def test_what_is_there_is_read(name: str, write: Write, tmp_path: Path) -> None:
    step, times, period = CASES[name]
    path = write(tmp_path, times)
    found = decode(path, request(period, step))["2m_temperature"]
    wanted = [time for time in times if time < Period.parse(period).stop]
    assert found["time"].values.astype("datetime64[m]").tolist() == wanted
    exact = 1e-3 if write is to_grib else 0  # GRIB's 16 bits
    np.testing.assert_allclose(found.values, np.stack([value(time) for time in wanted]), atol=exact, rtol=0)


@pytest.mark.parametrize("write", [to_grib, to_netcdf, to_zarr])
@pytest.mark.parametrize("name", [name for name, (*_, period) in CASES.items() if period != DAYS])
def test_an_undeclared_time_is_named_and_what_the_message_says_to_declare_works(
    name: str, write: Write, tmp_path: Path
) -> None:
    step, times, declared = CASES[name]
    path = write(tmp_path, times)
    plain = {"start": declared["start"][:10], "end": declared["end"][:10]}
    with pytest.raises(ValueError, match="is missing") as error:
        decode(path, request(plain, step))
    message = str(error.value)
    asked = request(plain, step).times().tolist()
    first = next(time for time in asked if time not in times)
    assert "\n" not in message and f"missing are {first:%Y-%m-%dT%H:%M}" in message
    said = re.search(r"say so in the source's span: (.*)$", message)
    assert said, message
    period = {**plain, **yaml.safe_load(f"{{{said[1]}}}")}
    again = tmp_path / "again"
    again.mkdir()
    found = decode(write(again, times), request(period, step))
    assert found["time"].values.astype("datetime64[m]").tolist() == [
        t for t in times if t < Period.parse(plain).stop
    ]


@pytest.mark.parametrize(
    ("units", "dtype"),
    [("days since 1850-01-01", "f8"), ("hours since 1900-01-01", "f8"), ("seconds since 2020-01-01", "f8")],
)
@pytest.mark.parametrize("off", ["-1ms", "1ms", "-20s"])
@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_times_are_rounded(units: str, dtype: str, off: str, suffix: str, tmp_path: Path) -> None:
    times = every(6, "2020-02-28", "2020-03-02")
    data = dataset(times)
    shift = np.timedelta64(int(off.rstrip("ms")), "ms" if off.endswith("ms") else "s")
    data["time"] = data["time"] + shift
    encoding = {"time": {"units": units, "dtype": dtype}}
    path = tmp_path / f"own{suffix}"
    if suffix == ".nc":
        data.to_netcdf(path, encoding=encoding)
    else:
        data.to_zarr(path, encoding=encoding, zarr_format=2)
    found = decode(path, request(DAYS, 6))
    assert found["time"].values.astype("datetime64[ms]").tolist() == times
    np.testing.assert_array_equal(found["2m_temperature"].values, np.stack([value(time) for time in times]))


@pytest.mark.parametrize(
    ("period", "step", "expected"),
    [
        ({"start": "2020-02-28T06", "end": "2020-02-29", "hours": [12]}, 24, range(6, 48)),
        ({**DAYS, "hours": [0, 1, 2]}, 1, [0, 1, 2, 24, 25, 26, 48, 49, 50]),
        ({**DAYS, "gaps": [{"start": "2020-02-28T05", "end": "2020-03-01T21"}]}, 6, [0, 1, 2, 3, 4, 70, 71]),
    ],
)
def test_hourly_sums(period: dict[str, Any], step: int, expected: list[int], tmp_path: Path) -> None:
    times = [datetime(2020, 2, 28 + hour // 24, hour % 24) if hour < 48 else datetime(2020, 3, 1, hour - 48)
             for hour in expected]  # fmt: skip
    data = dataset(times).rename(t2m="tp") / 1e5
    data["tp"].attrs["units"] = "m"
    data.to_netcdf(tmp_path / "own.nc")
    wanted = request(period, step, accumulated=["total_precipitation"])
    found = decode(tmp_path / "own.nc", wanted)["total_precipitation"]
    assert found["hourly_time"].values.astype("datetime64[m]").tolist() == times
    np.testing.assert_array_equal(found.values, data["tp"].values.astype("f4"))


def test_the_toy_planet_writes_the_times_that_are_asked_for(tmp_path: Path) -> None:
    days = {"start": "2001-01-15", "end": "2001-01-16"}
    gap = {"start": "2001-01-16", "end": "2001-01-16T12"}
    some = {"start": "2001-01-15T01", "end": "2001-01-16T18", "hours": [6, 18], "gaps": [gap]}
    found = []
    for number, period in enumerate((days, some)):
        toy = {
            "name": "toy", "truncation": 21, "resolution_deg": 7.5, "spans": [period],
            "coarse_spinup_days": 1, "fine_spinup_days": 1, "full_spinup_days": 1,
        }  # fmt: skip
        source, raw = Toy.parse(toy), tmp_path / str(number)
        raw.mkdir()
        source.fetch(request(period, 6), raw, tmp_path)
        found.append(source.decode(request(period, 6), raw))
    every, own = found
    assert [str(time)[:13] for time in own["time"].values] == [
        "2001-01-15T06",
        "2001-01-15T18",
        "2001-01-16T18",
    ]
    xr.testing.assert_equal(own, every.sel(time=own["time"]))
