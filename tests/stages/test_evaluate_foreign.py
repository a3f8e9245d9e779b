"""A store as WeatherBench 2 publishes it, scored by the command."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from tests.small_data import period, write_store
from weatherpeft.artifacts import store
from weatherpeft.artifacts.forecasts import open_forecast
from weatherpeft.cli import main
from weatherpeft.fields.grid import Grid, Region
from weatherpeft.fields.variables import VariableSet
from weatherpeft.stages.evaluate import EvaluateSpec, evaluate
from weatherpeft.verification.scoring import FieldScoring

RAIN = "total_precipitation_6hr"
VARIABLES = VariableSet(
    surface=("2m_temperature", RAIN),
    accumulated=("total_precipitation",),
    atmospheric=("geopotential",),
    levels_hpa=(500, 850),
)
DAYS = period("2020-03-01", "2020-03-03")
STARTS = np.array(["2020-03-01T00", "2020-03-01T12"], "datetime64[ns]")
GRIDS = {
    "globe": Grid(resolution_deg=30, poles=True),
    "region": Grid(resolution_deg=30, poles=True, region=Region(north=60, south=-30, west=60, east=210)),
    "across": Grid(resolution_deg=30, poles=True, region=Region(north=60, south=-30, west=300, east=60)),
}


def spec(grid: Grid) -> EvaluateSpec:
    return EvaluateSpec(
        scoring=FieldScoring(variables=VARIABLES, grid=grid, lead_hours=(12, 36), climatology=(RAIN,))
    )


def published(path: Path) -> xr.Dataset:
    """A forecast as its center leaves it: south to north, longitude first, days of lead times, all levels."""
    random, globe = np.random.default_rng(3), GRIDS["globe"]
    shape = (STARTS.size, 4, 12, 7)
    dims = ("time", "prediction_timedelta", "longitude", "latitude")
    deep = (*dims[:2], "level", *dims[2:])
    dataset = xr.Dataset(
        {
            "2m_temperature": (dims, random.normal(280, 9, shape).astype("f4")),
            RAIN: (dims, random.gamma(0.5, 6e-4, shape).astype("f4")),
            "total_precipitation_24hr": (dims, np.full(shape, np.nan, "f4")),
            "geopotential": (deep, random.normal(5e4, 900, (2, 4, 3, 12, 7)).astype("f4")),
            "vertical_velocity": (deep, random.normal(0, 1, (2, 4, 3, 12, 7)).astype("f4")),
        },
        {
            "time": STARTS,
            "prediction_timedelta": np.arange(0, 48, 12),
            "level": np.array([500, 700, 850], "int32"),
            "longitude": globe.longitude,
            "latitude": globe.latitude[::-1],
        },
    )
    dataset["prediction_timedelta"].attrs["units"] = "hours"
    dataset.to_zarr(path, zarr_format=2, consolidated=True)
    return dataset.assign_coords(
        prediction_timedelta=np.arange(0, 48, 12).astype("timedelta64[h]").astype("timedelta64[ns]")
    )


def write_truth(grid: Grid, folder: Path) -> tuple[Path, Path]:
    """Regridded data and a climatology."""
    random = np.random.default_rng(0)
    hourly, times = (
        np.arange("2020-03-01T00", "2020-03-04T00", hours, dtype="datetime64[h]").astype("datetime64[ns]")
        for hours in (1, 6)
    )
    axes = {"latitude": grid.latitude, "longitude": grid.longitude}
    flat = ("latitude", "longitude")
    dataset = xr.Dataset(
        {
            "2m_temperature": (
                ("time", *flat),
                random.normal(280, 9, (times.size, *grid.shape)).astype("f4"),
            ),
            "geopotential": (
                ("time", "level", *flat),
                random.normal(5e4, 900, (times.size, 2, *grid.shape)).astype("f4"),
            ),
            "total_precipitation": (
                ("hourly_time", *flat),
                random.gamma(0.1, 4e-4, (hourly.size, *grid.shape)).astype("f4"),
            ),
        },
        {"time": times, "hourly_time": hourly, "level": [500, 850], **axes},
    )
    with store.artifact(folder / DAYS.label, DAYS, "weatherpeft.spec") as directory:
        write_store(dataset, grid, VARIABLES.stored, directory / f"{grid.label}.zarr")
    shape, dims = (4, 366, *grid.shape), ("hour", "dayofyear", *flat)
    values = {
        RAIN: random.gamma(1, 3e-4, shape),
        f"{RAIN}_seeps_threshold": random.uniform(2e-4, 9e-4, shape),
        f"{RAIN}_seeps_dry_fraction": np.full(shape, 0.5),
    }
    climatology = xr.Dataset(
        {name: (dims, field.astype("f4")) for name, field in values.items()},
        {"hour": np.arange(0, 24, 6), "dayofyear": np.arange(1, 367), **axes},
    )
    with store.artifact(folder / "climatology", DAYS, "weatherpeft.spec") as directory:
        store.write_dataset(climatology, directory / "climatology.zarr")
    return folder / DAYS.label, folder / "climatology"


@pytest.mark.parametrize("where", GRIDS)
def test_the_command_scores_it_as_ours(where: str, tmp_path: Path) -> None:
    grid = GRIDS[where]
    data, climatology = write_truth(grid, tmp_path)
    theirs = tmp_path / "theirs.zarr"
    dataset = published(theirs)

    # The same fields, as this package writes its own.
    longitude = np.mod(grid.longitude, 360)
    ours = dataset[["2m_temperature", RAIN, "geopotential"]].sel(
        latitude=grid.latitude,
        longitude=longitude,
        level=[500, 850],
        prediction_timedelta=np.array([12, 36], "timedelta64[h]").astype("timedelta64[ns]"),
    )
    ours = ours.transpose(..., "latitude", "longitude").assign_coords(longitude=grid.longitude)
    with store.artifact(tmp_path / "ours", DAYS, "weatherpeft.spec") as directory:
        store.write_dataset(ours.drop_encoding(), directory / "predictions.zarr")
    evaluate(spec(grid), [data], tmp_path / "ours", tmp_path / "expected", climatology)

    arguments = ["evaluate", "--spec", spec(grid).canonical_json(), "--data", data, "--predictions", theirs]
    arguments += ["--climatology", climatology, "--output", tmp_path / "found"]
    assert main([str(argument) for argument in arguments]) == 0
    found, expected = (
        store.open_dataset(tmp_path / name / "scores.zarr").load() for name in ("found", "expected")
    )
    assert set(found.data_vars) == {"rmse", "bias", "acc", "seeps", "contingency"}
    xr.testing.assert_identical(found, expected)
    record = store.read_provenance(tmp_path / "found")
    assert record["inputs"][f"{tmp_path.name}/theirs.zarr"] == store.content_digest(theirs)

    # And one of them by hand.
    start, lead = STARTS[1], np.timedelta64(36, "h")
    truth = store.open_dataset(data / f"{grid.label}.zarr")["geopotential"].sel(time=start + lead, level=850)
    edges = np.clip(np.append(grid.latitude + 15, grid.latitude[-1] - 15), -90, 90)
    areas = -np.diff(np.sin(np.deg2rad(edges)))[:, None] * np.ones(grid.shape)
    forecast = ours["geopotential"].sel(time=start, prediction_timedelta=lead, level=850)
    squared = (forecast.values.astype(np.float64) - truth.values) ** 2
    score = found["rmse"].sel(time=start, prediction_timedelta=lead, channel="z850")
    assert float(score) == pytest.approx(np.sqrt(np.average(squared, weights=areas)), rel=1e-9)


def test_what_it_lacks_is_named(tmp_path: Path) -> None:
    published(tmp_path / "theirs.zarr")

    def refused(message: str, grid: Grid = GRIDS["globe"], **changes: object) -> None:
        wanted = VARIABLES.model_copy(update={k: v for k, v in changes.items() if k != "leads"})
        leads = changes.get("leads", (12,))
        assert isinstance(leads, tuple)
        with pytest.raises(ValueError, match=message):
            open_forecast(tmp_path / "theirs.zarr", wanted, grid, leads)

    refused("lack the variable 10m_u_component_of_wind", surface=("10m_u_component_of_wind",))
    refused(r"lack the levels \[925\] hPa", levels_hpa=(850, 925))
    refused(r"lack the lead times \[48\] h", leads=(12, 48))
    refused("latitude of the predictions lacks points of the grid 22.5deg", Grid(resolution_deg=22.5))
    finer = Grid(resolution_deg=15, poles=True, region=Region(north=0, south=0, west=0, east=30))
    refused("longitude of the predictions lacks points of the grid 15deg", finer)
    with pytest.raises(ValueError, match=r"nothing.zarr: no such Zarr store"):
        open_forecast(tmp_path / "nothing.zarr", VARIABLES, GRIDS["globe"], (12,))
