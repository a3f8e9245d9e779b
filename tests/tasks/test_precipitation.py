"""Task ``precipitation``: sums over the borders of stores, windows inside their split, lead times."""

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from tests.backbones.small_aurora import build, small_spec
from tests.small_data import period, split, write_store
from weatherpeft.artifacts import store
from weatherpeft.artifacts.fields import FieldReader
from weatherpeft.artifacts.predictions import write_predictions
from weatherpeft.fields.grid import Grid, Region
from weatherpeft.fields.variables import FieldSet, VariableSet
from weatherpeft.samples.batch import Batch, Fields
from weatherpeft.samples.frames import SampleFrames
from weatherpeft.stages.moments import MomentsSpec, moments
from weatherpeft.tasks.precipitation import Precipitation

RAIN = "total_precipitation_6hr"
GRID = Grid(resolution_deg=11.25, region=Region(north=85, south=0, west=0, east=80))
VARIABLES = VariableSet(
    surface=("2m_temperature", RAIN),
    accumulated=("total_precipitation",),
    atmospheric=("relative_humidity",),
    levels_hpa=(500, 850),
    static=("land_sea_mask",),
)
FIELDS = FieldSet(measured=VARIABLES)
FIRST, SECOND, THIRD = (
    period("2001-01-30", "2001-01-31"),
    period("2001-02-01", "2001-02-03"),
    period("2001-02-04", "2001-02-05"),
)
TASK = Precipitation(name="precipitation", grid=GRID, lead_times_hours=(12, 24))


def axis(hours: int, days: tuple = (FIRST.start, THIRD.end)) -> np.ndarray:
    end = np.datetime64(days[1], "ns") + np.timedelta64(1, "D")
    return np.arange(np.datetime64(days[0], "ns"), end, np.timedelta64(hours, "h"))


@pytest.fixture(scope="module")
def whole() -> xr.Dataset:
    random = np.random.default_rng(0)
    hourly, times = axis(1), axis(6)
    rain = random.gamma(0.3, 1e-3, (hourly.size, *GRID.shape))
    return xr.Dataset(
        {
            "2m_temperature": (
                ("time", "latitude", "longitude"),
                random.normal(280, 5, (times.size, *GRID.shape)).astype("f4"),
            ),
            "relative_humidity": (
                ("time", "level", "latitude", "longitude"),
                random.normal(60, 20, (times.size, 2, *GRID.shape)).astype("f4"),
            ),
            "total_precipitation": (("hourly_time", "latitude", "longitude"), rain.astype("f4")),
            "land_sea_mask": (("latitude", "longitude"), random.uniform(0, 1, GRID.shape).astype("f4")),
        },
        {
            **{"hourly_time": hourly, "time": times, "level": [500, 850]},
            **{"latitude": GRID.latitude, "longitude": GRID.longitude},
        },
    )


