"""Stages ``moments`` and ``statistics``, against NumPy's weighted averages."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from tests import small_data as small
from weatherpeft.artifacts import store
from weatherpeft.samples.batch import Fields
from weatherpeft.samples.normalization import training_scale
from weatherpeft.samples.splits import Split
from weatherpeft.spec import Period
from weatherpeft.stages.moments import MomentsSpec, moments
from weatherpeft.stages.statistics import StatisticsSpec, statistics

JANUARY = small.period("2001-01-01", "2001-01-04")
FEBRUARY = small.period("2001-02-01", "2001-02-02")
CHANNELS = ["2t", "t500", "t850"]


SPEC = StatisticsSpec(variables=small.VARIABLES)


def make(train: Split, data: Sequence[Path], output: Path) -> None:
    """Run both stages, the first once for each store that has training days."""
    parts = []
    for directory in data:
        start, end = (np.datetime64(f"{day[:4]}-{day[4:6]}-{day[6:]}") for day in directory.name.split("-"))
        own = [days for days in train.periods if start <= days.end and days.start <= end]
        if own:
            parts.append(output / "moments" / directory.name)
            own_train = small.split(*own, members=train.members)
            spec = MomentsSpec(variables=small.VARIABLES, grid=small.FINE, train=own_train)
            moments(spec, [directory], parts[-1])
    statistics(SPEC, parts, output / "statistics")


def channels(directory: Path, times: slice | list[str], members: list[int] | None = None) -> np.ndarray:
    """Stored fields, ``(sample, channel, latitude, longitude)``."""
    dataset = store.open_dataset(directory / f"{small.FINE.label}.zarr").sel(time=times)
    if members is not None:
        dataset = dataset.sel(member=members).stack(sample=("member", "time"))
    else:
        dataset = dataset.rename(time="sample")
    surface = dataset["2m_temperature"].transpose("sample", "latitude", "longitude").values[:, None]
    upper = dataset["temperature"].transpose("sample", "level", "latitude", "longitude").values
    return np.concatenate([surface, upper], axis=1).astype(np.float64)


def expected_moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    bounds = np.linspace(90, -90, 17)  # 16 rows of 11.25 degrees
    area = -np.diff(np.sin(np.deg2rad(bounds)))
    weights = np.broadcast_to(area[:, None], values.shape)
    axes = (0, 2, 3)
    mean = np.average(values, axis=axes, weights=weights)
    squares = (values - mean[:, None, None]) ** 2
    return mean, np.sqrt(np.average(squares, axis=axes, weights=weights))


def check(output: Path, values: np.ndarray) -> None:
    found = store.open_dataset(output / "statistics.zarr").load()
    mean, deviation = expected_moments(values)
    assert found["channel"].values.tolist() == CHANNELS
    assert found["mean"].dtype == found["standard_deviation"].dtype == np.float64
    np.testing.assert_allclose(found["mean"].values, mean, rtol=1e-12)
    np.testing.assert_allclose(found["standard_deviation"].values, deviation, rtol=1e-10)


def fine_fields(directory: Path) -> zarr.Array[Any]:
    """The stored fields of the fine grid, to be changed."""
    return zarr.open_array(directory / f"{small.FINE.label}.zarr" / store.FIELDS, mode="r+")


def poison(directory: Path, days: Period | None = None) -> None:
    """Put absurd numbers into what must not be read: everything but these days."""
    for grid in (small.COARSE, small.FINE):
        path = directory / f"{grid.label}.zarr"
        times = store.open_dataset(path)["time"].values.astype("datetime64[D]")
        stored = zarr.open_array(path / store.FIELDS, mode="r+")
        values = np.asarray(stored[:])
        values[[days is None or not days.start <= day.item() <= days.end for day in times]] = 1e9
        stored[:] = values


def test_moments_of_the_training_times_alone(tmp_path: Path) -> None:
    train = small.period("2001-01-02", "2001-01-03")
    data = [small.write_period(tmp_path, JANUARY), small.write_period(tmp_path, FEBRUARY, seed=1)]
    values = channels(data[0], slice("2001-01-02", "2001-01-03T18"))
    assert len(values) == 8
    poison(data[0], keep := train)
    poison(data[1])
    poisoned = channels(data[0], slice("2001-01-01", "2001-01-04T18"))
    assert (poisoned == 1e9).any() and keep.days == 2
    make(small.split(train), data, tmp_path)
    check(tmp_path / "statistics", values)


def test_several_periods_in_several_stores(tmp_path: Path) -> None:
    data = [small.write_period(tmp_path, JANUARY), small.write_period(tmp_path, FEBRUARY, seed=1)]
    late = small.period("2001-01-04", "2001-01-04")
    values = [channels(data[0], slice("2001-01-04", "2001-01-04T18")), channels(data[1], slice(None))]
    make(small.split(FEBRUARY, late), data[::-1], tmp_path)
    check(tmp_path / "statistics", np.concatenate(values))


def test_members_of_the_training_split_alone(tmp_path: Path) -> None:
    data = small.write_period(tmp_path, FEBRUARY, members=(0, 1, 2, 5))
    values = channels(data, slice(None), [1, 5])
    assert len(values) == 2 * 8
    stored = fine_fields(data)
    for member in (0, 2):
        stored[member] = 1e9
    make(small.split(FEBRUARY, members=(1, 5)), [data], tmp_path)
    check(tmp_path / "statistics", values)


def test_a_constant_far_from_zero_has_no_spread(tmp_path: Path) -> None:
    data = small.write_period(tmp_path, FEBRUARY)
    fine_fields(data)[:, 0] = 101325.125
    make(small.split(FEBRUARY), [data], tmp_path)
    found = store.open_dataset(tmp_path / "statistics" / "statistics.zarr").sel(channel="2t")
    assert float(found["mean"]) == pytest.approx(101325.125, rel=1e-14)
    assert float(found["standard_deviation"]) < 1e-9


def test_periods_do_not_change_a_bit(tmp_path: Path) -> None:
    data = small.write_period(tmp_path, JANUARY, members=(0, 3))
    found: list[str] = []
    for days in ((1, 5), (1, 2, 5), (1, 2, 3, 4, 5)):
        parts = []
        for first, end in pairwise(days):
            train = small.split(small.period(f"2001-01-0{first}", f"2001-01-0{end - 1}"), members=(0, 3))
            parts.append(tmp_path / f"moments{len(found)}" / str(first))
            moments(MomentsSpec(variables=small.VARIABLES, grid=small.FINE, train=train), [data], parts[-1])
        statistics(SPEC, parts[::-1], tmp_path / f"statistics{len(found)}")
        found.append(store.artifact_digest(tmp_path / f"statistics{len(found)}"))
    assert len(set(found)) == 1 and len(parts) == 4
    with pytest.raises(ValueError, match="the moments of 2001-01-02T00.* are there twice"):
        statistics(SPEC, [*parts, parts[1]], tmp_path / "twice")
    other = SPEC.model_copy(
        update={"variables": small.VARIABLES.model_copy(update={"levels_hpa": (500, 700)})}
    )
    with pytest.raises(ValueError, match="expected moments of 2t, t500, t700, found 2t, t500, t850"):
        statistics(other, parts, tmp_path / "other")


def test_no_training_time_is_an_error(tmp_path: Path) -> None:
    data = small.write_period(tmp_path, FEBRUARY)
    spec = MomentsSpec(variables=small.VARIABLES, grid=small.FINE, train=small.split(JANUARY))
    with pytest.raises(ValueError, match="no data in the training periods 20010101-20010104"):
        moments(spec, [data], tmp_path / "moments")
    assert not (tmp_path / "moments").exists()


def test_the_same_twice_is_the_same_artifact(tmp_path: Path) -> None:
    data = small.write_period(tmp_path, FEBRUARY)
    spec = MomentsSpec(variables=small.VARIABLES, grid=small.FINE, train=small.split(FEBRUARY))
    for name in ("one", "two"):
        moments(spec, [data], tmp_path / name / "moments")
        statistics(SPEC, [tmp_path / name / "moments"], tmp_path / name / "statistics")
    for stage in ("moments", "statistics"):
        assert store.artifact_digest(tmp_path / "one" / stage) == store.artifact_digest(
            tmp_path / "two" / stage
        )
    assert store.read_provenance(tmp_path / "one/moments")["inputs"] == {
        f"{tmp_path.name}/20010201-20010202": store.artifact_digest(data)
    }


class TestScale:
    def scale(self, tmp_path: Path) -> tuple[Fields, Path]:
        data = small.write_period(tmp_path, FEBRUARY)
        make(small.split(FEBRUARY), [data], tmp_path)
        return training_scale(tmp_path / "statistics", small.VARIABLES), data

    def test_it_divides_fields(self, tmp_path: Path) -> None:
        scale, data = self.scale(tmp_path)
        _, deviation = expected_moments(channels(data, slice(None)))
        assert scale.surface["2m_temperature"].shape == ()
        assert scale.atmospheric["temperature"].shape == (2, 1, 1)
        found = [float(scale.surface["2m_temperature"]), *scale.atmospheric["temperature"].flatten().tolist()]
        np.testing.assert_allclose(found, deviation, rtol=1e-6)

    def test_a_field_without_statistics_is_named(self, tmp_path: Path) -> None:
        self.scale(tmp_path)
        changes = {"levels_hpa": (500, 700)}
        with pytest.raises(ValueError, match=r"no statistics of t700; found 2t, t500, t850"):
            training_scale(tmp_path / "statistics", small.VARIABLES.model_copy(update=changes))

    def test_a_field_that_does_not_vary_is_named(self, tmp_path: Path) -> None:
        data = small.write_period(tmp_path, FEBRUARY)
        fine_fields(data)[:, 2] = 0
        make(small.split(FEBRUARY), [data], tmp_path)
        with pytest.raises(ValueError, match="t850 does not vary over the training period"):
            training_scale(tmp_path / "statistics", small.VARIABLES)
