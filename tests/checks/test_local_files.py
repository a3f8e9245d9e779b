"""Experiments on files of one's own: what the files lack is said before any job, from their headers."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml

from tests.experiments import put, values
from weatherpeft.checks.samples import counts
from weatherpeft.checks.weights import unfilled
from weatherpeft.cli import main
from weatherpeft.config import Experiment

Change = Callable[[dict[str, Any]], Any]
SPAN = {"start": "2020-03-01", "end": "2020-03-05"}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def day(number: int, hours: int = 6) -> xr.Dataset:
    """A day of temperature on two levels and at 2 m, and a mask, on a global grid of 7.5 degrees."""
    start = np.datetime64("2020-03-01", "ns") + np.timedelta64(number, "D")
    times = start + np.arange(0, 24, hours).astype("timedelta64[h]")
    latitude, longitude = np.arange(86.25, -90, -7.5), np.arange(0, 360, 7.5)
    shape = (times.size, 2, latitude.size, longitude.size)
    axes = ("time", "level", "latitude", "longitude")
    return xr.Dataset(
        {
            "t": (axes, np.full(shape, 280, "f4"), {"units": "K"}),
            "t2m": (axes[:1] + axes[2:], np.full((shape[0], *shape[2:]), 280, "f4"), {"units": "K"}),
            "lsm": (axes[2:], np.zeros(shape[2:], "f4"), {"units": "1"}),
        },
        {
            "time": times,
            "level": ("level", [500, 850], {"units": "hPa"}),
            "latitude": latitude,
            "longitude": longitude,
        },
    )


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    """An experiment on five files, one a day."""
    folder = tmp_path / "raw"
    folder.mkdir()
    for number in range(5):
        day(number).to_netcdf(folder / f"{number}.nc")
    found = values()
    found["source"] = {"name": "local", "paths": [str(folder / "*.nc")], "span": dict(SPAN)}
    found["variables"] = {
        "surface": ["2m_temperature"],
        "atmospheric": ["temperature"],
        "levels_hpa": [500, 850],
        "static": ["land_sea_mask"],
    }
    periods = [("2020-03-01", "2020-03-03"), ("2020-03-04", "2020-03-04"), ("2020-03-05", "2020-03-05")]
    names = ("train", "validation", "test")
    for name, (start, end) in zip(names, periods, strict=True):
        found["splits"][name] = {"periods": [{"start": start, "end": end}]}
    return found


def check(config: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines that refuse a configuration, without the file; none if it is valid."""
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    status = main(["check", str(path)])
    lines = capsys.readouterr().err.splitlines()
    assert status == (2 if lines else 0)
    return [re.sub(rf"^weatherpeft: error: {path}:\d*:? ?", "", line) for line in lines]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("source.paths", ["none/*.nc"]), "source.paths: no file matches 'none/*.nc'"),
        (put("source.paths", []), "source.paths: expected at least one path"),
        (
            put("source.span.start", "2020-02-29"),
            "source.span: 2m_temperature, 2020-02-29T00:00 UTC is missing (4 of 24 times are)",
        ),
        (
            put("source.span.end", "2020-03-06"),
            "source.span: 2m_temperature, 2020-03-06T00:00 UTC is missing",
        ),
        (put("variables.levels_hpa", [500, 700]), "variables.levels_hpa: temperature has no level 700"),
        (
            put("variables.surface", ["2m_temperature", "surface_pressure"]),
            "variables.surface: surface_pressure: none of the 5 files of source.paths holds it",
        ),
        (
            lambda config: [config["splits"][name].update(members=[1]) for name in config["splits"]],
            "splits: 2m_temperature has no member 1 in the files of source.paths, only none",
        ),
        (put("step_hours", 3), "step_hours: 3 is finer than the data, which is every 6 h"),
    ],
)
def test_what_the_files_lack_is_one_line(
    change: Change, message: str, config: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(config, tmp_path, capsys) == []
    change(config)
    (line,) = check(config, tmp_path, capsys)
    assert line.startswith(message)


def test_a_gap_is_found_in_files_that_were_known(
    config: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(config, tmp_path, capsys) == []
    day(2).isel(time=[0, 1, 3]).to_netcdf(tmp_path / "raw/2.nc")
    (line,) = check(config, tmp_path, capsys)
    assert line.startswith("source.paths: ") and "2020-03-03T12:00 UTC is missing (1 of 20 times are)" in line
    day(2).to_netcdf(tmp_path / "raw/2.nc")
    day(2).to_netcdf(tmp_path / "raw/again.nc")
    (line,) = check(config, tmp_path, capsys)
    assert "2020-03-03T00:00 UTC is there twice, in 2.nc, again.nc" in line


def test_hours_and_gaps_are_declared(
    config: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Noon and evening of four of the five days, of which the last ends at noon."""
    for number in range(5):
        day(number).isel(time=[2, 3] if number < 4 else [2]).to_netcdf(tmp_path / f"raw/{number}.nc")
    (tmp_path / "raw/1.nc").unlink()
    (line,) = check(config, tmp_path, capsys)
    assert "missing are 2020-03-01T00:00, 2020-03-01T06:00, 2020-03-02T00:00 and 10 more" in line
    said = "end: 2020-03-05T12, gaps: [{start: 2020-03-02T12, end: 2020-03-02T18}]"
    assert line.endswith(f"say so in the source's span: hours: [12, 18], {said}")
    config["source"]["span"] |= yaml.safe_load(f"{{hours: [12, 18], {said}}}")
    found = counts(Experiment.parse(config), Experiment.parse(config).task)
    # 18 UTC has a frame six hours before; on the last day there is no 18 UTC.
    assert found == {"train": 2, "validation": 1, "test": 0}
    few = "found none in 20200305-20200305, where the data has 1 times, at 12 UTC"
    assert check(config, tmp_path, capsys)[0] == (
        f"splits.test: expected a whole sample of task, which spans 6 h at steps of 6 h, {few}"
    )


def test_a_file_that_cannot_be_read_is_named(
    config: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "raw/3.nc"
    path.write_bytes(path.read_bytes()[:2000])
    (line,) = check(config, tmp_path, capsys)
    assert line.startswith(f"source.paths: {path}: truncated or damaged NetCDF4")
    day(3).assign(t=day(3).t.assign_attrs(units="furlong")).to_netcdf(path)
    (line,) = check(config, tmp_path, capsys)
    assert line.startswith(f"source.paths: {path}: temperature: ") and "furlong" in line


def test_a_grid_that_reaches_beyond_the_data(
    config: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(5):
        day(number).sel(latitude=slice(90, 20)).to_netcdf(tmp_path / f"raw/{number}.nc")
    lines = check(config, tmp_path, capsys)
    assert [line.partition(":")[0] for line in lines] == ["task.target_grid", "task.input_grid"]
    assert all("the source does not reach" in line and "9×48" in line for line in lines)


def test_files_on_different_grids(
    config: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    day(4).sel(latitude=slice(90, 20)).to_netcdf(tmp_path / "raw/4.nc")
    (line,) = check(config, tmp_path, capsys)
    assert "4.nc: 2m_temperature: expected the grid 24×48" in line and "found 9×48" in line


def test_a_checkpoint(config: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    del config["pretraining"]
    path = tmp_path / "own.ckpt"
    config["checkpoint"] = str(path)
    assert check(config, tmp_path, capsys) == [f"checkpoint: {path}: no such file"]
    experiment = Experiment.parse(config)
    experiment.backbone.build(experiment.inputs, experiment.task, 0).save(path)
    assert check(config, tmp_path, capsys) == []
    put("backbone.embed_dim", 32)(config)
    (line,) = check(config, tmp_path, capsys)
    assert line.startswith(f"checkpoint: {path}: checkpoint does not fit the model: ")
    path.write_bytes(b"no weights")
    (line,) = check(config, tmp_path, capsys)
    assert line.startswith(f"checkpoint: {path}: not a checkpoint")


def test_a_model_without_memory_has_the_same_shapes() -> None:
    experiment = Experiment.parse(values())
    empty = unfilled(experiment)
    real = experiment.backbone.build(experiment.inputs, experiment.task, 0)
    shapes = {name: each.shape for name, each in real.named_parameters()}
    assert {name: each.shape for name, each in empty.named_parameters()} == shapes
    assert sum(each.is_meta for each in empty.parameters()) > 20


def later(config: dict[str, Any]) -> None:
    """A day more than there is."""
    config["source"]["spans"][0]["end"] = config["splits"]["test"]["periods"][0]["end"] = "2020-03-06"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            put("variables.surface", ["2m_temperature", "surface_pressure"]),
            "surface_pressure is missing; found",
        ),
        (put("variables.levels_hpa", [500, 700]), "700"),
        (later, "2020-03-06T00:00"),
        (put("source.rename", {"other": "2m_temperature"}), "2m_temperature is missing"),
        (put("source.area", [60, 0, 30, 40]), "(input|target)_grid: .* the data has 4×6"),
        (put("source.path", "none.zarr"), "expected a store, found none at .*none.zarr"),
    ],
)
def test_what_a_store_in_a_folder_lacks_is_said_before_any_job(
    config: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Change, message: str
) -> None:
    """From its metadata and coordinates, as of files."""
    days = xr.concat([day(number) for number in range(5)], "time", data_vars="minimal")
    days.to_zarr(tmp_path / "own.zarr", zarr_format=2)
    config["source"] = {"name": "xarray", "path": str(tmp_path / "own.zarr"), "spans": [dict(SPAN)]}
    assert check(config, tmp_path, capsys) == []
    change(config)
    lines = check(config, tmp_path, capsys)
    assert re.search(message, lines[0]) and len(lines) <= 2, lines
