"""Stage ``pack``: the int16 copy of the fields, against the exact ones."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

from tests import small_data as small
from weatherpeft.artifacts import store
from weatherpeft.artifacts.fields import FieldReader
from weatherpeft.fields.variables import FieldSet, VariableSet
from weatherpeft.samples.batch import Samples
from weatherpeft.samples.frames import SampleFrames
from weatherpeft.spec import Spec
from weatherpeft.stages.pack import PackSpec, pack

DAYS = small.period("2001-02-01", "2001-02-02")
SPEC = PackSpec(variables=small.VARIABLES, grids=(small.COARSE, small.FINE))
LABELS = ["2t", "t500", "t850"]
MEAN, DEVIATION = np.array([279.0, 281.5, 280.25]), np.array([5.0, 4.0, 6.5])
NAMES = ("2m_temperature", "temperature")


class Made(Spec):
    note: str = "x"


def statistics(path: Path, deviation: np.ndarray = DEVIATION, labels: list[str] = LABELS) -> Path:
    dataset = xr.Dataset(
        {"mean": ("channel", MEAN[: len(labels)]), "standard_deviation": ("channel", deviation)},
        {"channel": labels},
    )
    with store.artifact(path, Made(), "weatherpeft.spec") as directory:
        store.write_dataset(dataset, directory / "statistics.zarr")
    return path


def channels(fields: dict[str, np.ndarray]) -> np.ndarray:
    """``(channel, latitude, longitude)`` in float64."""
    return np.concatenate([fields["2m_temperature"][None], fields["temperature"]]).astype(np.float64)


@pytest.mark.parametrize("members", [(), (0, 2)])
def test_errors_are_half_a_step_and_recorded(tmp_path: Path, members: tuple[int, ...]) -> None:
    data = small.write_period(tmp_path / "data", DAYS, members=members)
    pack(SPEC, data, statistics(tmp_path / "statistics"), tmp_path / "packed")
    for grid in (small.COARSE, small.FINE):
        exact, packed = (FieldReader([path], grid, NAMES) for path in (data, tmp_path / "packed"))
        errors = []
        for time in exact.times([DAYS]):
            for member in members or (None,):
                one, other = (channels(reader.read(time, member)) for reader in (packed, exact))
                errors.append((one - other) / DEVIATION[:, None, None])
        largest = np.abs(errors).max(axis=(0, 2, 3))
        assert (largest <= 0.5 / 4096 + 1e-6).all() and (largest > 0.4 / 4096).all()
        stored = store.open_stored(tmp_path / "packed" / f"{grid.label}.zarr")
        assert stored["fields"].dtype == np.int16
        np.testing.assert_allclose(stored["error_max"], largest, rtol=1e-4)
        root = np.sqrt(np.mean(np.square(errors), axis=(0, 2, 3)))
        np.testing.assert_allclose(stored["error_rms"], root, rtol=1e-4)
        # a rounding error spread evenly over a step
        np.testing.assert_allclose(stored["error_rms"], 1 / 4096 / np.sqrt(12), rtol=0.03)


def test_the_rest_is_copied_and_the_view_by_variable_agrees(tmp_path: Path) -> None:
    data = small.write_period(tmp_path / "data", DAYS)
    pack(SPEC, data, statistics(tmp_path / "statistics"), tmp_path / "packed")
    path = tmp_path / "packed" / f"{small.FINE.label}.zarr"
    exact, found = store.open_dataset(data / path.name), store.open_dataset(path)
    np.testing.assert_array_equal(found["land_sea_mask"], exact["land_sea_mask"])
    assert found["temperature"].dims == exact["temperature"].dims
    assert found["temperature"].dtype == np.float32
    np.testing.assert_array_equal(found["level"], exact["level"])
    reader = FieldReader([tmp_path / "packed"], small.FINE, NAMES)
    for time in reader.times([DAYS]):
        for name, field in reader.read(time, None).items():
            assert field.dtype == np.float32
            np.testing.assert_array_equal(found[name].sel(time=time).values, field)
    record = store.read_provenance(tmp_path / "packed")
    assert sorted(record["inputs"]) == sorted([f"data/{DAYS.label}", f"{tmp_path.name}/statistics"])


def test_training_reads_it_like_the_exact_fields(tmp_path: Path) -> None:
    data = small.write_period(tmp_path / "data", DAYS)
    pack(SPEC, data, statistics(tmp_path / "statistics"), tmp_path / "packed")
    batches = [
        Samples(SampleFrames(small.WINDOW, small.FIELDS, [path], small.split(DAYS))).batch([3, 1])
        for path in (data, tmp_path / "packed")
    ]
    exact, packed = (batch.inputs.surface["2m_temperature"] for batch in batches)
    assert exact.shape == packed.shape
    assert 0 < float((exact - packed).abs().max()) <= 0.5 * DEVIATION[0] / 4096 + 1e-4
    np.testing.assert_array_equal(batches[0].static["land_sea_mask"], batches[1].static["land_sea_mask"])


@pytest.mark.parametrize("value", [np.nan, 281.5 + 4.0 * 8.01, 281.5 - 4.0 * 8.01])
def test_what_int16_cannot_hold_is_refused(tmp_path: Path, value: float) -> None:
    data = small.write_period(tmp_path / "data", DAYS)
    zarr.open_array(data / f"{small.FINE.label}.zarr/fields", mode="r+")[5, 1, 2, 2:4] = value
    with pytest.raises(
        ValueError, match=r"t500 at 2001-02-02T06.*: 2 values are not finite or more than 8\.0"
    ):
        pack(SPEC, data, statistics(tmp_path / "statistics"), tmp_path / "packed")
    assert not (tmp_path / "packed").exists()


def test_statistics_must_cover_the_channels(tmp_path: Path) -> None:
    data = small.write_period(tmp_path / "data", DAYS)
    few = statistics(tmp_path / "few", DEVIATION[:2], LABELS[:2])
    with pytest.raises(ValueError, match="few: no statistics of t850"):
        pack(SPEC, data, few, tmp_path / "packed")
    constant = statistics(tmp_path / "constant", np.array([5.0, 0.0, 1.0]))
    with pytest.raises(ValueError, match="constant: t500 does not vary"):
        pack(SPEC, data, constant, tmp_path / "packed")


SCALE = 0.1
OWN = VariableSet.parse(
    {
        "define": {
            "hail": {
                "kind": "surface",
                "units": "kg m-2",
                "transformation": {"name": "log1p", "scale": SCALE},
            }
        },
        "surface": ["2m_temperature", "hail"],
    }
)


def hail_period(folder: Path, largest: float) -> tuple[Path, Path]:
    """Two days of hail, which falls at few points, and the statistics of what a model sees."""
    random, grid = np.random.default_rng(2), small.FINE
    times = np.arange("2001-02-01T00", "2001-02-03T00", 6, dtype="datetime64[h]").astype("datetime64[ns]")
    shape = (times.size, *grid.shape)
    hail = (random.lognormal(0, 2, shape) * (random.random(shape) < 0.002)).astype("f4")
    hail[3, 4, 5] = largest
    dims = ("time", "latitude", "longitude")
    fields = {"2m_temperature": (dims, random.normal(280, 5, shape).astype("f4")), "hail": (dims, hail)}
    dataset = xr.Dataset(fields, {"time": times, "latitude": grid.latitude, "longitude": grid.longitude})
    with store.artifact(folder / "data", DAYS, "weatherpeft.spec") as directory:
        small.write_store(dataset, grid, OWN, directory / f"{grid.label}.zarr")
    seen = np.log1p(hail.astype(float) / SCALE)
    spread = [5, np.nanstd(seen)]
    moments = {"mean": ("channel", [280.0, np.nanmean(seen)]), "standard_deviation": ("channel", spread)}
    with store.artifact(folder / "statistics", Made(), "weatherpeft.spec") as directory:
        store.write_dataset(xr.Dataset(moments, {"channel": ["2t", "hail"]}), directory / "statistics.zarr")
    return folder / "data", folder / "statistics"


@pytest.mark.parametrize("largest", [0.5, 3.0, 1e4])
def test_a_transformed_variable_has_a_bounded_relative_error(tmp_path: Path, largest: float) -> None:
    """Also where a value lies far more than 8 standard deviations from the mean."""
    data, known = hail_period(tmp_path, largest)
    grid, names = small.FINE, ("2m_temperature", "hail")
    pack(PackSpec(variables=OWN, grids=(grid,)), data, known, tmp_path / "packed")
    stored = store.open_stored(tmp_path / "packed" / f"{grid.label}.zarr")
    moments = store.open_dataset(known / "statistics.zarr").load().sel(channel="hail")
    mean, deviation = moments["mean"].item(), moments["standard_deviation"].item()
    exact, packed = (FieldReader([path], grid, names) for path in (data, tmp_path / "packed"))
    whole = np.stack([exact.read(time, None)["hail"] for time in exact.times([DAYS])])
    reach = np.abs(np.log1p(whole.astype(float) / SCALE) - mean).max()
    assert reach / deviation > 8 or largest < 1e4
    half = max(deviation / 4096, reach / (2**15 - 1)) / 2  # half a step of the logarithm
    view = store.open_dataset(tmp_path / "packed" / f"{grid.label}.zarr")
    errors = []
    for time in exact.times([DAYS]):
        one, other = (reader.read(time, None)["hail"] for reader in (packed, exact))
        np.testing.assert_array_equal(view["hail"].sel(time=time).values, one)
        error = np.abs(one.astype(float) - other) / (SCALE + other)
        errors.append(error.max())
        two = [reader.read(time, None)["2m_temperature"] for reader in (packed, exact)]
        assert np.abs(two[0] - two[1]).max() <= 5 * (0.5 / 4096 + 1e-5)
    assert max(errors) <= np.expm1(half * 1.01) + 1e-6 and max(errors) > 0.2 * half
    assert max(errors) < 4e-4
    scale = [5 / 4096, max(deviation / 4096, reach / (2**15 - 1))]
    np.testing.assert_allclose(stored["scale"], scale, rtol=1e-5)
    fields = FieldSet(measured=OWN)
    window = small.WINDOW.model_copy(update={"input_grid": grid})
    seen = [
        Samples(SampleFrames(window, fields, [path], small.split(DAYS))).batch([2]).target.surface["hail"]
        for path in (data, tmp_path / "packed")
    ]
    # what the model sees is off by half a step of the logarithm
    assert 0 < float((seen[0] - seen[1]).abs().max()) <= half * 1.01 + 2e-6


def test_a_transformed_variable_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    data, known = hail_period(tmp_path, np.nan)
    with pytest.raises(ValueError, match=r"hail at 2001-02-01T18.*: 1 values are not finite"):
        pack(PackSpec(variables=OWN, grids=(small.FINE,)), data, known, tmp_path / "packed")
