"""Stages ``series`` and ``climatology``: sums of hours, training times, periods, real rain."""

import shutil
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from tests.climatology.rolling_climatology import by_windows, expected_thresholds, triangle
from tests.small_data import period, split, write_store
from weatherpeft.artifacts import store
from weatherpeft.fields.grid import Grid, Region
from weatherpeft.fields.variables import VariableSet
from weatherpeft.samples.splits import Split
from weatherpeft.spec import Period
from weatherpeft.stages.climatology import ClimatologySpec, climatology
from weatherpeft.stages.series import SeriesSpec, series

GRID = Grid(resolution_deg=45)
RAIN = "total_precipitation_6hr"
NAMES = (RAIN, "temperature")
STEP_HOURS = 12
FIRST, LAST = "2003-12-05", "2004-01-10"
INDIA = Grid(
    resolution_deg=0.25, poles=True, region=Region(north=20, south=19, west=77, east=78)
)  # 5 of 21 rows and columns


def axis(days: Period, hours: int) -> np.ndarray:
    start, end = np.datetime64(days.start, "ns"), np.datetime64(days.end, "ns") + np.timedelta64(1, "D")
    return np.arange(start, end, np.timedelta64(hours, "h"))


def whole(members: Sequence[int] = ()) -> xr.Dataset:
    """All data: hourly rain and 6-hourly temperature at two levels, of which every other time is used."""
    random, days = np.random.default_rng(0), period(FIRST, LAST)
    hourly, time = axis(days, 1), axis(days, 6)
    shape = tuple([len(members)] if members else []), ("member",) if members else ()
    rain = np.where(random.random((*shape[0], hourly.size, *GRID.shape)) < 0.7, 0, random.gamma(1, 4e-4))
    return xr.Dataset(
        {
            "total_precipitation": (
                (*shape[1], "hourly_time", "latitude", "longitude"),
                (rain * random.random(rain.shape)).astype(np.float32),
            ),
            "temperature": (
                (*shape[1], "time", "level", "latitude", "longitude"),
                random.normal(270, 9, (*shape[0], time.size, 2, *GRID.shape)).astype(np.float32),
            ),
        },
        {
            "hourly_time": hourly, "time": time, "level": [500, 850],
            "latitude": GRID.latitude, "longitude": GRID.longitude,
            **({"member": list(members)} if members else {}),
        },
    )  # fmt: skip


def write(dataset: xr.Dataset, days: Period, folder: Path, grid: Grid = GRID) -> Path:
    """The part of the data of some days, as an artifact of the regrid stage."""
    output = folder / "regridded" / days.label
    span = slice(str(days.start), str(days.end))
    shutil.rmtree(output, ignore_errors=True)
    with store.artifact(output, days, "weatherpeft.spec") as directory:
        part = dataset.sel(time=span, hourly_time=span)
        write_store(part, grid, variables_of(part), directory / f"{grid.label}.zarr")
    return output


def variables_of(dataset: xr.Dataset) -> VariableSet:
    upper = [name for name in ("temperature",) if name in dataset]
    levels = tuple(dataset["level"].values.tolist()) if upper else ()
    return VariableSet(accumulated=("total_precipitation",), atmospheric=tuple(upper), levels_hpa=levels)


def make(
    dataset: xr.Dataset, periods: Sequence[Period], train: Split, folder: Path, **changes: object
) -> xr.Dataset:
    """Run both stages over data that comes in these periods."""
    names, grid = changes.get("names", NAMES), changes.get("grid", GRID)
    assert isinstance(names, tuple) and isinstance(grid, Grid)
    data = [write(dataset, days, folder, grid) for days in periods]
    made = []
    for index, days in enumerate(periods):
        made.append(folder / "series" / days.label)
        spec = SeriesSpec(names=names, grid=grid, step_hours=STEP_HOURS, period=days, train=train)
        series(spec, data[max(index - 1, 0) : index + 1], made[-1])
    climatology(
        ClimatologySpec(names=names, grid=grid, step_hours=STEP_HOURS), made[::-1], folder / "climatology"
    )
    return store.open_dataset(folder / "climatology/climatology.zarr").load()


def cut(*starts: str) -> list[Period]:
    """Adjacent periods from these days to the end of the data."""
    bounds = [*(np.datetime64(start) for start in starts), np.datetime64(LAST) + 1]
    return [period(str(start), str(end - 1)) for start, end in pairwise(bounds)]


def sums(dataset: xr.Dataset, hours: int = 6) -> xr.DataArray:
    """Sums that end at 00, 06, 12 and 18 UTC, from 06 UTC of the first day on."""
    hourly = dataset["total_precipitation"].transpose("hourly_time", ...)
    values = [
        hourly.values[end - hours + 1 : end + 1].sum(axis=0, dtype=float) for end in range(6, len(hourly), 6)
    ]
    times = hourly["hourly_time"].values[6::6]
    return xr.DataArray(np.array(values, np.float32), dims=("time", *hourly.dims[1:]), coords={"time": times})


