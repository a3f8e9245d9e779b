"""A small made-up experiment whose scores are chosen by hand, for tests of the report."""

import json
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from tests.small_data import write_store
from weatherpeft.artifacts import store
from weatherpeft.artifacts.costs import COST
from weatherpeft.artifacts.predictions import write_predictions
from weatherpeft.fields.grid import Grid
from weatherpeft.fields.variables import FieldSet, VariableSet, channel_label
from weatherpeft.samples.splits import Split
from weatherpeft.samples.window import Window
from weatherpeft.spec import Period, Spec
from weatherpeft.stages.report import ReportedRun, ReportSpec, report
from weatherpeft.verification.scoring import FieldScoring

VARIABLES = VariableSet(
    surface=("2m_temperature", "10m_u_component_of_wind"),
    atmospheric=("temperature", "geopotential", "specific_humidity"),
    levels_hpa=(500, 850),
    static=("land_sea_mask",),
)
LABELS = [channel_label(name, level) for name, level in VARIABLES.channels()]
UNITS = {
    "2t": 1.0,
    "10u": 1.0,
    "t500": 1.0,
    "t850": 1.0,
    "z500": 50.0,
    "z850": 40.0,
    "q500": 2e-4,
    "q850": 5e-4,
}
"""RMSE of the field in the made-up scores, where the run's factor is 1."""
FACTORS = {
    "interpolation": 4.0,
    "regression": 3.0,
    "full-seed0": 1.0,
    "full-seed1": 1.2,
    "lora-seed0": 1.5,
    "lora-seed1": 1.8,
    "full_random-seed0": 2.0,
    "full_random-seed1": 2.4,
}
COUNTS = {"full": (1000, 1500), "lora": (120, 620), "full_random": (1000, 1500)}
TEST = Split(periods=(Period(start=date(2001, 3, 1), end=date(2001, 3, 2)),))
STAGE = "weatherpeft.stages.report"


class Made(Spec):
    """Stands for the spec of another stage."""

    note: str


class MadeModel(Spec):
    """Stands for what rebuilds a tuned model."""

    methods: str
    pretrained: bool
    seed: int


class MadeRun(Spec):
    """Stands for the spec of a fine-tuning run."""

    model: MadeModel


def spec_of(source: str = "toy", labels: tuple[str, ...] = tuple(FACTORS), split: Split = TEST) -> ReportSpec:
    runs = []
    for label in labels:
        if "-seed" in label:
            name, seed = label.split("-seed")
            runs.append(
                ReportedRun(
                    label=label,
                    name=name,
                    seed=int(seed),
                    start="random" if name.endswith("_random") else "pretrained",
                    reference=name.startswith("full"),
                )
            )
    return ReportSpec(
        experiment="tiny",
        source=source,
        synthetic=source == "toy",
        fields=FieldSet(measured=VARIABLES, placeholders={"10m_v_component_of_wind": 0.5, "soil_type": 3.0}),
        scoring=FieldScoring(variables=VARIABLES, grid=Grid(resolution_deg=11.25)),
        window=Window(
            input_grid=Grid(resolution_deg=22.5),
            target_grid=Grid(resolution_deg=11.25),
            input_hours=(-6, 0),
            target_hours=(0,),
        ),
        baselines=tuple(label for label in labels if "-seed" not in label),
        runs=tuple(runs),
        test=split,
    )


def fields_of(grid: Grid, members: tuple[int, ...] = ()) -> xr.Dataset:
    """Smooth fields that differ by variable, level, time and member."""
    times = np.arange("2001-03-01", "2001-03-03", 6, dtype="datetime64[h]").astype("datetime64[ns]")
    latitude, longitude = np.deg2rad(grid.latitude)[:, None], np.deg2rad(grid.longitude)[None, :]
    wave = np.cos(latitude) * np.sin(3 * longitude)
    means = {"2m_temperature": 285, "temperature": 260, "geopotential": 5e4, "specific_humidity": 4e-3}
    sizes = {"geopotential": 900, "specific_humidity": 1e-3}
    count = max(1, len(members))
    data: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
    for number, name in enumerate((*VARIABLES.surface, *VARIABLES.atmospheric)):
        shift = 0.3 * np.arange(times.size)[:, None, None] + 0.5 * np.arange(count)[:, None, None, None]
        field = means.get(name, 0) + sizes.get(name, 8) * (
            wave * np.cos(shift + number) + 2 * np.cos(latitude)
        )
        dims: tuple[str, ...] = ("member", "time", "latitude", "longitude")
        if name in VARIABLES.atmospheric:
            field = np.stack([field, 1.1 * field], axis=2)
            dims = ("member", "time", "level", "latitude", "longitude")
        data[name] = (dims, field.astype(np.float32))
    data["land_sea_mask"] = (("latitude", "longitude"), (wave + 0.5).clip(0, 1).astype(np.float32))
    coordinates = {"time": times, "level": [500, 850], "latitude": grid.latitude, "longitude": grid.longitude}
    dataset = xr.Dataset(data, coords=coordinates)
    return dataset.assign_coords(member=list(members)) if members else dataset.isel(member=0)