@pytest.fixture(scope="module")
def data(whole: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The same days in three stores."""
    folder, made = tmp_path_factory.mktemp("regridded"), []
    for days in (FIRST, SECOND, THIRD):
        span = slice(str(days.start), str(days.end))
        with store.artifact(folder / days.label, days, "weatherpeft.spec") as directory:
            part = whole.sel(time=span, hourly_time=span)
            write_store(part, GRID, VARIABLES.stored, directory / f"{GRID.label}.zarr")
        made.append(folder / days.label)
    return made


def rain_of(whole: xr.Dataset, time: np.datetime64) -> np.ndarray:
    """By hand: T − 5 h … T."""
    hours = [time - np.timedelta64(hour, "h") for hour in range(6)]
    return whole["total_precipitation"].sel(hourly_time=hours).values.astype(np.float64).sum(axis=0)


def test_sums_go_over_the_borders_of_stores(whole: xr.Dataset, data: list[Path]) -> None:
    reader = FieldReader(data, GRID, (RAIN, "2m_temperature"))
    times = reader.times([period("2001-01-30", "2001-02-05")])
    assert times == list(axis(6)[1:])  # all but the first, whose hours begin the day before
    for time in times:
        np.testing.assert_allclose(reader.read(time, None)[RAIN], rain_of(whole, time), rtol=1e-6)
    with pytest.raises(ValueError, match=f"{RAIN} at 2001-01-30T00.*has no time 2001-01-29T19"):
        reader.read(axis(6)[0], None)
    alone = FieldReader(data[1:2], GRID, (RAIN,))
    assert alone.times([SECOND]) == list(axis(6, (SECOND.start, SECOND.end))[1:])


def test_no_window_leaves_its_split(whole: xr.Dataset, data: list[Path]) -> None:
    """Frames, targets and every hour of every sum."""
    train, test = (
        SampleFrames(TASK.window, FIELDS, data, split(SECOND)),
        SampleFrames(TASK.window, FIELDS, data, split(THIRD)),
    )
    for samples, days in ((train, SECOND), (test, THIRD)):
        first, end = np.datetime64(days.start, "ns"), np.datetime64(days.end, "ns") + np.timedelta64(1, "D")
        for sample in samples.samples:
            frames = [sample.time + np.timedelta64(hours, "h") for hours in (-12, 0, 12, 24)]
            assert all(first <= frame - np.timedelta64(5, "h") and frame < end for frame in frames)
            target = samples.target(sample)[RAIN]
            valid = sample.time + np.timedelta64(sample.lead_hours, "h")
            np.testing.assert_allclose(target, rain_of(whole, valid), rtol=1e-6)
    # 12 times: not the first, which has no sum, two for the history, four for the longest lead
    assert len(train) == 2 * (12 - 1 - 2 - 4)
    assert [sample.lead_hours for sample in train.samples[:4]] == [12, 24, 12, 24]


def test_moments_of_a_period_hold_the_sums_that_end_in_it(
    whole: xr.Dataset, data: list[Path], tmp_path: Path
) -> None:
    train = split(period("2001-01-30", "2001-02-03"))
    spec = MomentsSpec(variables=VARIABLES, grid=GRID, train=train, period=SECOND)
    moments(spec, data[:2], tmp_path / "moments")
    found = store.open_dataset(tmp_path / "moments" / "moments.zarr").load()
    times = axis(6, (SECOND.start, SECOND.end))
    assert list(found["time"].values) == list(times)
    weights = np.broadcast_to(GRID.area_weights()[:, None], GRID.shape)
    expected = [np.average(rain_of(whole, time), weights=weights) for time in times]
    np.testing.assert_allclose(found["mean"].sel(channel="tp").values, expected, rtol=1e-6)


class TestModel:
    SPEC = small_spec(window_size=(2, 2, 2), patch_size=2)
    FIELDS = FieldSet(measured=VARIABLES)

    def batch(self, leads: tuple[int, ...], factor: float = 1.0) -> Batch:
        random, shape = torch.Generator().manual_seed(1), GRID.shape

        def field(*more: int) -> torch.Tensor:
            return torch.rand(len(leads), *more, *shape, generator=random)

        inputs = Fields(
            {"2m_temperature": 280 + field(2), RAIN: factor * field(2)},
            {"relative_humidity": factor * field(2, 2)},
        )
        moment = np.datetime64("2001-02-02T00").astype("datetime64[s]").item()
        return Batch(
            inputs=inputs,
            static={"land_sea_mask": torch.zeros(shape)},
            target=inputs,
            times=(moment,) * len(leads),
            latitude=torch.tensor(GRID.latitude, dtype=torch.float32),
            longitude=torch.tensor(GRID.longitude, dtype=torch.float32),
            levels_hpa=(500, 850),
            lead_hours=leads,
        )

    def model(self, factor: float = 1.0, residual: bool = False):  # noqa: ANN201
        model = build(self.FIELDS, self.SPEC, lead_hours=12, residual=residual).eval()
        for parameter in model.decoder.parameters():  # heads start at zero
            torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(2))
        one, levels = torch.tensor(factor), torch.full((2, 1, 1), factor)
        surface = {"2m_temperature": torch.tensor(1.0), RAIN: one}
        model.complete_statistics(
            Fields(
                {name: 0.5 * value for name, value in surface.items()}, {"relative_humidity": 0.5 * levels}
            ),
            Fields(surface, {"relative_humidity": 0.2 * levels}),
        )
        return model

    @pytest.mark.parametrize("residual", [False, True])
    @torch.no_grad()
    def test_what_upstream_does_not_know_is_normalized_by_the_data(self, residual: bool) -> None:
        """Other units of the data give the same prediction in these units."""
        one, other = (self.model(factor, residual)(self.batch((12,), factor)) for factor in (1.0, 1000.0))
        torch.testing.assert_close(other.surface[RAIN], 1000 * one.surface[RAIN], rtol=1e-4, atol=1e-2)
        torch.testing.assert_close(
            other.atmospheric["relative_humidity"],
            1000 * one.atmospheric["relative_humidity"],
            rtol=1e-4,
            atol=1e-2,
        )
        torch.testing.assert_close(other.surface["2m_temperature"], one.surface["2m_temperature"])
        assert one.surface[RAIN].std() > 0

    def test_statistics_are_the_models_own(self) -> None:
        from aurora.normalisation import locations, scales

        before = dict(locations), dict(scales)
        self.model(7.0)
        assert (locations, scales) == before
        untouched = build(self.FIELDS, self.SPEC, lead_hours=12)
        with pytest.raises(ValueError, match="has no statistics of total_precipitation_6hr"):
            untouched(self.batch((12,)))

    @torch.no_grad()
    def test_every_sample_is_told_its_own_lead_time(self) -> None:
        model = self.model()
        both = self.batch((12, 36))
        same = Batch(**{**both.__dict__, "lead_hours": (12, 12)})
        found, expected = (model(batch).surface[RAIN] for batch in (both, same))
        torch.testing.assert_close(found[0], expected[0])
        assert (found[1] - expected[1]).abs().max() > 1e-4
        own = Batch(**{**both.__dict__, "lead_hours": ()})
        assert torch.equal(model(own).surface[RAIN], expected)


def test_only_precipitation_is_written_and_none_below_zero(data: list[Path], tmp_path: Path) -> None:
    samples = SampleFrames(TASK.window, FIELDS, data, split(SECOND))
    field = np.linspace(-1e-3, 1e-3, int(np.prod(GRID.shape)), dtype=np.float32).reshape(GRID.shape)
    variables = TASK.predicted(VARIABLES)
    write_predictions(
        lambda index: {RAIN: field + np.float32(samples.samples[index].lead_hours)},
        samples,
        variables,
        tmp_path / "predictions.zarr",
    )
    found = store.open_dataset(tmp_path / "predictions.zarr").load()
    assert set(found.data_vars) == {RAIN}
    assert found[RAIN].dims == ("time", "prediction_timedelta", "latitude", "longitude")
    assert (found["prediction_timedelta"].values / np.timedelta64(1, "h")).tolist() == [12, 24]
    for lead in (0, 1):
        expected = field + np.float32((12, 24)[lead])
        np.testing.assert_array_equal(found[RAIN].values[:, lead], np.stack([expected] * found.sizes["time"]))
    write_predictions(lambda index: {RAIN: field}, samples, variables, tmp_path / "dry.zarr")
    dry = store.open_dataset(tmp_path / "dry.zarr")[RAIN].values
    np.testing.assert_array_equal(dry[0, 0], np.where(field < 0, 0, field))


def test_what_it_refuses() -> None:
    with pytest.raises(ValueError, match="lead_times_hours must increase"):
        Precipitation(name="precipitation", grid=GRID, lead_times_hours=(24, 12))
    with pytest.raises(ValueError, match="expected total_precipitation_6hr among variables.surface"):
        TASK.predicted(VARIABLES.stored)
    with pytest.raises(ValueError, match="name total_precipitation among accumulated too"):
        VariableSet(surface=(RAIN,))
