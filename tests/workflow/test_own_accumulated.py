"""A regional experiment with hourly sums of one's own as its target, from files to the report."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml

from tests.workflow.workflow import CONFIG, Checkout
from weatherpeft.artifacts import store

SNOW: dict[str, Any] = {
    "kind": "accumulated",
    "units": "m",
    "long_name": "Snowfall",
    "minimum": 0,
    "plausible": [-0.01, 0.5],
    "transformation": {"name": "log1p", "scale": 1e-4},
    "starts_from": "mean_sea_level_pressure",
}
FOG: dict[str, Any] = {
    **SNOW,
    "kind": "surface",
    "long_name": "Fog water",
    "plausible": [-0.01, 50],
    "starts_from": None,
}
DRY = 1e-4
REGION = {"resolution_deg": 11.25, "region": {"north": 67.5, "south": -67.5, "west": 0, "east": 179}}
DAYS = 6


def fields() -> dict[str, np.ndarray]:
    """Hourly snow, in mm as in the file, and fields every six hours, on the global grid of 11.25°."""
    random, shape = np.random.default_rng(0), (16, 32)
    snow = random.gamma(0.3, 1, (24 * DAYS, *shape)) * (random.random((24 * DAYS, *shape)) < 0.5)
    return {
        "snow": snow.astype("f4"),
        "fog": (random.lognormal(-8, 2, (4 * DAYS, *shape))).astype("f4"),
        "t2m": random.normal(280, 5, (4 * DAYS, *shape)).astype("f4"),
        "t": random.normal(260, 5, (4 * DAYS, 2, *shape)).astype("f4"),
    }


def write_files(folder: Path) -> None:
    folder.mkdir()
    axes = {
        "latitude": ("latitude", np.arange(84.375, -90, -11.25), {"units": "degrees_north"}),
        "longitude": ("longitude", np.arange(0, 360, 11.25), {"units": "degrees_east"}),
    }
    hours = np.datetime64("2020-03-01", "ns") + np.arange(24 * DAYS) * np.timedelta64(1, "h")
    level = {"level": ("level", [500, 850], {"units": "hPa", "standard_name": "air_pressure"})}
    units = {"snow": "mm", "fog": "m", "t2m": "K", "t": "K"}
    for name, values in fields().items():
        dims = ("time", *(("level",) if values.ndim == 4 else ()), "latitude", "longitude")
        times = hours if name == "snow" else hours[::6]
        coords = {"time": times, **axes, **(level if values.ndim == 4 else {})}
        theirs = "x42" if name == "snow" else name
        array = {theirs: (dims, values, {"units": units[name]})}
        xr.Dataset(array, coords).to_netcdf(folder / f"{name}.nc")


def experiment(base: Path) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load(base.read_text())
    day = "2020-03-0{}".format
    backbone = {**values["backbone"], "patch_size": 2, "latent_levels": 4}
    return {
        "name": "snow",
        "data": "data/snow",
        "define": {"snowfall": SNOW, "fog": FOG},
        "source": {
            "name": "local",
            "paths": ["files/*"],
            "rename": {"x42": "snowfall"},
            "span": {"start": day(1), "end": day(DAYS)},
        },
        "training_store": "int16",
        "variables": {
            "surface": ["2m_temperature", "fog", "snowfall_6hr"],
            "accumulated": ["snowfall"],
            "atmospheric": ["temperature"],
            "levels_hpa": [500, 850],
        },
        "placeholders": {"land_sea_mask": 1.0},
        "splits": {
            "train": {"periods": [{"start": day(1), "end": day(2)}]},
            "validation": {"periods": [{"start": day(3), "end": day(4)}]},
            "test": {"periods": [{"start": day(5), "end": day(6)}]},
        },
        "task": {
            "name": "precipitation",
            "variable": "snowfall_6hr",
            "dry_threshold": DRY,
            "grid": REGION,
            "history_hours": 6,
            "lead_times_hours": [6, 12],
        },
        "backbone": backbone,
        "training": {**values["training"], "steps": 2, "validate_every": 1},
        "runs": {"full": {"methods": [{"name": "full"}], "start": "random"}},
        "baselines": ["persistence", "climatology"],
    }


@pytest.mark.slow
def test_sums_of_ones_own_come_to_the_report(tmp_path: Path) -> None:
    checkout = Checkout.of_repository(tmp_path / "checkout")
    write_files(checkout.folder / "files")
    values = experiment(checkout.folder / CONFIG)
    (checkout.folder / "snow.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    checkout.snakemake(config="snow.yaml")

    results = checkout.folder / "results/snow"
    predicted = store.open_dataset(results / "predictions/full-seed0/predictions.zarr").load()
    assert list(predicted.data_vars) == ["snowfall_6hr"]
    assert predicted["snowfall_6hr"].min() >= 0 and np.isfinite(predicted["snowfall_6hr"]).all()

    # persistence is the sum of the six hours before, in meters
    snow = fields()["snow"][:, 2:14, 0:16].astype(float) / 1000
    stored = store.open_dataset(results / "predictions/persistence/predictions.zarr").load()
    hours = (stored["time"].values - np.datetime64("2020-03-01", "ns")) // np.timedelta64(1, "h")
    sums = np.stack([snow[hour - 5 : hour + 1].sum(axis=0) for hour in hours])
    for lead in (0, 1):
        found = stored["snowfall_6hr"].isel(prediction_timedelta=lead)
        np.testing.assert_allclose(found, sums, rtol=1e-4, atol=1e-9)
    scores = store.open_dataset(results / "scores/persistence/scores.zarr").load()
    assert np.isfinite(scores["seeps"]).all() and scores["channel"].values.tolist() == ["snowfall_6hr"]
    latitude = np.deg2rad(stored["latitude"].values)
    weights = np.sin(latitude + np.deg2rad(5.625)) - np.sin(latitude - np.deg2rad(5.625))
    weights = np.broadcast_to(weights[:, None], snow.shape[1:])
    after = snow[hours[0] + 1 : hours[0] + 7].sum(axis=0)
    error = np.sqrt(np.average((sums[0] - after) ** 2, weights=weights))
    np.testing.assert_allclose(scores["rmse"].values[0, 0, 0], error, rtol=1e-4)

    packed = next((results / "packed").rglob("*.zarr"))
    view, exact = store.open_dataset(packed), fields()["fog"][:, 2:14, 0:16]
    worst = np.abs(view["fog"].values - exact[: view.sizes["time"]]) / (1e-4 + exact[: view.sizes["time"]])
    assert 0 < worst.max() < 1e-3
    page = (results / "report/report.html").read_text()
    assert "Snowfall over 6 h against its climatology" in page
