"""Interpolation and regression, against the samples' own input and NumPy's polyfit."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

from tests import small_data as small
from weatherpeft.artifacts import store
from weatherpeft.fields.variables import FieldSet
from weatherpeft.samples.frames import SampleFrames
from weatherpeft.samples.splits import Split
from weatherpeft.samples.window import Window
from weatherpeft.stages.baseline import Baseline, BaselineSpec, baseline

JANUARY = small.period("2001-01-01", "2001-01-03")
FEBRUARY = small.period("2001-02-01", "2001-02-02")
TRAIN, TEST = small.split(JANUARY), small.split(FEBRUARY)
FORECAST = Window(input_grid=small.FINE, target_grid=small.FINE, input_hours=(-6, 0), target_hours=(6,))


@pytest.fixture
def data(tmp_path: Path) -> list[Path]:
    """Twelve times to train on and eight to test on."""
    return [
        small.write_period(tmp_path / "data", JANUARY),
        small.write_period(tmp_path / "data", FEBRUARY, seed=1),
    ]


def predictions(
    kind: Baseline,
    data: list[Path],
    output: Path,
    window: Window = small.WINDOW,
    fields: FieldSet = small.FIELDS,
    train: Split = TRAIN,
    test: Split = TEST,
) -> xr.Dataset:
    spec = BaselineSpec(
        baseline=kind, fields=fields, predicted=fields.measured, window=window, train=train, test=test
    )
    baseline(spec, data, output)
    return store.open_dataset(output / "predictions.zarr").load()


def truth(directory: Path) -> xr.Dataset:
    return store.open_dataset(directory / f"{small.FINE.label}.zarr").load()


def stacked(fields: dict[str, np.ndarray]) -> np.ndarray:
    """``(channel, latitude, longitude)``."""
    return np.concatenate([fields["2m_temperature"][None], fields["temperature"]])


def fitted(samples: SampleFrames) -> np.ndarray:
    """Slope and intercept of ``polyfit`` at every grid point, ``(2, channel, latitude, longitude)``."""
    x = np.stack([stacked(samples.inputs(sample)[-1]) for sample in samples.samples]).astype(np.float64)
    y = np.stack([stacked(samples.target(sample)) for sample in samples.samples]).astype(np.float64)
    lines = np.empty((2, *x.shape[1:]))
    for point in np.ndindex(*x.shape[1:]):
        lines[(slice(None), *point)] = np.polyfit(x[(slice(None), *point)], y[(slice(None), *point)], 1)
    return lines


def test_interpolation_is_the_last_input_frame(data: list[Path], tmp_path: Path) -> None:
    found = predictions("interpolation", data, tmp_path / "interpolation")
    samples = SampleFrames(small.WINDOW, small.FIELDS, data, small.split(FEBRUARY))
    assert list(found["time"].values) == [sample.time for sample in samples.samples]
    for index, sample in enumerate(samples.samples):
        expected = samples.inputs(sample)[-1]
        moment = found.isel(time=index)
        np.testing.assert_array_equal(moment["2m_temperature"].values, expected["2m_temperature"])
        np.testing.assert_array_equal(moment["temperature"].values, expected["temperature"])
        assert not np.array_equal(expected["temperature"], samples.inputs(sample)[0]["temperature"])


def test_persistence_is_the_last_input_frame_by_start_and_lead_time(data: list[Path], tmp_path: Path) -> None:
    window = FORECAST.model_copy(update={"target_hours": (6, 18)})
    found = predictions("persistence", data, tmp_path / "persistence", window)
    stored = truth(data[1])
    # of eight times the first is an input frame only, the last three are targets only
    assert list(found["time"].values) == list(stored["time"].values[1:-3])
    assert found["prediction_timedelta"].values.tolist() == [6 * 3600 * 10**9, 18 * 3600 * 10**9]
    for name in ("2m_temperature", "temperature"):
        assert found[name].dims[:2] == ("time", "prediction_timedelta")
        for lead in (0, 1):
            np.testing.assert_array_equal(found[name].values[:, lead], stored[name].values[1:-3])


def test_a_climatology_is_read_at_the_valid_time(data: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs a climatology, and none is given"):
        predictions("climatology", data, tmp_path / "missing", FORECAST)
    hours, days = np.arange(0, 24, 6), np.arange(1, 367)
    field = (100 * days[None, :, None, None] + hours[:, None, None, None]).astype(np.float32)
    field = np.broadcast_to(field, (4, 366, *small.FINE.shape)).copy()
    field[0, 32] = np.nan  # 2 February
    template = xr.Dataset(
        {"2m_temperature": (("hour", "dayofyear", "latitude", "longitude"), field)},
        {
            "hour": hours,
            "dayofyear": days,
            "latitude": small.FINE.latitude,
            "longitude": small.FINE.longitude,
        },
    )
    with store.artifact(tmp_path / "climatology", JANUARY, "weatherpeft.spec") as directory:
        store.write_dataset(template, directory / "climatology.zarr")
    window = FORECAST.model_copy(update={"target_hours": (6,)})
    days_of_test = small.split(small.period("2001-02-01", "2001-02-01"))
    spec = BaselineSpec(
        baseline="climatology",
        fields=small.FIELDS,
        predicted=small.VARIABLES.model_copy(update={"atmospheric": (), "levels_hpa": ()}),
        window=window,
        train=TRAIN,
        test=days_of_test,
    )
    baseline(spec, data, tmp_path / "made", tmp_path / "climatology")
    found = store.open_dataset(tmp_path / "made" / "predictions.zarr").load()
    assert set(found.data_vars) == {"2m_temperature"}
    # starts at 06 and 12 UTC of 1 February, valid at 12 and 18 UTC of day 32
    assert found["2m_temperature"].values[:, 0, 3, 3].tolist() == [3212.0, 3218.0]
    with pytest.raises(ValueError, match=r"no 2m_temperature on day 33 .* 2001-02-02T00"):
        baseline(spec.model_copy(update={"test": TEST}), data, tmp_path / "other", tmp_path / "climatology")


def test_the_store_is_laid_out_as_weatherbenchs(data: list[Path], tmp_path: Path) -> None:
    found = predictions("regression", data, tmp_path / "regression")
    assert found["2m_temperature"].dims == ("time", "latitude", "longitude")
    assert found["temperature"].dims == ("time", "level", "latitude", "longitude")
    assert set(found.data_vars) == {"2m_temperature", "temperature"}
    assert all(variable.dtype == np.float32 for variable in found.data_vars.values())
    assert found["level"].values.tolist() == [500, 850]
    np.testing.assert_array_equal(found["latitude"], small.FINE.latitude)
    np.testing.assert_array_equal(found["longitude"], small.FINE.longitude)
    chunks = zarr.open_array(tmp_path / "regression" / "predictions.zarr" / "temperature", mode="r").chunks
    assert chunks == (1, 2, *small.FINE.shape)


def test_regression_is_polyfit_at_every_point_on_training_samples(data: list[Path], tmp_path: Path) -> None:
    lines = fitted(SampleFrames(small.WINDOW, small.FIELDS, data, small.split(JANUARY)))
    test = SampleFrames(small.WINDOW, small.FIELDS, data, small.split(FEBRUARY))
    inputs = np.stack([stacked(test.inputs(sample)[-1]) for sample in test.samples])
    # the targets of the test are out of reach
    zarr.open_array(data[1] / f"{small.FINE.label}.zarr" / "fields", mode="r+")[:] = 1e9
    found = predictions("regression", data, tmp_path / "regression")
    channels = np.concatenate([found["2m_temperature"].values[:, None], found["temperature"].values], axis=1)
    np.testing.assert_allclose(channels, lines[0] * inputs + lines[1], rtol=1e-5)
    assert np.abs(channels - inputs).max() > 1, "the regression changes nothing"


def test_where_the_input_does_not_vary_only_the_mean_is_corrected(data: list[Path], tmp_path: Path) -> None:
    for directory in data:
        zarr.open_array(directory / f"{small.COARSE.label}.zarr" / "fields", mode="r+")[:, 0] = 273.1
    found = predictions("regression", data, tmp_path / "regression")
    training = truth(data[0])["2m_temperature"].values[1:]
    expected = np.broadcast_to(training.astype(np.float64).mean(axis=0), found["2m_temperature"].shape)
    np.testing.assert_allclose(found["2m_temperature"].values, expected, rtol=1e-6)


def test_members_are_predicted_one_by_one(tmp_path: Path) -> None:
    data = [small.write_period(tmp_path / "data", FEBRUARY, members=(0, 1, 2, 3))]
    found = predictions(
        "interpolation",
        data,
        tmp_path / "persistence",
        FORECAST,
        train=small.split(FEBRUARY, members=(0, 1)),
        test=small.split(FEBRUARY, members=(3, 2)),
    )
    assert found["temperature"].dims == (
        *("member", "time", "prediction_timedelta", "level", "latitude", "longitude"),
    )
    stored = truth(data[0])["temperature"]
    for member in (2, 3):
        expected = stored.sel(member=member).values[1:-1, None]
        np.testing.assert_array_equal(found["temperature"].sel(member=member).values, expected)


@pytest.mark.parametrize("kind", ["interpolation", "regression"])
def test_placeholders_are_not_predicted(kind: Baseline, data: list[Path], tmp_path: Path) -> None:
    fields = FieldSet(measured=small.VARIABLES, placeholders={"mean_sea_level_pressure": 1e5})
    found = predictions(kind, data, tmp_path / "made", fields=fields)
    assert set(found.data_vars) == {"2m_temperature", "temperature"}


def test_an_input_that_is_not_finite_is_named(data: list[Path], tmp_path: Path) -> None:
    zarr.open_array(data[1] / f"{small.COARSE.label}.zarr" / "fields", mode="r+")[3, 2, 2, 2] = np.nan
    with pytest.raises(ValueError, match="prediction of temperature at 2001-02-01T18:00.* is not finite"):
        predictions("interpolation", data, tmp_path / "interpolation")
    assert not (tmp_path / "interpolation").exists()


def test_the_same_twice_is_the_same_artifact(data: list[Path], tmp_path: Path) -> None:
    for name in ("one", "two"):
        predictions("regression", data, tmp_path / name)
    assert store.artifact_digest(tmp_path / "one") == store.artifact_digest(tmp_path / "two")
