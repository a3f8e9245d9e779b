"""Stage ``pack``: the int16 copy of the fields, against the exact ones."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

from tests import small_data as small
from weatherpeft.artifacts import store
from weatherpeft.artifacts.fields import FieldReader
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
