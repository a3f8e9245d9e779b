"""A tiny planet's forecasts through every stage of post-processing, in one process."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from weatherpeft.jobs import Jobs
from weatherpeft.stages.baseline import baseline
from weatherpeft.stages.download import download
from weatherpeft.stages.efi import efi
from weatherpeft.stages.evaluate import evaluate
from weatherpeft.stages.finetune import finetune
from weatherpeft.stages.fisher import fisher
from weatherpeft.stages.moments import moments
from weatherpeft.stages.predict import predict
from weatherpeft.stages.pretrain import pretrain
from weatherpeft.stages.regrid import regrid
from weatherpeft.stages.report import report
from weatherpeft.stages.standardization import standardization
from weatherpeft.stages.statistics import statistics

CONFIG = Path(__file__).resolve().parents[2] / "config" / "test.yaml"
SPANS = (("2001-01-15", "2001-01-21"), ("2002-01-15", "2002-01-17"), ("2003-01-15", "2003-01-18"))
SURFACE = ["2m_temperature", "10m_u_component_of_wind", "10m_v_component_of_wind"]


def configuration(folder: Path) -> dict[str, Any]:
    """``config/test.yaml`` with three members and the paper's five targets."""
    values: dict[str, Any] = yaml.safe_load(CONFIG.read_text())
    spans = [{"start": start, "end": end} for start, end in SPANS]
    values["source"] |= {"spans": spans, "ensemble": {"members": 3, "resolution_deg": 7.5}}
    values["variables"] |= {"surface": SURFACE, "atmospheric": ["temperature", "geopotential"]}
    values["splits"] = {
        name: {"periods": [span]} for name, span in zip(("train", "validation", "test"), spans, strict=True)
    }
    values["forecasts"] = {
        "members": [1, 2, 3],
        "variables": {
            "surface": [*SURFACE, "total_column_water_vapour", "total_precipitation_48hr"],
            "atmospheric": ["temperature", "geopotential", "vertical_velocity"],
            "levels_hpa": [500, 850],
        },
    }
    values["task"] = {"name": "postprocessing", "grid": {"resolution_deg": 11.25}, "members": 3}
    values["baselines"] = ["ensemble", "emos"]
    values["training"] = {
        "steps": 4, "learning_rate": 1.0e-3, "validate_every": 2, "validation_samples": 2, "batch_size": 2
    }  # fmt: skip
    values["runs"] = {
        "full": {"methods": [{"name": "full"}]},
        "lora": {"methods": [{"name": "lora", "rank": 2}]},
        "weatherpeft": values["runs"]["weatherpeft"],
    }
    return values | {"name": "tiny", "data": str(folder / "data"), "results": str(folder / "results")}


@dataclass(frozen=True)
class Project:
    """An experiment and the places of its artifacts."""

    jobs: Jobs

    @property
    def root(self) -> Path:
        return Path(self.jobs.paths.root)

    def regridded(self, *splits: Any) -> list[Path]:
        return list(map(Path, self.jobs.regridded(*splits)))

    def forecasts(self, *splits: Any) -> list[Path]:
        return list(map(Path, self.jobs.regridded_forecasts(*splits)))

    def prepare(self) -> None:
        """Data, statistics, standardization and index."""
        own, work = self.jobs, self.root / "work"
        for label in own.periods():
            raw, shared = self.root / "raw" / label, Path(own.paths.shared_regridded)
            download(own.download(label), raw, Path(own.paths.shared_raw), work)
            regrid(own.regrid(label), raw, self.root / "regridded" / label, shared)
            regrid(own.regrid_forecasts(label), raw, self.root / "forecasts" / label, shared)
        parts = []
        for label in own.periods("train"):
            parts.append(self.root / "moments" / label)
            moments(own.moments(label), [self.root / "regridded" / label], parts[-1])
        statistics(own.statistics(), parts, self.root / "statistics")
        train, both = (self.regridded("train"), self.forecasts("train")), ("train", "test")
        standardization(own.standardization(), *train, self.root / "standardization")
        efi(own.efi(), self.regridded(*both), self.forecasts(*both), self.root / "efi")

    def pretrain(self) -> None:
        """Weights, and what they know of the task."""
        own, work = self.jobs, self.root / "work"
        data, pretrained = self.regridded("train", "validation"), self.root / "pretrained"
        pretrain(own.pretrain(), data, self.root / "statistics", pretrained, work)
        standard = Path(own.tuning_statistics)
        fisher(
            own.fisher(), self.regridded("train"), standard, self.root / "fisher", pretrained, work,
            self.forecasts("train"),
        )  # fmt: skip

    def run(self, label: str) -> None:
        """Fine-tune, predict and evaluate."""
        own, splits = self.jobs, ("train", "validation")
        needed, standard = own.run_fisher(label), Path(own.tuning_statistics)
        pretrained = self.root / "pretrained" if own.run_pretrained(label) else None
        finetune(
            own.finetune(label), self.regridded(*splits), standard, self.root / "runs" / label,
            self.root / "work", pretrained, Path(needed[0]) if needed else None, self.forecasts(*splits),
        )  # fmt: skip
        predict(
            own.predict(label), self.regridded("test"), standard, self.root / "predictions" / label,
            self.root / "runs" / label, pretrained, self.forecasts("test"),
        )  # fmt: skip
        self.evaluate(label)

    def baseline(self, name: Any) -> None:
        """Predict and evaluate."""
        splits, output = ("train", "test"), self.root / "predictions" / name
        spec = self.jobs.baseline(name)
        baseline(spec, self.regridded(*splits), output, forecasts=self.forecasts(*splits))
        self.evaluate(name)

    def evaluate(self, label: str) -> None:
        own, index = self.jobs, Path(self.jobs.efi_path[0])
        forecast, scores = (self.root / part / label for part in ("predictions", "scores"))
        evaluate(own.evaluate(label), self.regridded("test"), forecast, scores, efi=index)

    def report(self) -> Path:
        own = self.jobs
        labels = own.forecast_labels()
        report(
            own.report(), self.regridded("test"), [self.root / "scores" / label for label in labels],
            [self.root / "predictions" / label for label in labels],
            [self.root / "runs" / label for label in own.run_labels()], self.root / "report",
            pretrained=self.root / "pretrained", forecasts=self.forecasts("test"),
        )  # fmt: skip
        return self.root / "report"
