"""The root configuration: one experiment, and the spec of every job that it needs.

Imported by the command line and the Snakefile alone; light, so that parsing the workflow stays fast.
"""

from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from weatherpeft.backbones import AnyBackbone
from weatherpeft.fields.regions import NamedRegion, check_regions, held_out
from weatherpeft.fields.variables import VARIABLES, FieldSet, VariableSet, accumulation
from weatherpeft.interfaces import DataRequest, Source
from weatherpeft.peft import AnyMethod
from weatherpeft.samples.window import Split, Splits
from weatherpeft.sources import AnyForecastSource, AnySource
from weatherpeft.spec import Period, Spec
from weatherpeft.stages.baseline import Baseline, BaselineSpec
from weatherpeft.stages.climatology import ClimatologySpec
from weatherpeft.stages.download import DownloadSpec
from weatherpeft.stages.efi import EfiSpec
from weatherpeft.stages.evaluate import EvaluateSpec
from weatherpeft.stages.finetune import FinetuneSpec
from weatherpeft.stages.fisher import FisherSpec
from weatherpeft.stages.moments import MomentsSpec
from weatherpeft.stages.pack import PackSpec
from weatherpeft.stages.predict import PredictSpec
from weatherpeft.stages.pretrain import PretrainSpec
from weatherpeft.stages.regrid import RegridSpec
from weatherpeft.stages.report import ReportedRun, ReportSpec
from weatherpeft.stages.series import SeriesSpec
from weatherpeft.stages.standardization import StandardizationSpec
from weatherpeft.stages.statistics import StatisticsSpec
from weatherpeft.stages.weights import WeightsSpec
from weatherpeft.tasks import AnyTask
from weatherpeft.training.model import TunedModelSpec
from weatherpeft.training.spec import Precision, Training

Label = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_]*$")]


class Pretraining(Spec):
    """A pretraining of the experiment's own."""

    task: AnyTask
    training: Training


class Run(Spec):
    """A list of methods, trained together, with what differs from the experiment's training."""

    methods: tuple[AnyMethod, ...] = Field(min_length=1)
    start: Literal["pretrained", "random"] = "pretrained"
    """Weights that the run starts from."""
    learning_rate: float | None = Field(default=None, gt=0)
    """Peak learning rate, if not the experiment's."""
    steps: int | None = Field(default=None, gt=0)
    """Optimizer steps, if not the experiment's."""
    precision: Precision | None = None
    """In what the backbone computes, if not the experiment's."""

    @model_validator(mode="after")
    def _order(self) -> Self:
        for method in self.methods[:-1]:
            if method.takes_the_rest:
                names = ", ".join(each.name for each in self.methods)
                raise ValueError(
                    f"{method.name} works on what the others leave frozen: put it last, found {names}"
                )
        return self


class Forecasts(Spec):
    """Ensemble forecasts, which a task corrects by the analyses of the experiment's source."""

    source: AnyForecastSource | None = None
    """What brings them; if not given, the experiment's source makes them beside its analyses."""
    variables: VariableSet
    """Their fields, which need not be the analyses'."""
    members: tuple[int, ...] = Field(default=tuple(range(1, 11)), min_length=2)
    lead_hours: int = Field(default=48, gt=0)
    step_hours: int = Field(default=24, gt=0)
    """Between valid times, where the source does not know them itself."""
    efi: Literal["exact", "ens10"] = "exact"
    """Form of the extreme forecast index that weights the EECRPS; ``ens10`` is the paper's."""


