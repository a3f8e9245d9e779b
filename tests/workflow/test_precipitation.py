"""Rain on a tiny planet, from GRIB to the report: training, validation and test days of one period."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

from tests.workflow.workflow import Checkout
from weatherpeft.artifacts import store

RAIN = "total_precipitation_6hr"
PERIOD, GRID = "20010115-20010122", "11.25deg-85N-0N-0E-179E"
TEST = np.datetime64("2001-01-21", "ns")
LEADS = (6, 12)
LATITUDE = np.arange(84.375, 0, -11.25)
AREAS = np.repeat(np.sin(np.deg2rad(LATITUDE + 5.625)) - np.sin(np.deg2rad(LATITUDE - 5.625)), 16)
"""Of the cells, in the order of a flattened field."""


def rain(config: dict[str, Any]) -> None:
    """The tiny experiment, with rain to come in a box of the northern hemisphere."""
    region = {"north": 85, "south": 0, "west": 0, "east": 179}
    config["source"]["spans"] = [{"start": "2001-01-15", "end": "2001-01-22"}]
    config["variables"]["surface"].append(RAIN)
    config["variables"]["accumulated"] = ["total_precipitation"]
    config["splits"] = {
        "train": {"periods": [{"start": "2001-01-15", "end": "2001-01-18"}]},
        "validation": {"periods": [{"start": "2001-01-19", "end": "2001-01-20"}]},
        "test": {"periods": [{"start": "2001-01-21", "end": "2001-01-22"}]},
    }
    config["task"] = {
        "name": "precipitation",
        "grid": {"resolution_deg": 11.25, "region": region},
        "history_hours": 6,
        "lead_times_hours": list(LEADS),
    }
    config["backbone"] |= {"patch_size": 2, "window_size": [2, 2, 4]}
    del config["pretraining"]
    config["training"] |= {"steps": 2, "validate_every": 2}
    config["regions"] = {
        "east": {**region, "west": 90, "held_out": True},
        "west": {**region, "east": 89},
    }
    config["baselines"] = ["persistence", "climatology"]
    config["runs"] = {"linear_probe": {"methods": [{"name": "linear_probe"}], "start": "random"}}


def poison(path: Path) -> None:
    """Make of the test days what would show in anything that sees them."""
    group: Any = zarr.open_group(path, mode="r+")
    stored = store.open_dataset(path)
    late = stored["hourly_time"].values >= TEST
    hourly = group["total_precipitation"][:]
    group["total_precipitation"][:] = np.where(late[:, None, None], 1000 * hourly, hourly)
    late = stored["time"].values >= TEST
    fields = group["fields"][:]
    group["fields"][:] = np.where(late[:, None, None, None], 2 * fields, fields)


def six_hours(hourly: xr.DataArray, end: np.datetime64) -> np.ndarray:
    """The sum of the six hours to a time, flattened."""
    hours = [end - np.timedelta64(hour, "h") for hour in range(6)]
    return hourly.sel(hourly_time=hours).values.astype(np.float64).sum(axis=0).ravel()


@pytest.mark.slow
def test_rain_end_to_end(tmp_path: Path) -> None:
    checkout = Checkout.of_repository(tmp_path / "rain")
    config = checkout.changed_config(rain)
    results = checkout.folder / "results/test"
    checkout.snakemake("--until", "regrid", config=config)
    path = checkout.store(f"regridded/{PERIOD}", GRID)
    poison(path)
    checkout.snakemake(config=config)

    # Every job, once, and what it read.
    forecasts = ("persistence", "climatology", "linear_probe-seed0")
    records = checkout.records()
    once = ("statistics", "climatology", "runs/linear_probe-seed0", "report")
    parts = {name for name in records if name.startswith("data/")}
    assert [sorted(name.split("/")[2] for name in parts)] == [["raw", "regridded"]]
    expected = {*parts, *(f"results/test/{name}" for name in once)}
    expected |= {f"results/test/{stage}/{PERIOD}" for stage in ("raw", "regridded", "moments", "series")}
    expected |= {f"results/test/{stage}/{name}" for stage in ("predictions", "scores") for name in forecasts}
    assert set(records) == expected
    for name in forecasts:
        inputs = {f"regridded/{PERIOD}", f"predictions/{name}", "test/climatology"}
        assert set(records[f"results/test/scores/{name}"]["inputs"]) == inputs

    # Statistics and climatology are those of the training days: 15 sums, the first day's first has no hours.
    stored = store.open_dataset(path).load()
    hourly = stored["total_precipitation"]
    ends = np.arange(np.datetime64("2001-01-15T06"), np.datetime64("2001-01-19"), 6).astype("datetime64[ns]")
    training = np.stack([six_hours(hourly, end) for end in ends])
    assert six_hours(hourly, TEST + np.timedelta64(12, "h")).mean() > 100 * training.mean()
    statistics = store.open_dataset(results / "statistics/statistics.zarr").sel(channel="tp")
    assert float(statistics["mean"]) == pytest.approx(np.average(training.mean(axis=0), weights=AREAS))
    temperature = stored["temperature"].sel(level=850, time=slice("2001-01-15T06", "2001-01-18")).values
    statistics = store.open_dataset(results / "statistics/statistics.zarr").sel(channel="t850")
    mean = np.average(temperature.astype(np.float64).mean(axis=0).ravel(), weights=AREAS)
    assert float(statistics["mean"]) == pytest.approx(mean, rel=1e-6)

    def climatology(time: np.datetime64) -> np.ndarray:
        """Training sums of the hour, by a triangle of 61 days around the day."""
        same = [index for index, end in enumerate(ends) if (time - end) % np.timedelta64(1, "D") == 0]
        days = [abs((time - ends[index]) / np.timedelta64(1, "D")) for index in same]
        return np.average(training[same], axis=0, weights=1 - np.array(days) / 30)

    # Persistence is the sum that ends at the start; of the test days four have a whole window.
    starts = np.arange(TEST + np.timedelta64(12, "h"), TEST + np.timedelta64(31, "h"), np.timedelta64(6, "h"))
    predicted = store.open_dataset(results / "predictions/persistence/predictions.zarr").load()
    scores = store.open_dataset(results / "scores/persistence/scores.zarr").load()
    regions = store.open_dataset(results / "scores/persistence/regions.zarr").load()
    columns = {"west": np.tile(np.arange(16) < 8, 8), "east": np.tile(np.arange(16) >= 8, 8)}
    assert predicted["time"].values.tolist() == scores["time"].values.tolist() == starts.tolist()
    for start in starts:
        forecast = six_hours(hourly, start)
        for lead in LEADS:
            place = {"time": start, "prediction_timedelta": np.timedelta64(lead, "h")}
            np.testing.assert_allclose(predicted[RAIN].sel(place).values.ravel(), forecast, rtol=1e-6)
            valid = start + np.timedelta64(lead, "h")
            observed, usual = six_hours(hourly, valid), climatology(valid)
            found = scores.sel(place, drop=True).sel(channel="tp", drop=True)
            squared = np.average((forecast - observed) ** 2, weights=AREAS)
            assert float(found["rmse"]) == pytest.approx(np.sqrt(squared), rel=1e-6)
            bias = np.average(forecast - observed, weights=AREAS)
            assert float(found["bias"]) == pytest.approx(bias, abs=1e-6 * np.sqrt(squared))
            for name, own in columns.items():
                squared = np.average((forecast - observed) ** 2, weights=AREAS * own)
                score = regions["rmse"].sel(place).sel(region=name, channel="tp")
                assert float(score) == pytest.approx(np.sqrt(squared), rel=1e-6)
            ours, theirs = forecast - usual, observed - usual
            moments = [
                np.average(a * b, weights=AREAS) for a, b in ((ours, theirs), (ours, ours), (theirs, theirs))
            ]
            assert float(found["acc"]) == pytest.approx(
                moments[0] / np.sqrt(moments[1] * moments[2]), rel=1e-5
            )

    # Climatology has no anomaly, and the report shows so.
    none = store.open_dataset(results / "scores/climatology/scores.zarr").load()
    assert np.isnan(none["acc"]).all() and np.isfinite(none["seeps"]).all()
    with (results / "report/scores.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["run"] for row in rows} == set(forecasts)
    assert {row["channel"] for row in rows} == {"tp+6h", "tp+12h"}
    text = (results / "report/scores.txt").read_text()
    skill, _, _, by_region = text.split("\n\n")[2:6]
    assert next(line for line in skill.splitlines() if line.startswith("climatology")).split()[3:5] == [
        "-",
        "-",
    ]
    title, *heads = (line.split() for line in by_region.splitlines()[:4])
    assert title[0] == "ACC"
    assert heads == [["tp+6h"] * 2 + ["tp+12h"] * 2, ["west", "east"] * 2, ["trained", "held", "out"] * 2]
