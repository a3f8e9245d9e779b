"""Task ``postprocessing``: frames, windows inside their split, standardization, and the loss."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scoringrules
import torch
import xarray as xr

from tests.small_data import period, split
from tests.tasks import forecast_data as small
from tests.tasks.forecast_data import EVERY_MEMBER, FIELDS, FORECASTS, GRID, SEA, TASK, TEST, TRAIN
from weatherpeft.artifacts import store
from weatherpeft.samples.batch import Fields, Samples
from weatherpeft.samples.ensemble_frames import EnsembleFrames, moments_of
from weatherpeft.samples.standardization import training_standardization
from weatherpeft.stages.standardization import SMALLEST_SCALE, StandardizationSpec, standardization
from weatherpeft.tasks.postprocessing import Postprocessing, Target

Both = tuple[list[Path], list[Path]]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Both:
    return small.write_all(tmp_path_factory.mktemp("regridded"))


def frames(task: Postprocessing, both: Both, split: Any = TRAIN) -> EnsembleFrames:
    return EnsembleFrames(task.window, FIELDS, both[0], split, both[1])


def stored(directories: list[Path]) -> xr.Dataset:
    parts = [store.open_dataset(path / f"{GRID.label}.zarr").load() for path in directories]
    return xr.concat(parts, "time", data_vars="minimal")


class TestFrames:
    def test_standard_deviation_first_and_mean_last(self, both: Both) -> None:
        samples, theirs = frames(TASK, both), stored(both[1])
        for sample in samples.samples:
            spread, mean = samples.inputs(sample)
            valid = theirs.sel(time=sample.time + np.timedelta64(48, "h"))
            for name in (*FORECASTS.surface, *FORECASTS.atmospheric):
                members = valid[name].values.astype(np.float64)
                scale = small.SCALE[name][1]
                np.testing.assert_allclose(mean[name], members.mean(axis=0), rtol=1e-6, atol=1e-5 * scale)
                np.testing.assert_allclose(spread[name], members.std(axis=0, ddof=1), rtol=2e-5)
            assert np.isnan(mean["sea_surface_temperature"][~SEA]).all()

    def test_or_every_member(self, both: Both) -> None:
        samples, theirs = frames(EVERY_MEMBER, both), stored(both[1])
        sample = samples.samples[3]
        valid = theirs.sel(time=sample.time + np.timedelta64(48, "h"))
        found = samples.inputs(sample)
        assert len(found) == small.MEMBERS == EVERY_MEMBER.ensemble.history
        for place, frame in enumerate(found):
            np.testing.assert_array_equal(frame["temperature"], valid["temperature"].values[place])

    def test_members_that_agree_have_no_spread(self) -> None:
        mean, spread = moments_of(np.full((5, 3), 54321.125, np.float32))
        assert (mean == 54321.125).all() and not spread.any()

    def test_the_target_is_the_analysis_of_the_valid_time(self, both: Both) -> None:
        samples, theirs = frames(TASK, both), stored(both[0])
        for sample in samples.samples:
            valid = theirs.sel(time=sample.time + np.timedelta64(48, "h"))
            target = samples.target(sample)
            np.testing.assert_array_equal(target["2m_temperature"], valid["2m_temperature"].values)
            np.testing.assert_array_equal(target["temperature"], valid["temperature"].sel(level=[850]).values)
            np.testing.assert_array_equal(samples.true_targets(sample)[1], target["temperature"][0])

    def test_a_batch_has_the_frames_as_its_history(self, both: Both) -> None:
        samples = Samples(TASK.window.frames(FIELDS, both[0], TRAIN, both[1]))
        batch = samples.batch([0, 2])
        frames = samples.frames.inputs(samples.frames.samples[2])
        np.testing.assert_array_equal(batch.inputs.atmospheric["temperature"][1, 0], frames[0]["temperature"])
        assert batch.target.atmospheric["temperature"].shape == (2, 1, *GRID.shape)
        assert list(batch.target.surface) == ["2m_temperature"]
        assert batch.lead_hours == (0, 0) and batch.times[0].isoformat() == "2001-01-03T00:00:00"


class TestWindows:
    def test_the_whole_forecast_lies_in_one_period(self, both: Both) -> None:
        """Forecasts are stored from each period's first day on, but those started before it."""
        for own, starts in ((TRAIN, [(2001, 1), (2002, 3)]), (TEST, [(2003, 2)])):
            found = [str(sample.time)[:10] for sample in frames(TASK, both, own).samples]
            last = {2001: 6, 2002: 6, 2003: 5}
            assert found == [
                f"{year}-01-{day:02}" for year, first in starts for day in range(first, last[year] + 1)
            ]

    def test_a_forecast_without_an_analysis_is_left_out(self, both: Both, tmp_path: Path) -> None:
        covered = small.YEARS["test"][0]
        thinned = small.analyses(covered, 2)
        thinned = thinned.sel(time=thinned.time != np.datetime64("2003-01-05"))
        directory = small.written(thinned, small.ANALYSES, tmp_path / "thinned")
        found = frames(TASK, ([directory], both[1][2:]), TEST)
        assert [str(sample.time)[:10] for sample in found.samples] == [
            "2003-01-02",
            "2003-01-04",
            "2003-01-05",
        ]

    def test_what_does_not_fit_is_refused(self, both: Both, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="expected 5 members, found 4"):
            frames(TASK.model_copy(update={"members": 5}), both)
        with pytest.raises(ValueError, match=r"expected forecasts of 24 h, found \[48.0\]"):
            frames(TASK.model_copy(update={"forecast_hours": 24}), both)
        with pytest.raises(ValueError, match="no init_time; these are no forecasts"):
            plain = small.forecasts(small.YEARS["test"][0], 2).drop_vars("init_time")
            frames(TASK, (both[0], [small.written(plain, FORECASTS, tmp_path / "plain")]))
        with pytest.raises(
            ValueError, match="no forecast and its analysis lie in one of the periods 20040101"
        ):
            frames(TASK, both, split(period("2004-01-01", "2004-01-09")))
        upper = Target(variable="temperature", level_hpa=925)
        with pytest.raises(ValueError, match=r"levels \[925\] hPa are missing; found \[500, 850\]"):
            frames(TASK.model_copy(update={"targets": (upper,)}), both)


