"""EFI, baselines and scores of ensembles through their whole stages, against other libraries and by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scoringrules
import xarray as xr

from tests.small_data import split
from tests.tasks import forecast_data as small
from tests.tasks.forecast_data import FIELDS, FORECASTS, GRID, TASK, TEST, TRAIN
from weatherpeft.artifacts import store
from weatherpeft.artifacts.predictions import write_predictions
from weatherpeft.baselines.emos import Emos
from weatherpeft.fields.variables import VariableSet
from weatherpeft.samples.ensemble_frames import EnsembleFrames
from weatherpeft.stages.baseline import BaselineSpec, baseline
from weatherpeft.stages.efi import EfiSpec, efi
from weatherpeft.stages.evaluate import EvaluateSpec, evaluate
from weatherpeft.tasks.postprocessing import Target
from weatherpeft.verification.probabilistic import extreme_forecast_index
from weatherpeft.verification.scoring import EnsembleScoring

WINDOW = TASK.window
PREDICTED: VariableSet = TASK.predicted(FORECASTS)
EVALUATE = EvaluateSpec(scoring=EnsembleScoring(ensemble=WINDOW.ensemble, grid=GRID, lead_hours=(48,)))
LEAD = np.timedelta64(48, "h")


pytestmark = pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stages")
    data, forecasts = small.write_all(folder)
    efi(EfiSpec(window=WINDOW, fields=FIELDS, train=TRAIN, test=TEST), data, forecasts, folder / "efi")
    for name in ("ensemble", "emos"):
        spec: Any = {"fields": FIELDS, "predicted": PREDICTED, "window": WINDOW, "train": TRAIN, "test": TEST}
        baseline(BaselineSpec(baseline=name, **spec), data, folder / name, forecasts=forecasts)
        evaluate(EVALUATE, data, folder / name, folder / "scores" / name, efi=folder / "efi")
    return folder


def both(folder: Path) -> tuple[list[Path], list[Path]]:
    labels = [covered.label for covered in (*small.YEARS["train"], *small.YEARS["test"])]
    return [folder / "analyses" / label for label in labels], [
        folder / "forecasts" / label for label in labels
    ]


def series(folder: Path, kind: str, name: str, level: int | None, years: str = "test") -> xr.DataArray:
    """Of the valid times whose forecasts start in their period."""
    parts = []
    for covered in small.YEARS[years]:
        array = store.open_dataset(folder / kind / covered.label / f"{GRID.label}.zarr")[name].load()
        first = np.datetime64(covered.start, "ns") + LEAD
        parts.append(array.sel(time=(array.time >= first) & (array.time.dt.hour == 0)))
    found = xr.concat(parts, "time")
    return found if level is None else found.sel(level=level)


CASES = [("2t", "2m_temperature", None), ("t850", "temperature", 850)]


def area_mean(field: np.ndarray) -> np.ndarray:
    edges = np.deg2rad(np.linspace(90, -90, GRID.shape[0] + 1))
    weights = np.sin(edges[:-1]) - np.sin(edges[1:])
    return np.average(field.mean(axis=-1), weights=weights, axis=-1)


class TestEfi:
    @pytest.mark.parametrize(("form", "extreme"), [("exact", 1.0), ("ens10", 0.791)])
    def test_an_ensemble_beyond_the_climate(
        self, folder: Path, tmp_path: Path, form: Any, extreme: float
    ) -> None:
        data, forecasts = both(folder)
        hot = small.forecasts(small.YEARS["test"][0], 2)
        shift = xr.where(hot.time < np.datetime64("2003-01-06"), 1000, -1000).astype(np.float32)
        moved = [*forecasts[:2], small.written(hot + shift, FORECASTS, tmp_path / "moved")]
        spec = EfiSpec(window=WINDOW, fields=FIELDS, train=TRAIN, test=TEST, form=form)
        efi(spec, data, moved, tmp_path / "efi")
        found = store.open_dataset(tmp_path / "efi" / "efi.zarr")["efi"].load()
        warm = found.sel(time=slice(None, "2003-01-05")).values
        np.testing.assert_allclose(warm, extreme, atol=5e-4)
        np.testing.assert_allclose(found.sel(time=slice("2003-01-06", None)).values, -extreme, atol=5e-4)

    @pytest.mark.parametrize(("label", "name", "level"), CASES)
    def test_the_climate_is_the_training_forecasts_of_some_days(
        self, folder: Path, tmp_path: Path, label: str, name: str, level: int | None
    ) -> None:
        spec = EfiSpec(window=WINDOW, fields=FIELDS, train=TRAIN, test=TEST)
        assert spec.window_days == 9
        efi(spec.model_copy(update={"window_days": 5}), *both(folder), tmp_path / "efi")
        members = series(folder, "forecasts", name, level)
        past = series(folder, "forecasts", name, level, "train")
        found = store.open_dataset(tmp_path / "efi" / "efi.zarr")["efi"].sel(channel=label).load()
        for day in (4, 7):  # of the 3rd to the 8th
            near = abs(past.time.dt.day - day) <= 2
            climate = past.sel(time=near).stack(sample=("member", "time")).transpose("sample", ...)
            own = members.sel(time=np.datetime64(f"2003-01-{day:02}")).transpose("member", ...)
            expected = extreme_forecast_index(own.values, climate.values, "exact")
            index = found.sel(time=np.datetime64(f"2003-01-{day:02}")).values
            np.testing.assert_allclose(index, expected, atol=1e-6)

    def test_no_test_year_and_no_start_before_its_period_is_in_the_climate(
        self, folder: Path, tmp_path: Path
    ) -> None:
        """Only the index of the poisoned forecasts themselves changes."""
        data, forecasts = both(folder)
        poisoned = small.forecasts(small.YEARS["test"][0], 2)
        poisoned = poisoned.where(poisoned.time != np.datetime64("2003-01-05"), np.float32(1e6))
        early = small.forecasts(small.YEARS["train"][0], 0)
        early = early.where(early.init_time >= np.datetime64("2001-01-01"), np.float32(1e6))
        others = [
            small.written(early, FORECASTS, tmp_path / "early"),
            forecasts[1],
            small.written(poisoned, FORECASTS, tmp_path / "poisoned"),
        ]
        spec = EfiSpec(window=WINDOW, fields=FIELDS, train=TRAIN, test=TEST)
        efi(spec, data, others, tmp_path / "efi")
        clean, found = (store.open_dataset(path / "efi" / "efi.zarr")["efi"] for path in (folder, tmp_path))
        rest = clean.time != np.datetime64("2003-01-05")
        xr.testing.assert_identical(found.sel(time=rest).load(), clean.sel(time=rest).load())
        narrow = spec.model_copy(update={"window_days": 1})
        one_day = [
            covered.model_copy(update={"start": covered.start.replace(day=4)}) for covered in TRAIN.periods
        ]
        with pytest.raises(ValueError, match="no training forecast is valid within 0 days.*2003-01-04"):
            efi(narrow.model_copy(update={"train": split(*one_day)}), data, forecasts, tmp_path / "none")


class TestBaselines:
    def test_the_raw_ensemble_is_written_as_it_is(self, folder: Path) -> None:
        found = xr.open_zarr(folder / "ensemble" / "predictions.zarr", decode_timedelta=True)
        assert found["temperature"].dims == (
            "number", "time", "prediction_timedelta", "level", "latitude", "longitude",
        )  # fmt: skip
        assert set(found.data_vars) == {"2m_temperature", "temperature"}
        assert found["prediction_timedelta"].values.tolist() == [int(48 * 3.6e12)]
        expected = series(folder, "forecasts", "temperature", 850)
        np.testing.assert_array_equal(found.time + LEAD, expected.time)
        np.testing.assert_array_equal(
            found["temperature"].sel(level=850).isel(prediction_timedelta=0).values,
            expected.transpose("member", "time", ...).values,
        )

    @pytest.mark.parametrize(("label", "name", "level"), CASES)
    def test_emos_is_fitted_to_the_training_period_alone(
        self, folder: Path, label: str, name: str, level: int | None
    ) -> None:
        members, truth = (series(folder, kind, name, level, "train") for kind in ("forecasts", "analyses"))
        test = series(folder, "forecasts", name, level)

        def moments(array: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
            mean, spread = (
                each.transpose("time", ...).values.astype(np.float64)
                for each in (array.mean("member"), array.std("member", ddof=1))
            )
            return mean, spread

        fit = Emos.fit(*moments(members), truth.transpose("time", ...).values.astype(np.float64))
        expected = fit.predict(*moments(test))
        found = xr.open_zarr(folder / "emos" / "predictions.zarr").isel(prediction_timedelta=0)
        for key, field in zip((name, f"{name}_std"), expected, strict=True):
            own = found[key] if level is None else found[key].sel(level=level)
            scale = small.SCALE[name][1]
            assert np.median(np.abs(own.values - field)) < 1e-3 * scale
            assert np.quantile(np.abs(own.values - field), 0.99) < 0.1 * scale  # flat minima, float32


class TestScores:
    @pytest.mark.parametrize(("label", "name", "level"), CASES)
    def test_of_the_raw_ensemble_by_hand(
        self, folder: Path, label: str, name: str, level: int | None
    ) -> None:
        members = (
            series(folder, "forecasts", name, level).transpose("time", "member", ...).values.astype(float)
        )
        truth = series(folder, "analyses", name, level).values.astype(float)
        found = store.open_dataset(folder / "scores" / "ensemble" / "scores.zarr").sel(channel=label).load()
        index = store.open_dataset(folder / "efi" / "efi.zarr")["efi"].sel(channel=label).values
        plain, fair = (
            scoringrules.crps_ensemble(truth, members, m_axis=1, estimator=each) for each in ("nrg", "fair")
        )
        error = members.mean(axis=1) - truth
        expected = {
            "crps": area_mean(plain),
            "crps_fair": area_mean(fair),
            "eecrps": area_mean(np.abs(index) * plain),
            "rmse": np.sqrt(area_mean(error**2)),
            "squared_error": area_mean(error**2),
            "bias": area_mean(error),
            "variance": area_mean(members.var(axis=1, ddof=1)),
        }
        for score, values in expected.items():
            np.testing.assert_allclose(found[score], values, rtol=1e-6, err_msg=score)
        below = (members < truth[:, None]).sum(axis=1)
        ranks = np.stack(
            [area_mean((below == rank).astype(float)) for rank in range(small.MEMBERS + 1)], axis=-1
        )
        np.testing.assert_allclose(found["histogram"], ranks, atol=1e-9)
        np.testing.assert_allclose(found["crps_map"], plain.mean(axis=0), rtol=1e-6)
        assert found.attrs["members"] == small.MEMBERS

    @pytest.mark.parametrize(("label", "name", "level"), CASES)
    def test_of_a_distribution_by_hand(self, folder: Path, label: str, name: str, level: int | None) -> None:
        forecast = xr.open_zarr(folder / "emos" / "predictions.zarr").isel(prediction_timedelta=0).load()
        forecast = forecast if level is None else forecast.sel(level=level)
        truth = series(folder, "analyses", name, level).values.astype(float)
        mean, sigma = (forecast[key].values.astype(float) for key in (name, f"{name}_std"))
        found = store.open_dataset(folder / "scores" / "emos" / "scores.zarr").sel(channel=label).load()
        crps = scoringrules.crps_normal(truth, mean, sigma)
        index = store.open_dataset(folder / "efi" / "efi.zarr")["efi"].sel(channel=label).values
        np.testing.assert_allclose(found["crps"], area_mean(crps), rtol=1e-6)
        np.testing.assert_allclose(found["eecrps"], area_mean(np.abs(index) * crps), rtol=1e-6)
        np.testing.assert_allclose(found["variance"], area_mean(sigma**2), rtol=1e-6)
        np.testing.assert_allclose(found["rmse"], np.sqrt(area_mean((mean - truth) ** 2)), rtol=1e-6)
        assert found.attrs["members"] == 0 and found.sizes["bin"] == 20 and "crps_fair" not in found
        np.testing.assert_allclose(found["histogram"].sum("bin"), 1)

    def test_somebody_elses_ensemble(self, folder: Path, tmp_path: Path) -> None:
        """More years, members last and by another name, south to north, no time step among its dimensions."""
        data, _ = both(folder)
        own = xr.open_zarr(folder / "ensemble" / "predictions.zarr", decode_timedelta=True).load()
        theirs = own.rename(number="realization").isel(prediction_timedelta=0, drop=True)
        theirs = theirs.transpose("time", "level", "longitude", "latitude", "realization")
        theirs = theirs.assign_coords(time=theirs.time + LEAD).isel(latitude=slice(None, None, -1))
        later = theirs.assign_coords(time=theirs.time + np.timedelta64(365, "D")) * np.float32(np.nan)
        xr.concat([theirs, later], "time").to_zarr(tmp_path / "theirs.zarr", zarr_format=3, consolidated=True)
        evaluate(EVALUATE, data, tmp_path / "theirs.zarr", tmp_path / "scores", efi=folder / "efi")
        expected = store.open_dataset(folder / "scores" / "ensemble" / "scores.zarr").load()
        found = store.open_dataset(tmp_path / "scores" / "scores.zarr").load()
        xr.testing.assert_allclose(found, expected)

    def test_what_it_refuses(self, folder: Path, tmp_path: Path) -> None:
        data, _ = both(folder)
        with pytest.raises(ValueError, match="need its extreme forecast index, and none is given"):
            evaluate(EVALUATE, data, folder / "emos", tmp_path / "scores")
        own = xr.open_zarr(folder / "emos" / "predictions.zarr", decode_timedelta=True).load()

        def scored(changed: xr.Dataset, name: str) -> None:
            changed.to_zarr(tmp_path / name, zarr_format=3, consolidated=True)
            evaluate(EVALUATE, data, tmp_path / name, tmp_path / "scores", efi=folder / "efi")

        with pytest.raises(
            ValueError, match="found neither temperature_std nor a dimension number or member"
        ):
            scored(own.drop_vars("temperature_std"), "plain.zarr")
        with pytest.raises(ValueError, match="predictions lack the start 2003-01-02"):
            scored(own.isel(time=slice(1, None)), "short.zarr")
        with pytest.raises(ValueError, match="prediction of t850_std at 2003-01-03.* is not finite"):
            broken = own.copy(deep=True)
            broken["temperature_std"][1, 0, 0, 3, 4] = np.nan
            scored(broken, "broken.zarr")
        assert not (tmp_path / "scores").exists()


def test_levels_that_are_no_target_are_not_written(folder: Path, tmp_path: Path) -> None:
    upper = Target(variable="vertical_velocity", level_hpa=500)
    task = TASK.model_copy(update={"targets": (*small.TARGETS, upper)})
    data, forecasts = both(folder)
    samples = EnsembleFrames(WINDOW, FIELDS, data, TEST, forecasts)
    samples.window, samples.ensemble = task.window, task.ensemble
    predicted = task.predicted(FORECASTS)
    assert predicted.levels_hpa == (500, 850)
    flat, deep = np.ones(GRID.shape, np.float32), np.ones((2, *GRID.shape), np.float32)
    fields: dict[str, np.ndarray] = {
        f"{name}{suffix}": deep for name in predicted.atmospheric for suffix in ("", "_std")
    }
    fields |= {"2m_temperature": flat, "2m_temperature_std": flat}
    write_predictions(lambda index: fields, samples, predicted, tmp_path / "predictions.zarr")
    found = xr.open_zarr(tmp_path / "predictions.zarr")
    for name, level, other in (("temperature", 850, 500), ("vertical_velocity", 500, 850)):
        assert (found[name].sel(level=level) == 1).all() and np.isnan(found[name].sel(level=other)).all()
