"""Forecasts of several steps through the stages, on a small data set."""

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from tests import small_data as small
from tests.stages.test_training_stages import (
    BACKBONE,
    FIELDS,
    FULL,
    PERIODS,
    SPLITS,
    TRAINING,
    Project,
    prepared,
)
from weatherpeft.artifacts import store
from weatherpeft.interfaces import Backbone
from weatherpeft.peft.sfas.fisher_store import read_fisher
from weatherpeft.samples.batch import Batch, Fields, Samples
from weatherpeft.samples.rollout import Feedback, RolledOut
from weatherpeft.stages.baseline import BaselineSpec, baseline
from weatherpeft.stages.climatology import ClimatologySpec, climatology
from weatherpeft.stages.evaluate import EvaluateSpec, evaluate
from weatherpeft.stages.predict import PredictSpec, predict
from weatherpeft.stages.report import ReportedRun, ReportSpec, report
from weatherpeft.stages.series import SeriesSpec, series
from weatherpeft.tasks.forecasting import Forecasting
from weatherpeft.training.checkpoint import load_tensors
from weatherpeft.training.model import TunedModelSpec
from weatherpeft.training.spec import Rollout
from weatherpeft.training.tuning import tuned_model
from weatherpeft.tuned.config import AdapterConfig
from weatherpeft.tuned.model import Tuned
from weatherpeft.tuned.parts import Parts

ONE = Forecasting(name="forecasting", grid=small.FINE, residual=True)
TASK = ONE.model_copy(update={"steps": 3})
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = prepared(tmp_path_factory.mktemp("project"))
    made.pretrain(made.pretrained)
    return made


def plain_forecasts(project: Project, spec: TunedModelSpec, run: Path | None) -> dict[str, np.ndarray]:
    """What a loop over starts and steps makes of the test period."""
    tuned = tuned_model(spec, CPU, project.pretrained, statistics=project.statistics)
    if run:
        tuned.load_result(load_tensors(run / "tuned.safetensors"))
    model, feedback = tuned.model.eval(), Feedback(FIELDS)
    samples = Samples(TASK.training_window(TASK.steps).frames(FIELDS, project.data[2:], SPLITS.test))
    found = []
    for index in range(len(samples)):
        batch = samples.batch([index])
        for _ in range(TASK.steps):
            with torch.inference_mode():
                forecast = model(batch)
            found.append({**forecast.surface, **forecast.atmospheric})
            batch = feedback(batch, forecast)
    return {
        name: np.stack([fields[name][0].numpy() for fields in found])
        for name in ("2m_temperature", "temperature")
    }


@pytest.mark.parametrize("gradient", [None, "pushforward", "backpropagation"])
def test_a_tuned_model_predicts_each_step_from_the_one_before(
    project: Project, tmp_path: Path, gradient: str | None
) -> None:
    rollout = Rollout.parse({"steps": 2, "gradient": gradient}) if gradient else None
    model = project.model(FULL, task=TASK)
    run = project.finetune(tmp_path / "run", model, project.pretrained, rollout=rollout)
    # Of 8 times a day's pair has; the training needs its own steps alone, validation and test all of them.
    assert store.read_provenance(run)["samples"] == {
        "train": [5 if gradient else 6] * 2,
        "validation": [4, 4],
    }
    found = project.predict(tmp_path / "predictions", model, run, project.pretrained)
    leads = np.array([6, 12, 18], "timedelta64[h]").astype("timedelta64[ns]")
    assert np.array_equal(found["prediction_timedelta"].values, leads)
    for name, expected in plain_forecasts(project, model, run).items():
        own = found[name].values
        assert np.array_equal(own.reshape(-1, *own.shape[2:]), expected), name


