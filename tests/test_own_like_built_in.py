"""A variable of one's own is treated like a built-in one of the same kind: copies under another name."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from weatherpeft.artifacts import store
from weatherpeft.config import Experiment
from weatherpeft.jobs import Jobs
from weatherpeft.stages.baseline import baseline
from weatherpeft.stages.climatology import climatology
from weatherpeft.stages.download import download
from weatherpeft.stages.evaluate import evaluate
from weatherpeft.stages.moments import moments
from weatherpeft.stages.regrid import regrid
from weatherpeft.stages.series import series
from weatherpeft.stages.statistics import statistics

BOX = {"resolution_deg": 11.25, "region": {"north": 45, "south": -45, "west": 0, "east": 79}}
DRY = 1e-4  # WeatherBench 2's, in meters, for sums of six hours
COPIES: dict[str, dict[str, Any]] = {
    "total_precipitation": {"kind": "accumulated", "units": "m", "minimum": 0, "plausible": [-0.01, 0.5]},
    "2m_temperature": {"kind": "surface", "units": "K", "plausible": [170, 340]},
    "temperature": {"kind": "atmospheric", "units": "K", "plausible": [150, 350]},
    "soil_type": {"kind": "static", "units": "1", "categorical": True, "plausible": [0, 20]},
}


def copied(name: str) -> str:
    """The name of the copy of a variable, or of a sum of its hours."""
    return f"own_{name}"


def write_file(path: Path, rename: dict[str, str]) -> None:
    """Five days of hourly rain and of fields every six hours, with the variables under other names."""
    random = np.random.default_rng(0)
    latitude, longitude = np.arange(84.375, -90, -11.25), np.arange(0, 360, 11.25)
    axes = {"latitude": latitude, "longitude": longitude}
    hours = np.arange("2020-03-01T00", "2020-03-06T00", dtype="datetime64[h]").astype("datetime64[ns]")
    shape = (latitude.size, longitude.size)
    falls = random.random((hours.size, *shape)) < 0.1  # so that SEEPS has dry and wet sums
    rain = np.where(falls, random.gamma(0.3, 1e-2, falls.shape), 0).astype("f4")
    arrays: dict[str, Any] = {
        "total_precipitation": (("time", *axes), rain, {"units": "m"}),
        "2m_temperature": (("time", *axes), random.normal(280, 5, (hours.size, *shape)), {"units": "K"}),
        "temperature": (
            ("time", "level", *axes),
            random.normal(260, 5, (hours.size, 2, *shape)),
            {"units": "K"},
        ),
        "soil_type": (tuple(axes), random.integers(0, 8, shape).astype("f4"), {"units": "1"}),
    }
    level = ("level", [500, 850], {"units": "hPa", "standard_name": "air_pressure"})
    dataset = xr.Dataset(arrays, {"time": hours, "level": level, **axes})
    dataset.rename(rename).to_netcdf(path)


def experiment(folder: Path, names: dict[str, str], define: dict[str, Any]) -> Experiment:
    """Rain of later hours, with each variable under the name that a mapping gives it."""
    rain = f"{names['total_precipitation']}_6hr"
    own = {"variable": rain, "dry_threshold": DRY} if define else {}
    day = "2020-03-0{}".format
    return Experiment.parse(
        {
            "name": "like",
            "data": "data",
            **({"define": define} if define else {}),
            "source": {
                "name": "local",
                "paths": [str(folder / "file.nc")],
                "span": {"start": day(1), "end": day(5)},
            },
            "variables": {
                "surface": [names["2m_temperature"], rain],
                "accumulated": [names["total_precipitation"]],
                "atmospheric": [names["temperature"]],
                "levels_hpa": [500, 850],
                "static": [names["soil_type"]],
            },
            "placeholders": {"land_sea_mask": 1.0},
            "splits": {
                "train": {"periods": [{"start": day(1), "end": day(2)}]},
                "validation": {"periods": [{"start": day(3), "end": day(3)}]},
                "test": {"periods": [{"start": day(4), "end": day(5)}]},
            },
            "task": {
                "name": "precipitation",
                "grid": BOX,
                "history_hours": 6,
                "lead_times_hours": [6, 12],
                **own,
            },
            "backbone": {"name": "aurora", "patch_size": 2},
            "training": {"steps": 1, "learning_rate": 1e-3},
            "baselines": ["persistence", "climatology"],
            "runs": {"full": {"methods": [{"name": "full"}], "start": "random"}},
        }
    )


def made(folder: Path, names: dict[str, str], define: dict[str, Any]) -> dict[str, xr.Dataset]:
    """What the stages of an experiment make, before a network comes in."""
    folder.mkdir()
    write_file(folder / "file.nc", {name: other for name, other in names.items() if name != other})
    jobs = Jobs(experiment(folder, names, define))
    (label,) = jobs.periods()
    raw, data = folder / "raw", folder / "data"
    download(jobs.download(label), raw, folder / "shared/raw", folder / "work")
    regrid(jobs.regrid(label), raw, data, folder / "shared/regridded")
    moments(jobs.moments(label), [data], folder / "moments")
    statistics(jobs.statistics(), [folder / "moments"], folder / "statistics")
    series(jobs.series(label), [data], folder / "series")
    climatology(jobs.climatology(), [folder / "series"], folder / "climatology")
    found = {
        "statistics": folder / "statistics/statistics.zarr",
        "climatology": folder / "climatology/climatology.zarr",
    }
    for name in ("persistence", "climatology"):
        usual = folder / "climatology"
        baseline(jobs.baseline(name), [data], folder / name / "predicted", usual)
        evaluate(jobs.evaluate(name), [data], folder / name / "predicted", folder / name / "scores", usual)
        found |= {
            f"{name}, predictions": folder / name / "predicted/predictions.zarr",
            f"{name}, scores": folder / name / "scores/scores.zarr",
        }
    (regridded,) = (folder / "shared/regridded").rglob("11.25deg*.zarr")
    return {name: store.open_dataset(path).load() for name, path in {**found, "data": regridded}.items()}


@pytest.fixture(scope="module")
def built_in(tmp_path_factory: pytest.TempPathFactory) -> dict[str, xr.Dataset]:
    return made(tmp_path_factory.mktemp("like") / "built_in", {name: name for name in COPIES}, {})


@pytest.mark.slow
@pytest.mark.parametrize("which", [*COPIES], ids=lambda which: COPIES[which]["kind"])
def test_the_stages_make_the_same_of_a_copy(
    which: str, built_in: dict[str, xr.Dataset], tmp_path: Path
) -> None:
    names = {name: copied(name) if name == which else name for name in COPIES}
    found = made(tmp_path / "own", names, {copied(which): COPIES[which]})
    assert found.keys() == built_in.keys()
    for name, expected in built_in.items():
        ours = {str(each).replace(copied(which), which): each for each in found[name].data_vars}
        assert ours.keys() == set(expected.data_vars), name
        for each, own in ours.items():
            one, other = found[name][own], expected[each]
            assert one.dims == other.dims and one.dtype == other.dtype
            assert one.values.tobytes() == other.values.tobytes(), (name, own)
            assert one.attrs.get("units") == other.attrs.get("units")
    assert np.isfinite(found["persistence, scores"]["seeps"]).any()
