"""SEEPS, ACC and contingency of rain by lead time, against loops in plain Python."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from tests.small_data import period, write_store
from weatherpeft.artifacts import store
from weatherpeft.fields.grid import Grid, Region
from weatherpeft.fields.variables import VariableSet
from weatherpeft.stages.evaluate import EvaluateSpec, evaluate
from weatherpeft.verification.scoring import FieldScoring

RAIN = "total_precipitation_6hr"
GRID = Grid(resolution_deg=30, region=Region(north=90, south=0, west=0, east=120))
VARIABLES = VariableSet(surface=(RAIN,), accumulated=("total_precipitation",))
STORED = VARIABLES.stored.model_copy(update={"static": ("land_sea_mask",)})
SCORING = FieldScoring(variables=VARIABLES, grid=GRID, lead_hours=(12, 36), climatology=(RAIN,))
SPEC = EvaluateSpec(scoring=SCORING)
DAYS = period("2001-03-01", "2001-03-03")
STARTS = np.array(["2001-03-01T00", "2001-03-01T12"], "datetime64[ns]")
DRY = 1e-4


@pytest.fixture
def hourly() -> xr.DataArray:
    times = np.arange("2001-03-01T00", "2001-03-04T00", 1, dtype="datetime64[h]").astype("datetime64[ns]")
    random = np.random.default_rng(0)
    values = random.gamma(0.1, 4e-4, (times.size, *GRID.shape)).astype(np.float32)
    return xr.DataArray(values, {"hourly_time": times}, ("hourly_time", "latitude", "longitude"))


@pytest.fixture
def data(hourly: xr.DataArray, tmp_path: Path) -> Path:
    times = np.arange("2001-03-01T00", "2001-03-04T00", 6, dtype="datetime64[h]").astype("datetime64[ns]")
    mask = (("latitude", "longitude"), np.zeros(GRID.shape, "f4"))
    dataset = xr.Dataset(
        {"total_precipitation": hourly, "land_sea_mask": mask},
        {"time": times, "latitude": GRID.latitude, "longitude": GRID.longitude},
    )
    with store.artifact(tmp_path / DAYS.label, DAYS, "weatherpeft.spec") as directory:
        write_store(dataset, GRID, STORED, directory / f"{GRID.label}.zarr")
    return tmp_path / DAYS.label


@pytest.fixture
def climatology(tmp_path: Path) -> xr.Dataset:
    random, shape = np.random.default_rng(1), (4, 366, *GRID.shape)
    dims = ("hour", "dayofyear", "latitude", "longitude")
    dry = np.broadcast_to(random.uniform(0.05, 0.9, GRID.shape), shape).copy()
    dry[..., 1, 1] = 0.05  # too wet
    dataset = xr.Dataset(
        {
            RAIN: (dims, random.gamma(1, 3e-4, shape).astype("f4")),
            f"{RAIN}_seeps_threshold": (dims, random.uniform(2e-4, 9e-4, shape).astype("f4")),
            f"{RAIN}_seeps_dry_fraction": (dims, dry.astype("f4")),
        },
        {
            **{"hour": np.arange(0, 24, 6), "dayofyear": np.arange(1, 367)},
            **{"latitude": GRID.latitude, "longitude": GRID.longitude},
        },
    )
    with store.artifact(tmp_path / "climatology", DAYS, "weatherpeft.spec") as directory:
        store.write_dataset(dataset, directory / "climatology.zarr")
    return dataset


@pytest.fixture
def forecast(tmp_path: Path) -> xr.Dataset:
    """As WeatherBench 2's own: more lead times, in another order, longitude before latitude, more fields."""
    leads = np.array([36, 24, 12], "timedelta64[h]").astype("timedelta64[ns]")
    values = np.random.default_rng(2).gamma(0.5, 6e-4, (2, 3, *GRID.shape)).astype(np.float32)
    dims = ("time", "prediction_timedelta", "latitude", "longitude")
    dataset = xr.Dataset(
        {RAIN: (dims, values), "geopotential": (dims[:2], np.zeros((2, 3)))},
        {
            **{"time": STARTS, "prediction_timedelta": leads},
            **{"latitude": GRID.latitude, "longitude": GRID.longitude},
        },
    )
    path = tmp_path / "theirs"
    with store.artifact(path, DAYS, "weatherpeft.spec") as directory:
        theirs = dataset.transpose("time", "prediction_timedelta", "longitude", "latitude")
        theirs.to_zarr(directory / "predictions.zarr", zarr_format=2, consolidated=True)
    return dataset