def test_a_tuned_model_forecasts_any_number_of_steps(project: Project, tmp_path: Path) -> None:
    """Forecasts of the second and third step, given as analyses, lead to that of the fourth."""
    spec = project.model(FULL, task=TASK)
    config = AdapterConfig(
        format=1, version="0", model=spec, base=None, precision="float32", regridding="conservative",
        source="toy", synthetic=True, experiment="small", label="full-seed0", trained_on=(), counts={},
        packages={},
    )  # fmt: skip
    none, static = Fields({}, {}), {"land_sea_mask": np.zeros(small.FINE.shape, np.float32)}
    model = tuned_model(spec, CPU, project.pretrained, statistics=project.statistics)
    tuned = Tuned(Parts(config, {}, static, none, none), model)
    start = np.datetime64("2004-01-01T00", "ns") + np.arange(2) * np.timedelta64(6, "h")
    noise = np.random.default_rng(0).normal(280, 5, (4, 2, *small.FINE.shape)).astype(np.float32)
    coordinates = {"time": start, "level": [500, 850], "latitude": small.FINE.latitude}
    dataset = xr.Dataset(
        {
            "2m_temperature": (("time", "latitude", "longitude"), noise[0], {"units": "K"}),
            "temperature": (("time", "level", "latitude", "longitude"), noise[1:3], {"units": "K"}),
        },
        coords=coordinates | {"longitude": small.FINE.longitude},
    )
    forecast = tuned.rolled_out(5).predict(dataset)
    assert forecast["prediction_timedelta"].dt.total_seconds().values.tolist() == [
        3600.0 * hours for hours in (6, 12, 18, 24, 30)
    ]
    xr.testing.assert_identical(forecast.isel(prediction_timedelta=slice(3)), tuned.predict(dataset))
    reached = forecast.isel(time=0, prediction_timedelta=[1, 2])
    reached = reached.assign_coords(prediction_timedelta=reached["time"] + reached["prediction_timedelta"])
    reached = reached.drop_vars("time").rename(prediction_timedelta="time")
    fourth = tuned.rolled_out(1).predict(reached)
    for name in ("2m_temperature", "temperature"):
        found, expected = fourth[name].values, forecast[name].isel(prediction_timedelta=[3]).values
        np.testing.assert_array_equal(found.ravel(), expected.ravel())

    dataset.to_netcdf(tmp_path / "today.nc")
    tuned.rolled_out(4).apply([tmp_path / "today.nc"], tmp_path / "forecast.zarr")
    with xr.open_zarr(tmp_path / "forecast.zarr", decode_timedelta=True) as written:
        four = forecast.isel(prediction_timedelta=slice(4))
        np.testing.assert_array_equal(written["temperature"].values, four["temperature"].values)
    with pytest.raises(ValueError, match="steps: .*greater than or equal to 1"):
        tuned.rolled_out(0)
    with pytest.raises(ValueError, match="steps: 9999 of 6 h are more than|steps: .*1000"):
        tuned.rolled_out(9999)


def test_trainings_on_forecasts_differ(project: Project, tmp_path: Path) -> None:
    model, weights = project.model(FULL, task=TASK), []
    for gradient in (None, "pushforward", "backpropagation"):
        rollout = Rollout.parse({"steps": 2, "gradient": gradient}) if gradient else None
        run = project.finetune(tmp_path / str(gradient), model, project.pretrained, rollout=rollout)
        weights.append(load_tensors(run / "tuned.safetensors"))
    name = max(weights[0], key=lambda name: weights[0][name].numel())
    assert not any(
        torch.equal(weights[one][name], weights[other][name]) for one, other in ((0, 1), (1, 2), (0, 2))
    )


def test_the_pretrained_model_predicts_without_a_run(project: Project, tmp_path: Path) -> None:
    model = project.model(task=TASK)
    spec = PredictSpec(model=model, test=SPLITS.test)
    predict(spec, project.data[2:], project.statistics, tmp_path / "own", None, project.pretrained)
    found = store.open_dataset(tmp_path / "own" / "predictions.zarr").load()
    for name, expected in plain_forecasts(project, model, None).items():
        own = found[name].values
        assert np.array_equal(own.reshape(-1, *own.shape[2:]), expected), name


@pytest.mark.parametrize("methods", [(), (FULL,)])
def test_a_run_belongs_to_methods(
    project: Project, tmp_path: Path, methods: tuple[dict[str, str], ...]
) -> None:
    spec = PredictSpec(model=project.model(*methods, task=TASK), test=SPLITS.test)
    run = None if methods else project.pretrained
    with pytest.raises(ValueError, match="a run is that of a model with methods"):
        predict(spec, project.data[2:], project.statistics, tmp_path / "own", run, project.pretrained)