def standardized(task: Postprocessing, both: Both, output: Path) -> xr.Dataset:
    spec = StandardizationSpec(window=task.window, fields=FIELDS, train=TRAIN)
    standardization(spec, *both, output)
    return store.open_dataset(output / "standardization.zarr").load()


class TestStandardization:
    def brute_force(self, both: Both, name: str, level: int | None) -> np.ndarray:
        """Members of every training forecast that starts in its period, ``(time, member, ...)``."""
        found = stored(both[1])[name]
        found = found if level is None else found.sel(level=level)
        days = [f"2001-01-{day:02}" for day in range(3, 9)] + [f"2002-01-{day:02}" for day in range(5, 9)]
        return (
            found.sel(time=np.array(days, "datetime64[ns]"))
            .transpose("time", "member", ...)
            .values.astype(float)
        )

    @pytest.mark.parametrize(
        ("label", "name", "level"), [("2t", "2m_temperature", None), ("w850", "vertical_velocity", 850)]
    )
    def test_it_is_of_every_grid_point(
        self, both: Both, tmp_path: Path, label: str, name: str, level: int | None
    ) -> None:
        values = self.brute_force(both, name, level)
        found = standardized(TASK, both, tmp_path / "moments").sel(channel=label)
        for frame, expected in (("spread", values.std(axis=1, ddof=1)), ("mean", values.mean(axis=1))):
            own = found.sel(frame=frame)
            np.testing.assert_allclose(own["mean"], expected.mean(axis=0), rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(own["scale"], expected.std(axis=0), rtol=1e-4)
        pooled = standardized(EVERY_MEMBER, both, tmp_path / "members").sel(channel=label, frame="member")
        np.testing.assert_allclose(pooled["mean"], values.mean(axis=(0, 1)), rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(pooled["scale"], values.std(axis=(0, 1)), rtol=1e-5)

    def test_it_never_sees_a_test_year(self, both: Both, tmp_path: Path) -> None:
        standardized(TASK, both, tmp_path / "clean")
        poisoned = small.forecasts(small.YEARS["test"][0], 2) * np.float32(1e6)
        early = small.forecasts(small.YEARS["train"][0], 0)  # those that start before their period
        early = early.where(early.init_time >= np.datetime64("2001-01-01"), np.float32(1e6))
        directories = [
            small.written(early, FORECASTS, tmp_path / "early"),
            both[1][1],
            small.written(poisoned, FORECASTS, tmp_path / "poisoned"),
        ]
        standardized(TASK, (both[0], directories), tmp_path / "other")
        digests = [store.read_provenance(tmp_path / name)["digest"] for name in ("clean", "other")]
        assert digests[0] == digests[1]

    def test_a_constant_point_is_no_division_by_zero(self, both: Both, tmp_path: Path) -> None:
        dry = []
        for seed, covered in enumerate(small.YEARS["train"]):
            dataset = small.forecasts(covered, seed)
            dataset["total_precipitation_48hr"][..., 3, 4] = 0
            dry.append(small.written(dataset, FORECASTS, tmp_path / covered.label))
        found = standardized(TASK, (both[0], dry), tmp_path / "dry")["scale"].sel(channel="tp")
        weights = np.cos(np.deg2rad(found.latitude))
        typical = (found**2).weighted(weights).mean(("latitude", "longitude")) ** 0.5
        for frame in ("spread", "mean"):
            share = found.sel(frame=frame).values[3, 4] / typical.sel(frame=frame)
            assert float(share) == pytest.approx(SMALLEST_SCALE, rel=5e-3)
        nothing = [dataset * np.float32(0) for dataset in map(small.forecasts, small.YEARS["train"], (0, 1))]
        empty = [small.written(each, FORECASTS, tmp_path / f"{n}") for n, each in enumerate(nothing)]
        with pytest.raises(ValueError, match="2t of the frame spread does not vary over the training period"):
            standardized(TASK, (both[0], empty), tmp_path / "nothing")

    def test_the_sea_has_its_own_and_the_land_none(self, both: Both, tmp_path: Path) -> None:
        found = standardized(TASK, both, tmp_path / "sea").sel(channel="sst")
        for part in ("mean", "scale"):
            assert (np.isfinite(found[part].values) == SEA).all()

    def test_as_tensors(self, both: Both, tmp_path: Path) -> None:
        for task, history in ((TASK, 2), (EVERY_MEMBER, 4)):
            directory = tmp_path / task.frames
            dataset = standardized(task, both, directory)
            mean, scale = training_standardization(directory, FIELDS.measured, task.ensemble)
            assert mean.surface["2m_temperature"].shape == (history, *GRID.shape)
            assert scale.atmospheric["temperature"].shape == (history, 2, *GRID.shape)
            last = dataset["scale"].sel(channel="t850").values[-1]
            np.testing.assert_array_equal(scale.atmospheric["temperature"][-1, 1], last)
        with pytest.raises(ValueError, match="expected the frames spread, mean, found member"):
            training_standardization(tmp_path / "members", FIELDS.measured, TASK.ensemble)


def test_the_loss_is_the_weighted_crps_in_the_fields_own_units() -> None:
    random = torch.Generator().manual_seed(0)

    def field(*shape: int) -> torch.Tensor:
        return torch.randn(3, *shape, *GRID.shape, generator=random)

    prediction = Fields(
        {"2m_temperature": field(), "2m_temperature_std": field().exp()},
        {"temperature": field(1), "temperature_std": field(1).exp()},
    )
    target = Fields({"2m_temperature": field()}, {"temperature": field(1)})
    expected = 0.0
    for weight, part, name in ((14, "surface", "2m_temperature"), (8, "atmospheric", "temperature")):
        own, true = getattr(prediction, part), getattr(target, part)[name]
        score = scoringrules.crps_normal(true.numpy(), own[name].numpy(), own[f"{name}_std"].numpy())
        expected += weight * float(np.mean(score))
    assert float(TASK.loss(prediction, target, Fields({}, {}))) == pytest.approx(expected, rel=1e-5)


def test_a_level_that_is_no_target_does_not_count() -> None:
    mixed = TASK.model_copy(
        update={
            "targets": (
                Target(variable="temperature", level_hpa=850),
                Target(variable="geopotential", level_hpa=500),
            )
        }
    )
    assert mixed.ensemble.variables.levels_hpa == (500, 850)
    zeros = torch.zeros(1, 2, 4, 8)
    wrong = zeros.clone()
    wrong[:, 0] = 1  # t500
    prediction = {
        name: zeros for name in ("temperature", "temperature_std", "geopotential", "geopotential_std")
    }
    true = {"temperature": zeros, "geopotential": zeros}
    off = Fields({}, prediction | {"temperature": wrong})
    assert mixed.loss(off, Fields({}, true), Fields({}, {})) == 0
    assert mixed.loss(Fields({}, prediction | {"geopotential": wrong}), Fields({}, true), Fields({}, {})) == 1


def test_what_it_refuses() -> None:
    with pytest.raises(ValueError, match="a field is named twice: 2t, 2t"):
        Postprocessing(name="postprocessing", grid=GRID, targets=(small.TARGETS[0], small.TARGETS[0]))
    with pytest.raises(ValueError, match="expected the target z500 among the variables"):
        Postprocessing(name="postprocessing", grid=GRID).predicted(
            small.ANALYSES.model_copy(
                update={
                    "surface": (
                        "2m_temperature", "10m_u_component_of_wind", "10m_v_component_of_wind",
                    )
                }
            )
        )  # fmt: skip
    with pytest.raises(ValueError, match="level_hpa belongs to atmospheric variables, found 850"):
        Target(variable="2m_temperature", level_hpa=850)
    with pytest.raises(ValueError, match="unknown variable 'rain'"):
        Target(variable="rain")