class Built:
    """Paths of a made-up experiment."""

    def __init__(self, root: Path, spec: ReportSpec) -> None:
        self.root, self.spec = root, spec
        labels = [*spec.baselines, *(run.label for run in spec.runs)]
        members = spec.test.members
        self.data = [root / "regridded" / "20010301-20010302"]
        with store.artifact(self.data[0], Made(note="data"), STAGE) as directory:
            for grid in (spec.window.input_grid, spec.window.target_grid):
                path = directory / f"{grid.label}.zarr"
                write_store(fields_of(grid, members), grid, VARIABLES, path)
        self.samples = spec.window.frames(spec.fields, self.data, spec.test)
        self.times = np.unique([sample.time for sample in self.samples.samples])
        self.scores = [self.write_scores(label) for label in labels]
        self.predictions = [self.write_predictions(label) for label in labels]
        self.runs = [self.write_run(run.label) for run in spec.runs]
        self.pretrained = root / "pretrained"
        with store.artifact(self.pretrained, Made(note="pretrained"), STAGE) as directory:
            self.write_history(directory, 1.0)
        self.benchmarks = root / "benchmarks"
        self.benchmarks.mkdir()
        header = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
        for label in labels[2:]:
            text = header + "125.5\t0:02:05\t2048.0\t9.0\t9.0\t9.0\t0.0\t0.0\t98.0\t120.0\n"
            (self.benchmarks / f"finetune-{label}.tsv").write_text(text)
        (self.benchmarks / "statistics.tsv").write_text(
            header + "0.3\t0:00:00\tNA\tNA\tNA\tNA\t-\t-\t0.0\tNA\n"
        )

    def write_scores(self, label: str, channels: tuple[str, ...] = tuple(LABELS)) -> Path:
        """RMSE at time n is factor · unit · (1 + (n - middle) / 10), so that its mean is known."""
        path = self.root / "scores" / label
        ramp = 1 + (np.arange(self.times.size) - (self.times.size - 1) / 2) / 10
        rmse = FACTORS.get(label, 1.0) * ramp[:, None] * np.array([UNITS.get(name, 1.0) for name in channels])
        dims: tuple[str, ...] = ("time", "channel")
        if self.spec.test.members:
            rmse, dims = np.stack([0.5 * rmse, 1.5 * rmse]), ("member", *dims)
        dataset = xr.Dataset(
            {"rmse": (dims, rmse), "bias": (dims, -rmse / 4)},
            coords={"time": self.times.astype("datetime64[ns]"), "channel": list(channels)},
        )
        shutil.rmtree(path, ignore_errors=True)
        with store.artifact(path, Made(note=label), STAGE) as directory:
            store.write_dataset(dataset, directory / "scores.zarr")
        return path

    def write_predictions(self, label: str) -> Path:
        path = self.root / "predictions" / label
        generator = np.random.default_rng(len(label))

        def predict(index: int) -> dict[str, np.ndarray]:
            target = self.samples.target(self.samples.samples[index])
            return {
                name: (field + FACTORS[label] * field.std() / 20 * generator.normal(size=field.shape)).astype(
                    "f4"
                )
                for name, field in target.items()
            }

        with store.artifact(path, Made(note=label), STAGE) as directory:
            write_predictions(predict, self.samples, VARIABLES, directory / "predictions.zarr")
        return path

    def write_run(self, label: str) -> Path:
        path = self.root / "runs" / label
        backbone, total = COUNTS.get(label.split("-")[0], (300, 800))
        facts = {"trainable_backbone": backbone, "trainable_total": total}
        facts |= {"touched_backbone": 2 * backbone, "adapter_bytes": 4 * backbone}
        name, seed = label.split("-seed")
        methods = name.removesuffix("_random")
        model = MadeModel(methods=methods, pretrained=methods == name, seed=int(seed))
        with store.artifact(path, MadeRun(model=model), STAGE, (), facts, [COST]) as directory:
            self.write_history(directory, FACTORS[label])
            cost = {"seconds_per_step": 0.5, "peak_memory_bytes": 2 * 10**9}
            (directory / COST).write_text(json.dumps(cost))
        return path

    def write_history(self, directory: Path, factor: float) -> None:
        step = np.arange(1, 201)
        noise = np.exp(0.2 * np.random.default_rng(7).normal(size=200))
        dataset = xr.Dataset(
            {
                "train_loss": ("step", factor * (0.1 + np.exp(-step / 40)) * noise),
                "validation_loss": (
                    "validation_step",
                    factor * (0.12 + np.exp(-np.arange(50, 201, 50) / 40)),
                ),
            },
            coords={"step": step, "validation_step": np.arange(50, 201, 50)},
        )
        store.write_dataset(dataset, directory / "history.zarr")

    def report(self, output: Path, **changes: Any) -> Path:
        arguments: dict[str, Any] = {
            "spec": self.spec,
            "data": self.data,
            "scores": self.scores,
            "predictions": self.predictions,
            "runs": self.runs,
            "benchmarks": self.benchmarks,
            "pretrained": self.pretrained,
        }
        report(**{**arguments, **changes}, output=output)
        return output
