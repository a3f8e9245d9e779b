"""Scores, against loops in plain Python, of predictions of this package and of others."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from tests import small_data as small
from weatherpeft.artifacts import store
from weatherpeft.fields.grid import Grid
from weatherpeft.stages.evaluate import EvaluateSpec, evaluate
from weatherpeft.verification.scoring import FieldScoring

FEBRUARY = small.period("2001-02-01", "2001-02-02")
SPEC = EvaluateSpec(scoring=FieldScoring(variables=small.VARIABLES, grid=small.FINE))


def truth(directory: Path) -> xr.Dataset:
    return store.open_dataset(directory / f"{small.FINE.label}.zarr").load()


def forecast(data: Path, members: tuple[int, ...] = ()) -> xr.Dataset:
    """The truth of four times with an error."""
    dataset = truth(data)[["2m_temperature", "temperature"]].isel(time=slice(2, 6))
    if members:
        dataset = dataset.sel(member=list(members))
    random = np.random.default_rng(7)
    return dataset.map(lambda field: (field + random.normal(0.5, 2, field.shape)).astype(np.float32))


def artifact(predictions: xr.Dataset, path: Path) -> Path:
    shutil.rmtree(path, ignore_errors=True)
    with store.artifact(path, FEBRUARY, "weatherpeft.spec") as directory:
        store.write_dataset(predictions, directory / "predictions.zarr")
    return path


def scores(data: Path, predictions: Path, output: Path, spec: EvaluateSpec = SPEC) -> xr.Dataset:
    evaluate(spec, [data], predictions, output)
    return store.open_dataset(output / "scores.zarr").load()


def brute_force(prediction: np.ndarray, target: np.ndarray) -> tuple[float, float]:
    """RMSE and bias of a field, cell by cell, weighted by the area between two parallels."""
    squares = errors = total = 0.0
    rows, columns = prediction.shape
    for row in range(rows):
        north, south = (np.radians(90 - 180 * border / rows) for border in (row, row + 1))
        area = float(np.sin(north) - np.sin(south))
        for column in range(columns):
            error = float(prediction[row, column]) - float(target[row, column])
            squares, errors, total = squares + area * error**2, errors + area * error, total + area
    return float(np.sqrt(squares / total)), errors / total


def check(found: xr.Dataset, predictions: xr.Dataset, target: xr.Dataset) -> None:
    """Compare the scores of one member."""
    assert found["rmse"].dims == found["bias"].dims == ("time", "channel")
    assert found["channel"].values.tolist() == ["2t", "t500", "t850"]
    assert list(found["time"].values) == list(predictions["time"].values)
    for time in found["time"].values:
        pairs = {"2t": [data["2m_temperature"].sel(time=time) for data in (predictions, target)]}
        for level in (500, 850):
            moments = [data["temperature"].sel(time=time, level=level) for data in (predictions, target)]
            pairs[f"t{level}"] = moments
        for channel, (one, other) in pairs.items():
            dims = ("latitude", "longitude")
            rmse, bias = brute_force(one.transpose(*dims).values, other.transpose(*dims).values)
            moment = found.sel(time=time, channel=channel)
            assert float(moment["rmse"]) == pytest.approx(rmse, rel=1e-9)
            assert float(moment["bias"]) == pytest.approx(bias, rel=1e-9)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return small.write_period(tmp_path, FEBRUARY)


def test_scores_are_those_of_loops(data: Path, tmp_path: Path) -> None:
    predictions = forecast(data)
    found = scores(data, artifact(predictions, tmp_path / "predictions"), tmp_path / "scores")
    check(found, predictions, truth(data))
    assert set(found.data_vars) == {"rmse", "bias"}
    record = store.read_provenance(tmp_path / "scores")
    assert set(record["inputs"]) == {f"{tmp_path.name}/{name}" for name in (FEBRUARY.label, "predictions")}


def test_a_perfect_forecast_has_no_error(data: Path, tmp_path: Path) -> None:
    found = scores(data, artifact(truth(data), tmp_path / "predictions"), tmp_path / "scores")
    assert found.sizes["time"] == 8
    assert not found["rmse"].values.any() and not found["bias"].values.any()


def test_members_are_scored_against_their_own(tmp_path: Path) -> None:
    data = small.write_period(tmp_path, FEBRUARY, members=(0, 1, 2, 3))
    predictions = forecast(data, members=(3, 1))
    found = scores(data, artifact(predictions, tmp_path / "predictions"), tmp_path / "scores")
    assert found["rmse"].dims == ("member", "time", "channel")
    assert found["member"].values.tolist() == [3, 1]
    for member in (3, 1):
        check(found.sel(member=member), predictions.sel(member=member), truth(data).sel(member=member))


def test_a_store_of_somebody_else_is_scored(data: Path, tmp_path: Path) -> None:
    # As WeatherBench 2's own: Zarr 2, longitude before latitude, more levels, in another order, more fields.
    expected = forecast(data)
    levels = expected["temperature"].reindex(level=[1000, 850, 700, 500], fill_value=np.float32(0))
    theirs = xr.Dataset(
        {
            "temperature": levels.astype(np.float64),
            "2m_temperature": expected["2m_temperature"].astype(np.float64),
            "specific_humidity": levels * 0,
            "total_precipitation_6hr": expected["2m_temperature"] * np.nan,
        }
    ).transpose("time", "level", "longitude", "latitude")
    theirs = theirs.assign_coords(latitude=theirs["latitude"].astype(np.float32)).drop_encoding()
    with store.artifact(tmp_path / "theirs", FEBRUARY, "weatherpeft.spec") as directory:
        theirs.to_zarr(directory / "predictions.zarr", zarr_format=2, consolidated=True)
    check(scores(data, tmp_path / "theirs", tmp_path / "scores"), expected, truth(data))


class TestRefusals:
    def refused(self, data: Path, predictions: xr.Dataset, tmp_path: Path, message: str) -> None:
        path = artifact(predictions, tmp_path / "predictions")
        with pytest.raises(ValueError, match=message):
            evaluate(SPEC, [data], path, tmp_path / "scores")
        assert not (tmp_path / "scores").exists()

    def test_a_missing_variable(self, data: Path, tmp_path: Path) -> None:
        for name in ("temperature", "2m_temperature"):
            self.refused(data, forecast(data).drop_vars(name), tmp_path, f"lack the variable {name}$")

    def test_a_missing_level(self, data: Path, tmp_path: Path) -> None:
        self.refused(data, forecast(data).sel(level=[850]), tmp_path, r"lack the levels \[500\] hPa")

    def test_another_grid(self, data: Path, tmp_path: Path) -> None:
        predictions = forecast(data)
        message = "of the predictions lacks points of the grid 11.25deg"
        for name, other in (
            ("latitude", predictions.isel(latitude=slice(1, None))),
            ("latitude", predictions.assign_coords(latitude=Grid(resolution_deg=11.25).latitude + 0.5)),
            ("longitude", predictions.assign_coords(longitude=small.FINE.longitude + 0.5)),
        ):
            self.refused(data, other, tmp_path, f"{name} {message}")
        renamed = predictions.rename(latitude="lat", longitude="lon")
        self.refused(data, renamed, tmp_path, "latitude")

    def test_a_time_without_truth(self, data: Path, tmp_path: Path) -> None:
        predictions = forecast(data)
        times = predictions["time"].values.copy()
        times[1] = np.datetime64("2005-07-01T06", "ns")
        self.refused(data, predictions.assign_coords(time=times), tmp_path, "2005-07-01T06")

    def test_a_prediction_that_is_not_finite(self, data: Path, tmp_path: Path) -> None:
        predictions = forecast(data)
        predictions["temperature"][1, 0, 3, 3] = np.nan
        self.refused(data, predictions, tmp_path, "temperature at 2001-02-01T18.* not finite")

    def test_a_member_without_truth(self, tmp_path: Path) -> None:
        data = small.write_period(tmp_path, FEBRUARY, members=(0, 1))
        predictions = forecast(data, members=(0, 1)).assign_coords(member=[0, 7])
        self.refused(data, predictions, tmp_path, "member 7")
