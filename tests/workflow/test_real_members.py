"""Real ERA5, ten ensemble members, from GRIB to the report."""

import csv
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from tests.workflow.workflow import Checkout
from weatherpeft.artifacts import store

CHANNELS = ["t500", "t850", "z500", "z850"]


@pytest.mark.shared
@pytest.mark.slow
def test_real_members_end_to_end(shared_data: Path, tmp_path: Path) -> None:
    checkout = Checkout.of_repository(tmp_path / "real")
    file = checkout.folder / "era5_ensemble_members_3deg.grib"
    shutil.copyfile(shared_data / file.name, file)

    def cut_down(config: dict[str, Any]) -> None:
        config["source"]["paths"] = [file.name]
        config["training"] |= {"steps": 4, "warmup_steps": 1, "validate_every": 2}
        config["runs"] = {"weatherpeft": config["runs"]["weatherpeft"]}
        config["runs"]["weatherpeft"]["methods"][1]["beta"] = 0.5  # so that the Fisher warm-up runs too
        config["fisher_samples"] = 2

    config = checkout.changed_config(cut_down, "config/real_members.yaml")
    checkout.snakemake(config=config)
    results = checkout.folder / "results/real_members"

    # Placeholders are neither trained on, predicted nor scored, and the page says so.
    with (results / "report/scores.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert sorted({row["channel"] for row in rows}) == CHANNELS
    assert {row["run"] for row in rows} == {"interpolation", "regression", "weatherpeft-seed0"}
    page = (results / "report/report.html").read_text()
    assert "2m_temperature" in page and "land_sea_mask" in page and "not trained on, not scored" in page

    # The members and the time that are in the test split only.
    for name in ("interpolation", "regression", "weatherpeft-seed0"):
        predictions = xr.open_zarr(results / f"predictions/{name}/predictions.zarr")
        assert sorted(predictions.data_vars) == ["geopotential", "temperature"]
        assert predictions.member.values.tolist() == [8, 9]
        assert np.array_equal(predictions.time, np.array(["2017-01-02T12"], dtype="datetime64[ns]"))
        assert predictions.temperature.sizes["latitude"] == 60

    # Statistics of the training members on the training day, by the cells' areas.
    (path,) = (checkout.folder / "data").rglob("regridded/*/*/*/*/3deg.zarr")
    fields = store.open_dataset(path).sel(member=slice(0, 6), time="2017-01-01")
    assert fields.sizes["member"] == 7 and fields.sizes["time"] == 2
    edges = np.deg2rad(np.arange(90, -91, -3))
    areas = np.broadcast_to((np.sin(edges[:-1]) - np.sin(edges[1:]))[:, None], (7, 2, 60, 120))
    statistics = xr.open_zarr(results / "statistics/statistics.zarr")
    assert statistics.channel.values.tolist() == CHANNELS
    names = {"t": "temperature", "z": "geopotential"}
    for channel in CHANNELS:
        field = fields[names[channel[0]]].sel(level=int(channel[1:]))
        values = field.transpose("member", "time", "latitude", "longitude").values.astype(np.float64)
        mean = np.average(values, weights=areas)
        deviation = np.sqrt(np.average((values - mean) ** 2, weights=areas))
        found = statistics.sel(channel=channel)
        assert float(found["mean"]) == pytest.approx(mean, rel=1e-9)
        assert float(found["standard_deviation"]) == pytest.approx(deviation, rel=1e-9)

    # A newer file is taken anew.
    assert checkout.planned(config) == set()
    os.utime(file)
    planned = {job.partition(" ")[0] for job in checkout.planned(config)}
    assert planned >= {"download", "regrid", "statistics", "fisher", "finetune", "predict", "report"}
