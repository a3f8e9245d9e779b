"""Daily fields at 12 UTC, of which two days are missing, from files to the report."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from tests.workflow.workflow import Checkout
from weatherpeft.artifacts import store

GAP = {"start": "2020-02-04", "end": "2020-02-05"}
SPLITS = {
    "train": {"start": "2020-02-01", "end": "2020-02-08"},
    "validation": {"start": "2020-02-09", "end": "2020-02-11"},
    "test": {"start": "2020-02-12", "end": "2020-02-14T12"},
}


def write(path: Path) -> np.ndarray:
    """Fields on a globe of 7.5 degrees, at the first noon a second early; returns their times."""
    days = np.arange("2020-02-01", "2020-02-15", dtype="datetime64[D]")
    times = days.astype("datetime64[ns]") + np.timedelta64(12, "h")
    times = times[(days < np.datetime64(GAP["start"])) | (days > np.datetime64(GAP["end"]))]
    latitude, longitude = np.arange(86.25, -90, -7.5), np.arange(0, 360, 7.5)
    shape, random = (times.size, latitude.size, longitude.size), np.random.default_rng(0)
    flat, deep = ("time", "latitude", "longitude"), ("time", "level", "latitude", "longitude")

    def field(mean: float, spread: float, levels: int = 0) -> np.ndarray:
        sizes = (shape[0], levels, *shape[1:]) if levels else shape
        return random.normal(mean, spread, sizes).astype("f4")

    fields = {
        "t2m": (flat, field(280, 5), {"units": "K"}),
        "u10": (flat, field(0, 5), {"units": "m s-1"}),
        "t": (deep, field(260, 5, 2), {"units": "K"}),
        "z": (deep, np.array([55e3, 14e3], "f4")[:, None, None] + field(0, 500, 2), {"units": "m2 s-2"}),
        "lsm": (flat[1:], (random.random(shape[1:]) < 0.5).astype("f4"), {"units": "1"}),
    }
    inexact = times.copy()
    inexact[0] -= np.timedelta64(1, "s")
    level = ("level", [500, 850], {"units": "hPa"})
    axes = {"time": inexact, "level": level, "latitude": latitude, "longitude": longitude}
    xr.Dataset(fields, axes).to_netcdf(path)
    return times


def of_noon(config: dict[str, Any]) -> None:
    span = {"start": "2020-02-01", "end": "2020-02-14T12", "hours": [12], "gaps": [GAP]}
    config["source"] = {"name": "local", "paths": ["noon.nc"], "span": span}
    config["step_hours"] = 24
    config["variables"]["static"] = ["land_sea_mask"]
    config["splits"] = {name: {"periods": [period]} for name, period in SPLITS.items()}
    config["task"]["history_hours"] = 24
    config["pretraining"]["task"] |= {"lead_time_hours": 24}
    config["runs"] = {"weatherpeft": config["runs"]["weatherpeft"]}
    for training in (config["training"], config["pretraining"]["training"]):
        training |= {"steps": 2, "validate_every": 1, "validation_samples": 1, "checkpoint_every": 1}


def without_the_gap(config: dict[str, Any]) -> None:
    of_noon(config)
    del config["source"]["span"]["gaps"]


@pytest.mark.slow
def test_noon_end_to_end(tmp_path: Path) -> None:
    checkout = Checkout.of_repository(tmp_path / "noon")
    times = write(checkout.folder / "noon.nc")
    config = checkout.changed_config(of_noon)
    checkout.snakemake(config=config)
    results = checkout.folder / "results/test"

    (path,) = (checkout.folder / "data").rglob("regridded/*/*/*/*/11.25deg.zarr")
    assert path.parents[2].name.startswith("20200201-20200214T12-")
    np.testing.assert_array_equal(store.open_dataset(path)["time"], times)

    # A sample needs the noon before. Of the training days two have none because of the gap, and two are it;
    # forecasts need the noon after as well.
    logs = {file.stem: file.read_text() for file in results.glob("logs/*.log")}
    said = {name: re.search(r"samples: (.*)", text) for name, text in logs.items()}
    found = {name.partition("-")[0]: match[1] for name, match in said.items() if match}
    assert found == {
        "pretrain": "train 2 of 6, validation 1 of 1",
        "fisher": "train 4 of 7",
        "finetune": "train 4 of 7, validation 2 of 2",
    }
    page = (results / "report/report.html").read_text()
    assert "2020-02-12 to 2020-02-14T12: 2 of 2 samples" in page
    assert "train: 4 of 7 samples, validation: 2 of 2 samples" in page
    predictions = xr.open_zarr(results / "predictions/weatherpeft-seed0/predictions.zarr")
    np.testing.assert_array_equal(predictions["time"], times[-2:])

    # A gap that is not declared is said before any job, with what to declare.
    other = checkout.changed_config(without_the_gap)
    done = checkout.snakemake("--dry-run", config=other, check=False)
    assert done.returncode and "missing are 2020-02-04T12:00, 2020-02-05T12:00" in done.stdout
    assert "gaps: [{start: 2020-02-04T12, end: 2020-02-05T12}]" in done.stdout
