"""Runs of real workflows, as models: the same forecasts as the workflow's own, bit for bit."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import weatherpeft
from tests.faults.experiment import EXPERIMENTS
from tests.workflow.workflow import Checkout
from weatherpeft.artifacts import predictions
from weatherpeft.artifacts.store import open_dataset
from weatherpeft.cli import main
from weatherpeft.sources.formats.files import raw_files
from weatherpeft.tuned.raw import Wanted, from_files

RUNS = {
    "downscaling": ("lora-seed0", "weatherpeft-seed0"),
    "rain": ("linear_probe-seed0",),
    "ensemble": ("full-seed0", "weatherpeft-seed0"),
}


class Experiment:
    """A finished experiment and the raw files of its test period."""

    def __init__(self, name: str, folder: Path) -> None:
        self.checkout = Checkout.of_repository(folder)
        config = self.checkout.changed_config(EXPERIMENTS[name])
        self.checkout.snakemake(config=config)
        self.name, self.results = name, folder / "results" / "test"

    def run(self, label: str) -> Path:
        return self.results / "runs" / label

    def raw(self) -> list[Path]:
        *_, period = sorted((self.results / "raw").iterdir())
        parts = json.loads((period / "paths.json").read_text())
        return [file for part in parts for file in raw_files(self.checkout.folder / part)]

    def predictions(self, label: str) -> xr.Dataset:
        return open_dataset(self.results / "predictions" / label / "predictions.zarr").load()


@pytest.fixture(scope="module")
def experiments(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Experiment]:
    made: dict[str, Experiment] = {}

    def experiment(name: str) -> Experiment:
        if name not in made:
            made[name] = Experiment(name, tmp_path_factory.mktemp(name) / "clone")
        return made[name]

    return experiment


def same(found: xr.Dataset, expected: xr.Dataset) -> None:
    """The workflow's samples are among those found, which need no target in the data."""
    assert set(found.data_vars) == set(expected.data_vars)
    found = found.sel(time=expected["time"])
    for name, array in expected.data_vars.items():
        assert found[name].dims == array.dims
        np.testing.assert_array_equal(found[name].values, array.values, err_msg=str(name))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "label"), [(name, label) for name, labels in RUNS.items() for label in labels]
)
def test_files_give_the_forecasts_of_the_workflow(
    experiments: Callable[[str], Experiment], tmp_path: Path, name: str, label: str
) -> None:
    """From the run, and from an adapter's folder in a fresh process, with upstream's weights alone."""
    experiment = experiments(name)
    tuned = weatherpeft.load(experiment.run(label), device="cpu")
    tuned.apply(experiment.raw(), tmp_path / "forecast.zarr")
    found = xr.open_zarr(tmp_path / "forecast.zarr").load()
    expected = experiment.predictions(label)
    same(found, expected)
    assert all(array.attrs["units"] for array in found.data_vars.values())

    adapter, base = tmp_path / "adapter", tmp_path / "base.ckpt"
    tuned.save(adapter)
    call = ["apply", "--adapter", adapter, "--output", tmp_path / "again.nc", "--device", "cpu"]
    if tuned.config.base:
        shutil.copyfile(experiment.results / "pretrained" / "pretrained.ckpt", base)
        call += ["--base", base]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "weatherpeft", *map(str, call), "--input", *map(str, experiment.raw())]
    subprocess.run(words, check=True, cwd=tmp_path, env=environment)
    with xr.open_dataset(tmp_path / "again.nc", decode_timedelta=True) as again:
        same(again.load(), expected)
    there = {path.name for path in tmp_path.iterdir()}
    assert there - {"base.ckpt"} == {"adapter", "again.nc", "forecast.zarr"}
    card = (adapter / "README.md").read_text()
    assert f"# {label} of test" in card and "\n| --- | --- |" in card


