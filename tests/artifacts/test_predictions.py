"""The store of predictions: every field where its time, lead time and member say, as others read it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

from tests.small_data import period
from weatherpeft.artifacts.predictions import create_predictions, fill_predictions, write_predictions
from weatherpeft.fields.grid import Grid
from weatherpeft.fields.variables import VariableSet
from weatherpeft.samples.frames import Sample, SampleFrames
from weatherpeft.samples.splits import Split
from weatherpeft.samples.window import Window

GRID = Grid(resolution_deg=45)
RAIN = "total_precipitation_6hr"
VARIABLES = VariableSet(
    surface=("2m_temperature", RAIN),
    atmospheric=("temperature",),
    accumulated=("total_precipitation",),
    levels_hpa=(500, 850),
)
TIMES = [np.datetime64(f"2001-02-0{day}T12", "ns") for day in (3, 1)]


class Foretold(SampleFrames):
    """Samples without data: their times in no order, members and lead times."""

    def __init__(self, leads: tuple[int, ...] = (0,), members: tuple[int, ...] = ()) -> None:
        self.window = Window(input_grid=GRID, target_grid=GRID, input_hours=(0,), target_hours=leads)
        self.split = Split(periods=(period("2001-02-01", "2001-02-04"),), members=members)
        self.samples = [
            Sample(time, member, lead) for time in TIMES for member in members or (None,) for lead in leads
        ]


class Distribution(Foretold):
    """Temperature is a target at 850 hPa alone, as a mean and a standard deviation."""

    suffixes = "", "_std"

    def levels_left_out(self, name: str) -> list[int]:
        return [0] if name == "temperature" else []


def fields_of(index: int, numbers: Sequence[int] = ()) -> dict[str, np.ndarray]:
    """A sample's fields: no two values of all samples are equal."""
    shapes = {"2m_temperature": GRID.shape, RAIN: GRID.shape, "temperature": (2, *GRID.shape)}
    size = (len(numbers),) if numbers else ()
    return {
        name: np.random.default_rng((index, place)).uniform(0, 300, (*size, *shape)).astype(np.float32)
        for place, (name, shape) in enumerate(shapes.items())
    }


def opened(path: Path) -> xr.Dataset:
    return xr.open_zarr(path, decode_timedelta=True).load()


@pytest.mark.parametrize("members", [(), (4, 2)])
@pytest.mark.parametrize("leads", [(0,), (12,), (12, 36)])
@pytest.mark.parametrize("numbers", [(), (5, 0, 7)])
def test_every_field_is_where_its_sample_says(
    tmp_path: Path, leads: tuple[int, ...], members: tuple[int, ...], numbers: tuple[int, ...]
) -> None:
    samples = Foretold(leads, members)
    path = tmp_path / "predictions.zarr"
    write_predictions(lambda index: fields_of(index, numbers), samples, VARIABLES, path, numbers)
    found = opened(path)
    outer = ["member"] * bool(members) + ["number"] * bool(numbers) + ["time"]
    outer += ["prediction_timedelta"] * (leads != (0,))
    assert found[RAIN].dims == (*outer, "latitude", "longitude")
    assert found["temperature"].dims == (*outer, "level", "latitude", "longitude")
    assert set(found.data_vars) == {"2m_temperature", RAIN, "temperature"}
    assert all(array.dtype == np.float32 for array in found.data_vars.values())
    assert found["time"].values.tolist() == sorted(int(time) for time in TIMES)
    np.testing.assert_array_equal(found["latitude"], GRID.latitude)
    np.testing.assert_array_equal(found["longitude"], GRID.longitude)
    for index, sample in enumerate(samples.samples):
        own = found.sel(time=sample.time)
        if members:
            own = own.sel(member=sample.member)
        if leads != (0,):
            own = own.sel(prediction_timedelta=np.timedelta64(sample.lead_hours, "h"))
        for name, expected in fields_of(index, numbers).items():
            np.testing.assert_array_equal(own[name].values, expected)
    if numbers:
        assert found["number"].values.tolist() == list(numbers)
    chunks = zarr.open_array(path / "temperature", mode="r").chunks
    assert chunks == (*(1 for _ in outer), 2, *GRID.shape), "a chunk is a field"