def category(value: float, wet: float) -> int:
    return 0 if value < np.float32(DRY) else 1 if value < wet else 2


def by_hand(
    ours: np.ndarray, theirs: np.ndarray, mean: np.ndarray, wet: np.ndarray, dry: np.ndarray
) -> tuple[float, float, np.ndarray]:
    """SEEPS, ACC and contingency, cell by cell, weighted by the area between two parallels of the globe."""
    seeps = total = product = first = second = 0.0
    table = np.zeros((3, 3))
    for row, column in np.ndindex(*GRID.shape):
        north = 90 - 30 * row
        area = np.sin(np.radians(north)) - np.sin(np.radians(north - 30))
        p, t = float(ours[row, column]), float(theirs[row, column])
        a, b = p - float(mean[row, column]), t - float(mean[row, column])
        product, first, second = product + area * a * b, first + area * a * a, second + area * b * b
        p1 = float(dry[row, column])
        if not 0.1 < p1 < 0.85:
            continue
        f, o = (category(each, float(wet[row, column])) for each in (p, t))
        error = [
            [0, 1 / (1 - p1), 4 / (1 - p1)],
            [1 / p1, 0, 3 / (1 - p1)],
            [1 / p1 + 3 / (2 + p1), 3 / (2 + p1), 0],
        ]
        seeps, total = seeps + area * error[f][o] / 2, total + area
        table[f, o] += area
    return seeps / total, product / np.sqrt(first * second), table / total


def test_scores_are_those_of_loops(
    data: Path, climatology: xr.Dataset, forecast: xr.Dataset, hourly: xr.DataArray, tmp_path: Path
) -> None:
    evaluate(SPEC, [data], tmp_path / "theirs", tmp_path / "scores", tmp_path / "climatology")
    found = store.open_dataset(tmp_path / "scores" / "scores.zarr").load()
    assert found["acc"].dims == ("time", "prediction_timedelta", "channel")
    assert found["contingency"].dims == ("time", "prediction_timedelta", "forecast", "observed")
    dry = climatology[f"{RAIN}_seeps_dry_fraction"].isel(hour=0, dayofyear=0).values
    for start in STARTS:
        for lead in (12, 36):
            valid = start + np.timedelta64(lead, "h")
            hours = [valid - np.timedelta64(hour, "h") for hour in range(6)]
            target = hourly.sel(hourly_time=hours).values.astype(np.float64).sum(axis=0).astype(np.float32)
            hour = int(str(valid)[11:13])
            day = {"01": 60, "02": 61, "03": 62}[str(valid)[8:10]]  # of a common year
            place = {"hour": hour, "dayofyear": day}
            step = {"time": start, "prediction_timedelta": np.timedelta64(lead, "h")}
            ours = forecast[RAIN].sel(step).values
            mean, wet = (climatology[name].sel(place).values for name in (RAIN, f"{RAIN}_seeps_threshold"))
            seeps, acc, table = by_hand(ours, target, mean, wet, dry)
            scores = found.sel(step)
            assert float(scores["seeps"]) == pytest.approx(seeps, rel=1e-6)
            assert float(scores["acc"].sel(channel="tp")) == pytest.approx(acc, rel=1e-6)
            np.testing.assert_allclose(scores["contingency"].values, table, rtol=1e-6)


def test_what_it_refuses(data: Path, climatology: xr.Dataset, forecast: xr.Dataset, tmp_path: Path) -> None:
    theirs, output = tmp_path / "theirs", tmp_path / "scores"
    with pytest.raises(ValueError, match="scores of total_precipitation_6hr need a climatology"):
        evaluate(SPEC, [data], theirs, output)
    longer = EvaluateSpec(scoring=SCORING.model_copy(update={"lead_hours": (12, 48)}))
    with pytest.raises(ValueError, match=r"predictions lack the lead times \[48\] h"):
        evaluate(longer, [data], theirs, output, tmp_path / "climatology")
    early = EvaluateSpec(scoring=SCORING.model_copy(update={"lead_hours": (24,)}))
    later = forecast.assign_coords(time=STARTS + np.timedelta64(3, "D"))
    path = tmp_path / "later"
    with store.artifact(path, DAYS, "weatherpeft.spec") as directory:
        store.write_dataset(later, directory / "predictions.zarr")
    with pytest.raises(ValueError, match="no time 2001-03-05T00"):
        evaluate(early, [data], path, output, tmp_path / "climatology")
    assert not output.exists()