@pytest.mark.slow
def test_a_dataset_gives_the_same(experiments: Callable[[str], Experiment]) -> None:
    """With other names, in other order and units; without what the model does not read."""
    experiment = experiments("downscaling")
    tuned = weatherpeft.load(experiment.run("lora-seed0"), device="cpu")

    canonical = canonical_of(experiment, tuned)
    dataset = canonical.rename({"2m_temperature": "t2m", "latitude": "lat", "longitude": "lon"})
    dataset["t2m"] = dataset["t2m"].assign_attrs(units="K")
    same(tuned.predict(dataset), experiment.predictions("lora-seed0"))
    one = tuned.predict(canonical.isel(time=slice(2, 4)).isel(latitude=slice(None, None, -1)))
    assert one.sizes["time"] == 1
    same(tuned.predict(canonical), experiment.predictions("lora-seed0"))
    for wrong, message in (
        (canonical.drop_vars("temperature"), "the dataset: temperature is missing; found"),
        (canonical.sel(level=[500]), "level|850"),
        (canonical.isel(time=[0]), "no time can be predicted: it needs fields at -6, \\+0 h"),
        (canonical.isel(latitude=slice(0, 10)), "beyond|reach|cover|grid"),
        (canonical.assign({"temperature": canonical["temperature"] + 500}), "the dataset: temperature, time"),
    ):
        with pytest.raises(ValueError, match=message):
            tuned.predict(wrong)


def canonical_of(experiment: Experiment, tuned: weatherpeft.Tuned) -> xr.Dataset:
    """The raw fields in memory."""
    wanted = Wanted.of(tuned.config.model.fields.measured)
    dataset = from_files(experiment.raw(), wanted, {}).load()
    for array in dataset.data_vars.values():
        array.encoding.clear()
    return dataset


@pytest.mark.slow
def test_a_killed_call_goes_on(
    experiments: Callable[[str], Experiment], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = experiments("downscaling")
    output = tmp_path / "forecast.zarr"
    written: list[int] = []
    real = predictions.fill_predictions

    def stopping(*arguments: Any, **more: Any) -> None:
        (index,) = arguments[4]
        if len(written) == 2 and index == 2:
            written.append(-1)
            raise KeyboardInterrupt
        written.append(index)
        real(*arguments, **more)

    monkeypatch.setattr("weatherpeft.tuned.model.fill_predictions", stopping)
    tuned = weatherpeft.load(experiment.run("lora-seed0"), device="cpu")
    with pytest.raises(KeyboardInterrupt):
        tuned.apply(experiment.raw(), output)
    assert not output.exists()
    tuned.apply(experiment.raw(), output)
    assert written == [0, 1, -1, *range(2, written[-1] + 1)]
    same(xr.open_zarr(output).load(), experiment.predictions("lora-seed0"))
    assert [path.name for path in tmp_path.iterdir()] == ["forecast.zarr"]
    with pytest.raises(ValueError, match="forecast.zarr: is there already"):
        tuned.apply(experiment.raw(), output)


@pytest.mark.slow
def test_what_does_not_fit_is_one_line(
    experiments: Callable[[str], Experiment], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = experiments("downscaling")
    run = experiment.run("lora-seed0")
    (tmp_path / "empty.grib").touch()
    files = experiment.raw()
    upper = [str(file) for file in files if "pressure" in file.name]
    calls = [
        ([str(tmp_path / "no.grib")], "no.grib"),
        ([str(tmp_path / "empty.grib")], "empty.grib"),
        (upper, "2m_temperature"),
    ]
    for inputs, message in calls:
        words = ["apply", "--adapter", str(run), "--output", str(tmp_path / "f.zarr"), "--input", *inputs]
        assert main(words) == 1
        lines = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
        assert len(lines) == 1 and message in lines[0]
    assert main(["merge", "--run", str(run), "--output", str(tmp_path / "merged.ckpt")]) == 1
    assert "predicts the difference to its last frame" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"empty.grib"}

    copied = tmp_path / "results" / "test"
    shutil.copytree(experiment.results, copied, symlinks=True)
    shutil.rmtree(copied / "statistics")
    with pytest.raises(ValueError, match="was made from .*statistics, which is gone"):
        weatherpeft.load(copied / "runs" / "lora-seed0")
    with pytest.raises(ValueError, match="not a run of this version"):
        weatherpeft.load(experiment.results / "scores" / "lora-seed0")


def test_the_package_is_light() -> None:
    code = (
        "import sys, weatherpeft; sys.exit(bool({'torch', 'xarray', 'numpy', 'pydantic'} & {*sys.modules}))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        weatherpeft.nothing  # noqa: B018