class Experiment(Spec):
    """From raw data to a scored report."""

    name: Label
    """Names the results' folder."""
    results: str = "results"
    """Where results are written, below a folder with the experiment's name."""
    data: str
    """Where raw data is kept; experiments with the same source may share it."""
    seed: int = 0
    """Of the pretraining and of everything that is not a run."""
    seeds: tuple[int, ...] = (0,)
    """Every run is trained once for each."""
    source: AnySource
    step_hours: int = 6
    """Time step of the instantaneous fields."""
    variables: VariableSet
    """Fields that are in the data."""
    placeholders: dict[str, float] = {}
    """Constant fields that the backbone needs and the data has not; neither trained on nor scored."""
    regridding: Literal["conservative", "bilinear"] = "conservative"
    training_store: Literal["float32", "int16"] = "float32"
    """What training reads: the regridded fields, or a copy that is half as large, in 1/4096 of a
    standard deviation."""
    splits: Splits
    forecasts: Forecasts | None = None
    """Ensemble forecasts whose valid times are in the splits."""
    task: AnyTask
    backbone: AnyBackbone
    pretraining: Pretraining | None = None
    """Pretrain the backbone first."""
    checkpoint: str | WeightsSpec | None = None
    """Pretrained weights in the upstream package's format instead: a file, or one to download."""
    fisher_samples: int = 32
    """Calibration samples of the Fisher warm-up."""
    training: Training
    """Fine-tuning's schedule."""
    runs: dict[Label, Run] = Field(min_length=1)
    """What is compared."""
    baselines: tuple[Baseline, ...] = ("interpolation", "regression")
    regions: dict[Label, NamedRegion] = {}
    """Parts of the task's grid that are scored beside the whole, some perhaps held out of training."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        self._check_ensemble()
        if self.regions and self.task.window.ensemble:
            raise ValueError(f"regions: the task {self.task.name} is not scored by region")
        check_regions(self.task.window.target_grid, self.regions)
        at_a_time = self.variables.stored
        if not (at_a_time.surface or at_a_time.atmospheric):
            raise ValueError("variables: expected a field at a time, whose times samples have; found none")
        self.backbone.check(self.task.window.target_grid, self.inputs)
        if self.pretraining:
            self.backbone.check(self.pretraining.task.window.target_grid, self.fields)
        for name in self.task.needs_climatology:
            stored, _ = accumulation(name) or (name, 0)
            variables = self.variables
            if stored not in (*variables.surface, *variables.atmospheric, *variables.accumulated):
                raise ValueError(f"task {self.task.name} needs the climatology of {name}: not in variables")
        predicted = self._predicted
        for name in (*self.variables.surface, *self.variables.atmospheric):
            if VARIABLES[name].partial:
                raise ValueError(
                    f"task {self.task.name} predicts {name}, which is not defined everywhere; leave it out"
                )
        window = self.task.window
        possible = (
            ("persistence", "climatology") if window.target_hours != (0,) else ("interpolation", "regression")
        )
        if window.ensemble:
            possible = ("ensemble", "emos")
        for baseline in self.baselines:
            if baseline not in possible:
                raise ValueError(
                    f"baselines: {baseline} is no baseline of the task {self.task.name}; expected "
                    f"{' or '.join(possible)}"
                )
        if "climatology" in self.baselines:
            unknown = {*predicted.surface, *predicted.atmospheric} - set(self.task.needs_climatology)
            if unknown:
                raise ValueError(f"baselines: no climatology of {', '.join(sorted(unknown))} is made")
        if self.pretraining and self.checkpoint:
            raise ValueError("give pretraining or checkpoint, not both")
        if not self._has_pretrained:
            for name, run in self.runs.items():
                if run.start == "pretrained":
                    raise ValueError(f"runs.{name}: starts from pretrained weights, but there are none")
        for name, run in self.runs.items():
            if run.steps is not None and run.steps <= self.training.warmup_steps:
                raise ValueError(
                    f"runs.{name}.steps {run.steps} must be more than "
                    f"training.warmup_steps {self.training.warmup_steps}"
                )
            estimated_elsewhere = self._has_pretrained or self.seeds != (self.seed,)
            if run.start == "random" and estimated_elsewhere and any(m.needs_fisher for m in run.methods):
                raise ValueError(
                    f"runs.{name}: the Fisher warm-up is of other weights than this run starts from"
                )
        if len(set(self.seeds)) != len(self.seeds) or min(self.seeds, default=-1) < 0:
            raise ValueError(f"seeds must be different and not negative, at least one, found {self.seeds}")
        for name in self.runs:
            if name in self.baselines:
                raise ValueError(f"runs.{name}: a baseline has this name")
        if self.forecasts and self.forecasts.source is None and not getattr(self.source, "ensemble", None):
            raise ValueError(
                f"source {self.source.name} makes no ensemble beside its analyses; give forecasts.source"
            )
        self._check_periods(self.source)
        if self.forecasts and self.forecasts.source:
            self._check_periods(self.forecasts.source)
        return self

    def _check_ensemble(self) -> None:
        """Refuse a task of forecasts without them, or with others."""
        ensemble, own = self.task.window.ensemble, self.forecasts
        if ensemble is None:
            return
        if own is None:
            raise ValueError(f"task {self.task.name} corrects ensemble forecasts; give forecasts")
        for name, wanted, given in (
            ("members", ensemble.members, len(own.members)),
            ("forecast_hours", self.task.lead_hours, own.lead_hours),
        ):
            if wanted != given:
                raise ValueError(f"task.{name} is {wanted}, and the forecasts' is {given}")
        for target in ensemble.targets:
            field = (target.variable, target.level_hpa)
            for where, variables in (("variables", self.variables), ("forecasts.variables", own.variables)):
                if field not in variables.channels():
                    raise ValueError(f"task {self.task.name}: the target {target.label} is not in {where}")
            if VARIABLES[target.variable].partial:
                raise ValueError(
                    f"task {self.task.name} predicts {target.variable}, which is not defined everywhere; "
                    "leave it out"
                )
        if self.training_store != "float32":
            raise ValueError(
                f"task {self.task.name} reads forecasts, of which there is no training_store int16"
            )
        if any(split.members for split in (self.splits.train, self.splits.validation, self.splits.test)):
            raise ValueError(
                f"task {self.task.name} corrects forecasts by one analysis; splits have no members"
            )

    def _check_periods(self, source: Source) -> None:
        """Refuse splits with days for which a source has no job."""
        periods = source.periods()
        for split in (self.splits.train, self.splits.validation, self.splits.test):
            for period in split.periods:
                shared = [other for other in periods if period.overlaps(other)]
                days = sum(
                    (min(period.end, other.end) - max(period.start, other.start)).days + 1 for other in shared
                )
                if days < period.days:
                    raise ValueError(
                        f"split period {period.label} has {period.days} days, of which source "
                        f"{source.name} has {days}"
                    )

    @property
    def _has_pretrained(self) -> bool:
        return self.pretraining is not None or self.checkpoint is not None

    @property
    def root(self) -> str:
        """Folder of the results."""
        return f"{self.results}/{self.name}"

    @property
    def fields(self) -> FieldSet:
        """What a model of the analyses sees."""
        return FieldSet(measured=self.variables, placeholders=self.placeholders)

    @property
    def inputs(self) -> FieldSet:
        """What the task's model sees: of forecasts their variables, beside the analyses' static ones."""
        if self.forecasts is None or self.task.window.ensemble is None:
            return self.fields
        static = {"static": self.variables.static}
        measured = self.forecasts.variables.model_copy(update=static)
        return FieldSet(measured=measured, placeholders=self.placeholders)

    # Periods: labels of the download and regrid jobs.

    def periods(self, *splits: Literal["train", "validation", "test"]) -> list[str]:
        """Labels of the source's periods that these splits need; all of them without an argument."""
        return self._periods(self.source, *splits)

    def _periods(self, source: Source, *splits: str) -> list[str]:
        chosen = splits or ("train", "validation", "test")
        wanted = [period for name in chosen for period in getattr(self.splits, name).periods]
        return [own.label for own in source.periods() if any(own.overlaps(other) for other in wanted)]

    @cached_property
    def _own_periods(self) -> dict[str, Period]:
        return {period.label: period for period in self.source.periods()}

    def _period(self, label: str) -> Period:
        return self._own_periods[label]

    def source_files(self) -> list[str]:
        """Files of the user's own that the download jobs read.

        Raises:
            ValueError: naming what is missing.
        """
        return [str(path) for path in self.source.files()]

    def request(self, label: str) -> DataRequest:
        """What one download job brings."""
        splits = (self.splits.train, self.splits.validation, self.splits.test)
        members = sorted({member for split in splits for member in split.members})
        return DataRequest(
            variables=self.variables.stored,
            period=self._period(label),
            step_hours=self.step_hours,
            members=tuple(members),
        )

    # Ensemble forecasts: the same for their own source, by valid time.

    def _ensemble(self, label: str) -> tuple[AnySource | AnyForecastSource, DataRequest]:
        """What brings the forecasts of a period, and the request.

        Raises:
            ValueError: if the experiment has none.
        """
        own = self.forecasts
        if own is None:
            raise ValueError(f"experiment {self.name} has no forecasts")
        source = own.source or self.source
        period = next(period for period in source.periods() if period.label == label)
        request = DataRequest(
            variables=own.variables,
            period=period,
            step_hours=own.step_hours,
            members=own.members,
            lead_hours=own.lead_hours,
        )
        return source.narrowed(period), request

    def forecast_periods(self, *splits: Literal["train", "validation", "test"]) -> list[str]:
        """As ``periods``, of the forecasts; none where the experiment has no forecasts."""
        return self._periods(self.forecasts.source or self.source, *splits) if self.forecasts else []

    def corrected_periods(self, *splits: Literal["train", "validation", "test"]) -> list[str]:
        """As ``forecast_periods``, of forecasts that the task corrects; none for other tasks."""
        return self.forecast_periods(*splits) if self.task.window.ensemble else []

    def forecast_files(self) -> list[str]:
        """As ``source_files``, of the forecasts' own source.

        Raises:
            ValueError: naming what is missing.
        """
        own = self.forecasts.source if self.forecasts else None
        return [str(path) for path in own.files()] if own else []

    def forecast_raw(self, label: str) -> str:
        """The raw files of a period's forecasts: with the analyses, or apart."""
        apart = self.forecasts is not None and self.forecasts.source is not None
        return f"{self.data}/forecasts/raw/{label}" if apart else f"{self.data}/raw/{label}"

    # Runs: a name and a seed.

    def run_labels(self) -> list[str]:
        """Labels of the finetune jobs, for example ``lora-seed0``."""
        return [f"{name}-seed{seed}" for name in self.runs for seed in self.seeds]

    def _run(self, label: str) -> tuple[Run, int]:
        name, _, seed = label.rpartition("-seed")
        return self.runs[name], int(seed)

    def pretrained(self, start: str = "pretrained") -> list[str]:
        """The pretrained weights that a run with this start reads: an artifact, a file, or nothing."""
        if start == "random" or not self._has_pretrained:
            return []
        if self.pretraining:
            return [f"{self.root}/pretrained"]
        downloaded = isinstance(self.checkpoint, WeightsSpec)
        return [f"{self.data}/weights/{self.weights().label}" if downloaded else str(self.checkpoint)]

    def run_pretrained(self, label: str) -> list[str]:
        """The pretrained weights that a run reads."""
        return self.pretrained(self._run(label)[0].start)

    def run_fisher(self, label: str) -> list[str]:
        """The Fisher store that a run reads."""
        run, _ = self._run(label)
        needed = any(method.needs_fisher for method in run.methods)
        return [f"{self.root}/fisher"] if needed else []

    # Specs of the stages.

    def download(self, label: str) -> DownloadSpec:
        """Spec of a download job."""
        request = self.request(label)
        return DownloadSpec(source=self.source.narrowed(request.period), request=request)

    def regrid(self, label: str) -> RegridSpec:
        """Spec of a regrid job: every grid that the experiment needs."""
        windows = [self.task.window, *([self.pretraining.task.window] if self.pretraining else [])]
        grids = {grid.label: grid for window in windows for grid in (window.input_grid, window.target_grid)}
        request = self.request(label)
        return RegridSpec(
            source=self.source.narrowed(request.period),
            request=request,
            grids=tuple(grids[key] for key in sorted(grids)),
            method=self.regridding,
        )

    def download_forecasts(self, label: str) -> DownloadSpec:
        """Spec of a download job of the forecasts' own source."""
        source, request = self._ensemble(label)
        return DownloadSpec(source=source, request=request)

    def regrid_forecasts(self, label: str) -> RegridSpec:
        """Spec of a regrid job of forecasts, to the grid of the task's input."""
        source, request = self._ensemble(label)
        return RegridSpec(
            source=source, request=request, grids=(self.task.window.input_grid,), method=self.regridding
        )

    def pack(self, label: str) -> PackSpec:
        """Spec of a pack job."""
        return PackSpec(variables=self.variables.stored, grids=self.regrid(label).grids)

    def _train(self, start: date, end: date) -> Split:
        """The part of the training split from one day to another, both included."""
        parts = [
            Period(start=max(start, period.start), end=min(end, period.end))
            for period in self.splits.train.periods
            if start <= period.end and period.start <= end
        ]
        return Split(periods=tuple(parts), members=self.splits.train.members)

    def moments(self, label: str) -> MomentsSpec:
        """Spec of a moments job."""
        period, sums = self._period(label), bool(self.variables.sums)
        return MomentsSpec(
            variables=self.variables,
            grid=self.task.window.target_grid,
            train=self._train(period.start - timedelta(days=int(sums)), period.end),
            period=period if sums else None,
        )

    def moments_periods(self, label: str) -> list[str]:
        """Labels of the periods that a moments job reads."""
        return self._with_day_before(label, self.variables.sums)

    def statistics(self) -> StatisticsSpec:
        """Spec of the statistics job."""
        return StatisticsSpec(variables=self.variables)

    def series(self, label: str) -> SeriesSpec:
        """Spec of a series job."""
        period = self._period(label)
        return SeriesSpec(
            names=self.task.needs_climatology,
            grid=self.task.window.target_grid,
            step_hours=self.step_hours,
            period=period,
            train=self._train(period.start - timedelta(days=1), period.end),
        )

    def series_periods(self, label: str) -> list[str]:
        """Labels of the periods that a series job reads."""
        return self._with_day_before(label, self.task.needs_climatology)

    def _with_day_before(self, label: str, names: tuple[str, ...]) -> list[str]:
        """A training period, after the one that sums of hours among some names reach into."""
        start = self._period(label).start
        before = [
            other for other in self.periods("train") if self._period(other).end + timedelta(days=1) == start
        ]
        sums = any(accumulation(name) for name in names)
        return [*(before if sums else []), label]

    def climatology(self) -> ClimatologySpec:
        """Spec of the climatology job."""
        return ClimatologySpec(
            names=self.task.needs_climatology, grid=self.task.window.target_grid, step_hours=self.step_hours
        )

    def standardization(self) -> StandardizationSpec:
        """Spec of the standardization job."""
        return StandardizationSpec(window=self.task.window, fields=self.inputs, train=self.splits.train)

    def efi(self) -> EfiSpec:
        """Spec of the efi job.

        Raises:
            ValueError: if the experiment has no forecasts.
        """
        if self.forecasts is None:
            raise ValueError(f"experiment {self.name} has no forecasts")
        return EfiSpec(
            window=self.task.window,
            fields=self.inputs,
            train=self.splits.train,
            test=self.splits.test,
            form=self.forecasts.efi,
        )

    def weights(self, label: str = "") -> WeightsSpec:
        """Spec of the weights job, which is the one of this label.

        Raises:
            ValueError: if the experiment downloads no weights.
        """
        if not isinstance(self.checkpoint, WeightsSpec):
            raise ValueError(f"experiment {self.name} downloads no weights")
        return self.checkpoint

    def pretrain(self) -> PretrainSpec:
        """Spec of the pretrain job.

        Raises:
            ValueError: if the experiment has none.
        """
        if self.pretraining is None:
            raise ValueError(f"experiment {self.name} has no pretraining")
        return PretrainSpec(
            backbone=self.backbone,
            fields=self.fields,
            task=self.pretraining.task,
            splits=self.splits,
            training=self.pretraining.training,
            seed=self.seed,
        )

    def fisher(self) -> FisherSpec:
        """Spec of the Fisher warm-up."""
        return FisherSpec(
            backbone=self.backbone,
            fields=self.inputs,
            task=self.task,
            train=self.splits.train,
            samples=self.fisher_samples,
            pretrained=self._has_pretrained,
            seed=self.seed,
            precision="float32" if self.training.precision == "float32" else "autocast",
            recompute=self.training.recompute,
            held_out=held_out(self.regions),
        )

    def _model(self, label: str) -> TunedModelSpec:
        run, seed = self._run(label)
        return TunedModelSpec(
            backbone=self.backbone,
            fields=self.inputs,
            task=self.task,
            methods=run.methods,
            pretrained=run.start == "pretrained",
            seed=seed,
        )

    def _training(self, label: str) -> Training:
        run, _ = self._run(label)
        changes = run.model_dump(mode="json", include={"learning_rate", "steps", "precision"})
        changes = {name: value for name, value in changes.items() if value is not None}
        return Training.parse(self.training.model_dump(mode="json") | changes)

    def finetune(self, label: str) -> FinetuneSpec:
        """Spec of a finetune job."""
        return FinetuneSpec(
            model=self._model(label),
            splits=self.splits,
            training=self._training(label),
            held_out=held_out(self.regions),
        )

    def predict(self, label: str) -> PredictSpec:
        """Spec of a predict job."""
        precision = self._training(label).precision
        return PredictSpec(model=self._model(label), test=self.splits.test, precision=precision)

    def baseline(self, label: Baseline) -> BaselineSpec:
        """Spec of a baseline job."""
        return BaselineSpec(
            baseline=label,
            fields=self.inputs,
            predicted=self._predicted,
            window=self.task.window,
            train=self.splits.train,
            test=self.splits.test,
        )

    def evaluate(self, label: str) -> EvaluateSpec:
        """Spec of an evaluate job, the same for every forecast."""
        window = self.task.window
        return EvaluateSpec(
            variables=self._predicted,
            grid=window.target_grid,
            lead_hours=window.target_hours,
            climatology=self.task.needs_climatology,
            ensemble=window.ensemble,
            regions={name: region.box for name, region in self.regions.items()},
        )

    @property
    def efi_path(self) -> list[str]:
        """The extreme forecast index that scores read, where the forecasts are distributions or ensembles."""
        return [f"{self.root}/efi"] if self.task.window.ensemble else []

    @property
    def tuning_statistics(self) -> str:
        """What a tuned model's input is normalized by."""
        return f"{self.root}/{'standardization' if self.task.window.ensemble else 'statistics'}"

    @property
    def _predicted(self) -> VariableSet:
        return self.task.predicted(self.variables)

    @property
    def climatology_path(self) -> list[str]:
        """The climatology that baselines and scores read, where the task needs one."""
        return [f"{self.root}/climatology"] if self.task.needs_climatology else []

    def report(self) -> ReportSpec:
        """Spec of the report."""
        runs = [
            ReportedRun(label=f"{name}-seed{seed}", name=name, seed=seed, start=run.start)
            for name, run in self.runs.items()
            for seed in self.seeds
        ]
        return ReportSpec(
            experiment=self.name,
            source=self.source.name,
            fields=self.inputs,
            predicted=self._predicted,
            window=self.task.window,
            baselines=self.baselines,
            runs=tuple(runs),
            test=self.splits.test,
            regions=self.regions,
        )


def load(path: Path) -> Experiment:
    """Read and validate a YAML file.

    Raises:
        pydantic.ValidationError: naming every key at fault.
        ValueError: if the file is no YAML mapping.
    """
    import yaml

    values = yaml.safe_load(path.read_text())
    if not isinstance(values, dict):
        raise ValueError(f"{path}: not a YAML mapping")
    return Experiment.parse(values)