def test_any_order_of_the_samples_gives_the_same(project: Project) -> None:
    model: Backbone = BACKBONE.build(FIELDS, TASK, 0).eval()
    samples = Samples(TASK.window.frames(FIELDS, project.data[2:], SPLITS.test))
    calls: list[tuple[datetime, ...]] = []

    def counted(batch: Batch) -> Fields:
        calls.append(batch.times)
        return model(batch)

    with torch.inference_mode():
        ordered = RolledOut(counted, samples, Feedback(FIELDS), CPU)
        expected = [ordered(index).channels() for index in range(len(samples))]
        assert len(calls) == len(samples) == 12
        other = RolledOut(counted, samples, Feedback(FIELDS), CPU)
        for index in (5, 0, 4, 2, 11):
            assert torch.equal(other(index).channels(), expected[index]), index


def test_the_fisher_information_is_that_of_the_first_step(project: Project, tmp_path: Path) -> None:
    for name, task in (("one", ONE), ("three", TASK)):
        # The same starts, since the samples of one step are more than those of three.
        project.make_fisher(tmp_path / name, project.pretrained, task=task)
    one, three = (dict(read_fisher(tmp_path / name / "fisher.zarr")) for name in ("one", "three"))
    assert one.keys() == three.keys()
    assert all(torch.equal(values, three[name]) for name, values in one.items())


def test_a_rollout_that_the_task_does_not_have_is_refused(project: Project, tmp_path: Path) -> None:
    rollout = Rollout(steps=2, gradient="pushforward")
    with pytest.raises(
        ValueError, match="rollout: found 2 steps, expected at most the 1 of the task's forecasts"
    ):
        project.finetune(tmp_path / "run", project.model(FULL, task=ONE), project.pretrained, rollout=rollout)
    with pytest.raises(ValueError, match="rollout: found 2 steps, expected at most the 1"):
        project.pretrain(tmp_path / "own", training=TRAINING.model_copy(update={"rollout": rollout}))


def test_scores_and_report_are_by_lead_time(project: Project, tmp_path: Path) -> None:
    names = ("2m_temperature", "temperature")
    task = TASK.model_copy(update={"climatology": names})
    model, test, window = project.model(FULL, task=task), project.data[2:], task.window
    run = project.finetune(tmp_path / "runs/full-seed0", model, project.pretrained)
    places = {
        label: tmp_path / "predictions" / label for label in ("pretrained", "persistence", "climatology")
    }
    places["full-seed0"] = tmp_path / "predictions/full-seed0"
    project.predict(places["full-seed0"], model, run, project.pretrained)
    spec = PredictSpec(model=project.model(task=task), test=SPLITS.test)
    predict(spec, test, project.statistics, places["pretrained"], None, project.pretrained)

    common: dict[str, Any] = {"names": names, "grid": small.FINE, "step_hours": 6}
    series(SeriesSpec(**common, period=PERIODS[0], train=SPLITS.train), project.data[:1], tmp_path / "series")
    usual = tmp_path / "usual"
    climatology(ClimatologySpec(**common), [tmp_path / "series"], usual)
    for name in ("persistence", "climatology"):
        own = BaselineSpec(
            baseline=name, fields=FIELDS, predicted=small.VARIABLES, window=window,
            train=SPLITS.train, test=SPLITS.test,
        )  # fmt: skip
        baseline(own, project.data, places[name], usual)
    scoring = task.scoring(small.VARIABLES, {})
    for label, place in places.items():
        evaluate(EvaluateSpec(scoring=scoring), test, place, tmp_path / "scores" / label, usual)
    scores = store.open_dataset(tmp_path / "scores/full-seed0/scores.zarr").load()
    assert scores["rmse"].sizes["prediction_timedelta"] == scores["acc"].sizes["prediction_timedelta"] == 3
    assert np.isfinite(scores["acc"]).all()

    report(
        ReportSpec(
            experiment="steps", source="toy", fields=FIELDS, window=window, scoring=scoring,
            baselines=("persistence", "climatology", "pretrained"), test=SPLITS.test,
            runs=(ReportedRun(label="full-seed0", name="full", seed=0, start="pretrained", reference=True),),
            sections=task.report_sections, reference="pretrained",
        ),
        test, [tmp_path / "scores" / label for label in places], list(places.values()), [run],
        tmp_path / "report", pretrained=project.pretrained,
    )  # fmt: skip
    text = (tmp_path / "report/scores.txt").read_text()
    assert "RMSE of 2t by lead time, K" in text and "     6 h     12 h     18 h" in text
    assert "<h2>RMSE by lead time</h2>" in (tmp_path / "report/report.html").read_text()
    compared = (tmp_path / "report/differences.csv").read_text()
    assert "2t+18h" in compared and "full" in compared
