"""Post-processing from a simulated planet to the page, on real members, and what a config may not say."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from pydantic import ValidationError

from tests.backbones.small_aurora import small_spec
from tests.shared_parts import store_of
from tests.small_data import write_store
from tests.tasks.postprocessing_project import Project, configuration
from weatherpeft.artifacts import store
from weatherpeft.config import Experiment
from weatherpeft.fields.grid import Grid
from weatherpeft.fields.variables import FieldSet, VariableSet
from weatherpeft.interfaces import DataRequest
from weatherpeft.jobs import Jobs
from weatherpeft.samples.batch import Fields, Samples
from weatherpeft.samples.splits import Split
from weatherpeft.samples.standardization import training_standardization
from weatherpeft.sources.local import Local
from weatherpeft.spec import Period
from weatherpeft.stages.download import DownloadSpec, download
from weatherpeft.stages.regrid import RegridSpec, regrid
from weatherpeft.stages.standardization import StandardizationSpec, standardization
from weatherpeft.tasks.postprocessing import Postprocessing, Target
from weatherpeft.training.tuning import build_model

TARGETS = ["2t", "10u", "10v", "t850", "z500"]


@pytest.mark.slow
def test_from_a_planet_to_the_page(tmp_path: Path) -> None:
    """Every stage; what training is from data is another test's matter."""
    project = Project(Jobs(Experiment.parse(configuration(tmp_path))))
    own = project.jobs
    project.prepare()
    project.pretrain()
    for name in own.experiment.baselines:
        project.baseline(name)
    for label in own.run_labels():
        project.run(label)
    report = project.report()

    with (report / "scores.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    crps = {(row["run"], row["channel"]): float(row["value"]) for row in rows if row["score"] == "crps"}
    assert set(crps) == {(run, each) for run in own.forecast_labels() for each in TARGETS}
    assert {row["score"] for row in rows} == {"rmse", "bias", "crps", "crps_fair", "eecrps", "spread_skill"}
    for label in own.run_labels():  # after 4 steps still close to N(mean, spread²), better than 3 members
        for channel in TARGETS:
            assert 0.85 < crps[label, channel] / crps["ensemble", channel] < 1
    text = (report / "scores.txt").read_text()
    assert "against ensemble" in text and "against emos" in text and "ensemble, fair" in text
    page = (report / "report.html").read_text()
    for words in ("Uncertainty", "by the rank of the analysis", "CRPS skill of "):
        assert words in page

    predictions = xr.open_zarr(
        project.root / "predictions" / "weatherpeft-seed0" / "predictions.zarr", decode_timedelta=True
    )
    assert predictions["temperature_std"].dims == (
        "time", "prediction_timedelta", "level", "latitude", "longitude",
    )  # fmt: skip
    starts = np.array(["2003-01-15", "2003-01-16"], "datetime64[ns]")
    np.testing.assert_array_equal(predictions["time"], starts)
    assert np.isnan(predictions["temperature"].sel(level=500)).all()
    assert (predictions["geopotential_std"].sel(level=500) > 0).all()


GRID = Grid(resolution_deg=12)
UPPER = VariableSet(atmospheric=("geopotential", "temperature"), levels_hpa=(500, 850))
SEEN = FieldSet(measured=UPPER, placeholders={"2m_temperature": 280.0, "land_sea_mask": 0.0})
TASK = Postprocessing(
    name="postprocessing",
    grid=GRID,
    forecast_hours=12,
    targets=(
        Target(variable="temperature", level_hpa=850, weight=8.0),
        Target(variable="geopotential", level_hpa=500, weight=0.1),
    ),
)


@pytest.mark.shared
def test_real_members_go_through_the_input_path(shared_data: Path, tmp_path: Path) -> None:
    """Ten members of ERA5, from GRIB: as forecasts of 12 h, with the first of them as the analysis."""
    days = Period.parse({"start": "2017-01-01", "end": "2017-01-02"})
    file = str(shared_data / "era5_ensemble_members_3deg.grib")
    source = Local(name="local", paths=(file,), span=days)
    request = DataRequest(variables=UPPER, period=days, step_hours=12, members=tuple(range(10)))
    raw, output, shared = tmp_path / "raw", tmp_path / "members", tmp_path / "shared"
    download(DownloadSpec(source=source, request=request), raw, shared / "raw", tmp_path / "work")
    regrid(RegridSpec(source=source, request=request, grids=(GRID,)), raw, output, shared / "regridded")
    members = store.open_dataset(store_of(output, GRID.label)).load()
    began = members.assign_coords(init_time=("time", members["time"].values - np.timedelta64(12, "h")))
    analysis = members.isel(member=0, drop=True)
    for name, dataset in (("forecasts", began), ("analyses", analysis)):
        with store.artifact(tmp_path / name, days, "weatherpeft.spec") as directory:
            write_store(dataset, GRID, UPPER, directory / f"{GRID.label}.zarr")

    split, places = Split(periods=(days,)), ([tmp_path / "analyses"], [tmp_path / "forecasts"])
    standardization(
        StandardizationSpec(window=TASK.window, fields=SEEN, train=split),
        *places,
        tmp_path / "standardization",
    )
    samples = Samples(TASK.window.frames(SEEN, places[0], split, places[1]))
    assert len(samples) == 3  # the first time's forecast started the day before
    values = members["temperature"].transpose("time", "member", ...).values[1:].astype(np.float64)
    moments = np.stack([values.std(axis=1, ddof=1), values.mean(axis=1)], axis=1)
    batch = samples.batch([0, 1, 2])
    frames = batch.inputs.atmospheric["temperature"].numpy()
    np.testing.assert_allclose(frames, moments, rtol=1e-4)
    assert (frames[:, 0] > 0).all() and 0.05 < np.median(frames[:, 0]) < 2  # kelvins

    mean, scale = training_standardization(tmp_path / "standardization", UPPER, TASK.ensemble)
    np.testing.assert_allclose(mean.atmospheric["temperature"], moments.mean(axis=0), rtol=1e-4)
    deviation = moments.std(axis=0)
    varies = deviation > 0.02 * np.sqrt((deviation**2).mean(axis=(-2, -1), keepdims=True))
    np.testing.assert_allclose(scale.atmospheric["temperature"][varies], deviation[varies], rtol=1e-2)
    standardized = (batch.inputs.atmospheric["temperature"] - mean.atmospheric["temperature"]) / (
        scale.atmospheric["temperature"]
    )
    assert standardized.abs().max() <= np.sqrt(2) + 0.01  # the most that one of three can be off their mean

    spec = small_spec(window_size=(2, 5, 5), patch_size=3)
    model = build_model(spec, SEEN, TASK, 0, None, tmp_path / "standardization")
    found = model(batch)
    assert set(found.atmospheric) == {"geopotential", "temperature", "geopotential_std", "temperature_std"}
    error = (found.atmospheric["temperature"][:, 1] - batch.inputs.atmospheric["temperature"][:, 1, 1]).abs()
    assert (error < 0.1 * batch.inputs.atmospheric["temperature"][:, 0, 1].clamp(min=1e-2)).all()
    assert torch.isfinite(TASK.loss(found, batch.target, Fields({}, {})))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"forecasts": None}, "task postprocessing corrects ensemble forecasts; give forecasts"),
        ({"task": {"members": 10}}, "task.members is 10, and the forecasts' is 3"),
        ({"task": {"forecast_hours": 24}}, "task.forecast_hours is 24, and the forecasts' is 48"),
        ({"forecasts": {"variables": {"surface": ["2m_temperature"]}}}, "the target 10u is not in forecasts"),
        ({"variables": {"surface": ["2m_temperature"]}}, "the target 10u is not in variables"),
        ({"baselines": ["interpolation"]}, "interpolation is no baseline .* expected ensemble or emos"),
        ({"training_store": "int16"}, "reads forecasts, which have no training_store int16"),
        ({"splits": {"test": {"periods": [], "members": [1]}}}, "splits have no members"),
        ({"forecasts": {"efi": "quantiles"}}, "Input should be 'exact' or 'ens10'"),
    ],
)
def test_what_a_config_may_not_say(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    values = configuration(tmp_path)
    for key, value in change.items():
        values[key] = values[key] | value if isinstance(value, dict) else value
    with pytest.raises(ValidationError, match=message):
        Experiment.parse(values)


def test_a_sea_surface_temperature_may_be_an_input_and_no_target(tmp_path: Path) -> None:
    values = configuration(tmp_path)
    values["forecasts"]["variables"]["surface"].append("sea_surface_temperature")
    own = Experiment.parse(values)
    assert "sea_surface_temperature" in own.inputs.measured.surface
    assert own.inputs.measured.static == own.variables.static and own.fields.measured == own.variables
    values["variables"]["surface"] = [*values["variables"]["surface"], "sea_surface_temperature"]
    with pytest.raises(ValidationError, match="sea_surface_temperature, which is not defined everywhere"):
        Experiment.parse(values)