def rolled(samples: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation by day of year, of one hour of day."""
    values = samples.values.reshape(samples.sizes["time"], -1).astype(float)
    windows = by_windows(values, samples["time"].values, 61).weighted(triangle(61))
    dims = ("year", "window")
    shape = (366, *samples.shape[1:])
    return windows.mean(dims).values.reshape(shape), windows.std(dims).values.reshape(shape)


@pytest.fixture(scope="module")
def one_period(tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    return make(whole(), cut(FIRST), split(period(FIRST, LAST)), tmp_path_factory.mktemp("one"))


def test_it_is_in_weatherbenchs_layout(one_period: xr.Dataset) -> None:
    flat = ("hour", "dayofyear", "latitude", "longitude")
    for name in (RAIN, f"{RAIN}_std", f"{RAIN}_seeps_threshold", f"{RAIN}_seeps_dry_fraction"):
        assert one_period[name].dims == flat and one_period[name].dtype == np.float32
    for name in ("temperature", "temperature_std"):
        assert one_period[name].dims == ("hour", "dayofyear", "level", "latitude", "longitude")
    assert len(one_period.data_vars) == 6
    assert one_period["temperature"].encoding["chunks"] == (1, 1, 1, *GRID.shape)
    assert one_period["hour"].values.tolist() == [0, 12]
    assert one_period["dayofyear"].values.tolist() == list(range(1, 367))
    assert one_period["level"].values.tolist() == [500, 850]
    np.testing.assert_array_equal(one_period["latitude"], GRID.latitude)


def test_values_are_those_of_rolling_windows(one_period: xr.Dataset) -> None:
    data = whole()
    rain = sums(data)
    points: dict[str, Any] = {"latitude": 1, "longitude": slice(5, 8)}
    for index, hour in enumerate((0, 12)):
        own = rain.isel(time=rain["time"].dt.hour == hour, **points)
        found = one_period.isel(hour=index, **points)
        threshold, share = expected_thresholds(own.values, own["time"].values, 1e-4)
        np.testing.assert_allclose(found[f"{RAIN}_seeps_threshold"], threshold, rtol=1e-6)
        np.testing.assert_allclose(found[f"{RAIN}_seeps_dry_fraction"], share, rtol=1e-6)
        np.testing.assert_allclose(found[RAIN], rolled(own)[0], rtol=1e-6)
        upper = data["temperature"].isel(time=data["time"].dt.hour == hour, level=1, **points)
        mean, deviation = rolled(upper)
        np.testing.assert_allclose(found["temperature"][:, 1], mean, rtol=1e-6)
        np.testing.assert_allclose(found["temperature_std"][:, 1], deviation, rtol=1e-5, atol=1e-12)


def test_periods_do_not_change_a_bit(one_period: xr.Dataset, tmp_path: Path) -> None:
    periods = cut(FIRST, "2003-12-06", "2003-12-31", "2004-01-07")
    found = make(whole(), periods, split(period(FIRST, LAST)), tmp_path)
    xr.testing.assert_identical(found, one_period)


def test_training_times_alone(tmp_path: Path) -> None:
    """Sums that begin before a training period are left out, sums inside it cross stores."""
    train = split(period("2003-12-08", "2003-12-11"), period("2004-01-02", "2004-01-03"))
    data = whole()
    for name, time in (("temperature", "time"), ("total_precipitation", "hourly_time")):
        day = data[time].values.astype("datetime64[D]")
        outside = [not any(p.start <= one.item() <= p.end for p in train.periods) for one in day]
        data[name].loc[{time: data[time].values[outside]}] = 1e9
    found = make(data, cut(FIRST, "2003-12-10", "2004-01-01"), train, tmp_path)
    rain, late = sums(whole()), ["2003-12-09", "2003-12-10", "2003-12-11", "2004-01-03"]
    for hour, days in ((0, late), (12, ["2003-12-08", *late[:3], "2004-01-02", late[3]])):
        times = [np.datetime64(f"{day}T{hour:02d}", "ns") for day in days]
        mean, _ = rolled(rain.sel(time=times))
        np.testing.assert_allclose(found[RAIN].sel(hour=hour), mean, rtol=1e-6)
        dry = (rain.sel(time=times) < np.float32(1e-4)).mean("time")
        share = found[f"{RAIN}_seeps_dry_fraction"].sel(hour=hour, dayofyear=355)
        np.testing.assert_allclose(share, dry, rtol=1e-6)
    assert float(found["temperature"].max()) < 400


def test_members_are_samples_and_others_are_not(tmp_path: Path) -> None:
    data = whole(members=(0, 1, 4))
    data["temperature"][1] = 1e9
    train = split(period(FIRST, LAST), members=(0, 4))
    found = make(data, cut(FIRST), train, tmp_path, names=("temperature",))
    noon = data["temperature"].isel(time=data["time"].dt.hour == 12).isel(level=0, latitude=0)
    expected = [rolled(noon.sel(member=member))[0] for member in (0, 4)]
    mean = found["temperature"].sel(hour=12)[:, 0, 0]
    np.testing.assert_allclose(mean, np.mean(expected, axis=0), rtol=1e-6)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    train = split(period(FIRST, LAST))
    for names, message in (
        (("2m_temperature",), "variable 2m_temperature is missing; found temperature, total_precipitation"),
        (("total_precipitation_12hr",), "dry thresholds are known of sums of 6, 24 h, found 12 h"),
        (("wind",), "variable wind is missing; found temperature, total_precipitation"),
        (("total_precipitation_30hr",), "total_precipitation_30hr: expected a sum of at most 24 hours"),
    ):
        with pytest.raises(ValueError, match=message):
            make(whole(), cut(FIRST), train, tmp_path, names=names)
        assert not (tmp_path / "climatology").exists()
    spec = ClimatologySpec(names=(RAIN,), grid=GRID, step_hours=STEP_HOURS)
    with pytest.raises(ValueError, match="step_hours: expected a divisor of 24, found 5"):
        climatology(spec.model_copy(update={"step_hours": 5}), [tmp_path], tmp_path / "climatology")
    with pytest.raises(ValueError, match=f"no series of {RAIN} at 00, 12 UTC"):
        climatology(spec, [tmp_path], tmp_path / "climatology")


def test_hours_are_those_of_the_data(one_period: xr.Dataset, tmp_path: Path) -> None:
    """Of an hour that the data has not nothing is made, and the values of the others are the same."""
    every = split(period(FIRST, LAST))
    data = whole()
    noon = data.isel(time=data["time"].dt.hour == 12)
    found = make(noon, cut(FIRST), every, tmp_path, names=("temperature",))
    assert found["hour"].values.tolist() == [12]
    xr.testing.assert_equal(found["temperature"], one_period["temperature"].sel(hour=[12]))


def test_hours_that_are_no_multiples_of_the_step(tmp_path: Path) -> None:
    data, days = whole(), period(FIRST, LAST)
    names, hours = ("temperature",), (6, 18)
    series(
        SeriesSpec(names=names, grid=GRID, step_hours=12, period=days, train=split(days), hours=hours),
        [write(data, days, tmp_path)],
        tmp_path / "series",
    )
    climatology(
        ClimatologySpec(names=names, grid=GRID, step_hours=12, hours=hours),
        [tmp_path / "series"],
        tmp_path / "climatology",
    )
    found = store.open_dataset(tmp_path / "climatology/climatology.zarr")
    assert found["hour"].values.tolist() == [6, 18]
    evening = data["temperature"].isel(time=data["time"].dt.hour == 18, level=0)
    np.testing.assert_allclose(found["temperature"].sel(hour=18)[:, 0], rolled(evening)[0], rtol=1e-6)


@pytest.mark.shared
def test_real_rain(shared_data: Path, tmp_path: Path) -> None:
    with xr.open_dataset(shared_data / "era5_tp_hourly_india_2023.nc", engine="netcdf4") as opened:
        hourly = opened["tp"][:, :5, :5].load()
    raw = hourly.drop_vars(["number", "expver"]).rename(valid_time="hourly_time")
    summer = period("2023-06-01", "2023-08-31")
    months = [period("2023-06-01", "2023-06-30"), period("2023-07-01", "2023-08-31")]
    dataset = raw.to_dataset(name="total_precipitation")
    dataset = dataset.assign_coords(time=dataset["hourly_time"].values[::6])
    found = make(dataset, months, split(summer), tmp_path, names=(RAIN,), grid=INDIA)
    rolled = hourly.rolling(valid_time=6).sum()
    for hour in (0, 12):
        own = rolled[rolled["valid_time"].dt.hour.values == hour].dropna("valid_time")
        assert own.sizes["valid_time"] == (91 if hour == 0 else 92)
        values = own.values[:, [0, 2, 4], [1, 2, 3]].astype(np.float32)
        threshold, share = expected_thresholds(values, own["valid_time"].values, 1e-4)
        for name, expected in (("threshold", threshold), ("dry_fraction", share)):
            points = found[f"{RAIN}_seeps_{name}"].sel(hour=hour).values[:, [0, 2, 4], [1, 2, 3]]
            np.testing.assert_allclose(points, expected, rtol=1e-5)
    rainy = found[f"{RAIN}_seeps_threshold"].sel(dayofyear=slice(152, 243)).values
    assert (rainy > 1e-4).all() and (rainy < 0.05).all()
    assert 0.01 < float(found[f"{RAIN}_seeps_dry_fraction"].mean()) < 0.85