def test_samples_may_be_written_apart(tmp_path: Path) -> None:
    samples, asked = Foretold((12, 36)), []
    for name in ("whole", "parts"):
        create_predictions(samples, VARIABLES, tmp_path / name)

    def predict(index: int) -> dict[str, np.ndarray]:
        asked.append(index)
        return fields_of(index)

    fill_predictions(predict, samples, VARIABLES, tmp_path / "whole", range(4))
    for indices in ((3, 0), (2,), (1,)):
        fill_predictions(predict, samples, VARIABLES, tmp_path / "parts", indices)
    assert asked == [0, 1, 2, 3, 3, 0, 2, 1]
    xr.testing.assert_identical(opened(tmp_path / "parts"), opened(tmp_path / "whole"))


def test_there_is_no_less_than_no_rain(tmp_path: Path) -> None:
    fields = {name: -field - 1 for name, field in fields_of(0).items()}
    fields[RAIN][0, 0] = 0.25
    write_predictions(lambda index: fields, Foretold(), VARIABLES, tmp_path / "a.zarr")
    found = opened(tmp_path / "a.zarr")
    assert (found[RAIN][:, 0, 0] == 0.25).all() and int((found[RAIN] == 0).sum()) == found[RAIN].size - 2
    np.testing.assert_array_equal(found["2m_temperature"][0], fields["2m_temperature"])
    assert fields[RAIN].min() < 0, "the prediction itself is left as it is"


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["2m_temperature", "temperature"])
def test_what_is_not_finite_is_named(tmp_path: Path, name: str, value: float) -> None:
    def predict(index: int) -> dict[str, np.ndarray]:
        fields = fields_of(index)
        fields[name][..., 1, 2] = value if index == 1 else 1
        return fields

    with pytest.raises(ValueError, match=f"prediction of {name} at 2001-02-05T00.* is not finite"):
        write_predictions(predict, Foretold((12, 36)), VARIABLES, tmp_path / "a.zarr")


def test_levels_that_are_no_target_hold_nan(tmp_path: Path) -> None:
    fields = fields_of(0) | {f"{name}_std": spread for name, spread in fields_of(1).items()}
    fields["temperature"][0, 1] = np.inf  # of a level that is not asked for
    before = fields["temperature"].copy()
    write_predictions(lambda index: fields, Distribution((48,)), VARIABLES, tmp_path / "a.zarr")
    found = opened(tmp_path / "a.zarr").isel(time=0, prediction_timedelta=0)
    assert set(found.data_vars) == fields.keys()
    for name in ("temperature", "temperature_std"):
        assert np.isnan(found[name].sel(level=500)).all()
        np.testing.assert_array_equal(found[name].sel(level=850), fields[name][1])
    np.testing.assert_array_equal(found[f"{RAIN}_std"], fields[f"{RAIN}_std"])
    np.testing.assert_array_equal(fields["temperature"], before)
    numbers = (3, 1)
    members = fields_of(2, numbers)
    write_predictions(lambda index: members, Distribution((48,)), VARIABLES, tmp_path / "m.zarr", numbers)
    found = opened(tmp_path / "m.zarr").isel(time=0, prediction_timedelta=0)
    assert set(found.data_vars) == members.keys(), "members are no distributions"
    assert np.isnan(found["temperature"].sel(level=500)).all()
    np.testing.assert_array_equal(found["temperature"].sel(level=850), members["temperature"][:, 1])

    fields["temperature_std"][1, 1] = np.nan
    with pytest.raises(ValueError, match="prediction of temperature_std at 2001-02-05T12.* is not finite"):
        write_predictions(lambda index: fields, Distribution((48,)), VARIABLES, tmp_path / "b.zarr")
