"""The configuration of an experiment: what a user writes and what is refused.

The module imports nothing heavy, so that parsing the workflow stays fast. ``jobs`` derives the jobs from it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, ValidationError, model_validator

from weatherpeft.backbones import AnyBackbone
from weatherpeft.config_file import read
from weatherpeft.config_fit import Fit, fitted
from weatherpeft.config_runs import Run, written_out
from weatherpeft.fields.definition import Defining, Definitions, handed_out
from weatherpeft.fields.regions import NamedRegion, check_regions
from weatherpeft.fields.variables import FieldSet, VariableSet
from weatherpeft.interfaces import Source, TaskData
from weatherpeft.samples.splits import Splits
from weatherpeft.sources import AnyForecastSource, AnySource
from weatherpeft.spec import (
    LABEL,
    Count,
    Hours,
    Member,
    Real,
    Seed,
    Spec,
    Step,
    check_plain,
    did_you_mean,
)
from weatherpeft.stages.baseline import AnyBaseline
from weatherpeft.stages.weights import WeightsSpec
from weatherpeft.tasks import AnyTask
from weatherpeft.training.spec import Training

Label = Annotated[str, StringConstraints(pattern=LABEL, max_length=100)]
"""A name that is part of file names, of job names and of Snakemake's wildcards."""

_SPECIAL = '{}<>$`"\\'
_NOT_FIRST = "-@'"


class Pretraining(Spec):
    """Pretraining of the experiment's backbone."""

    task: AnyTask
    """Task that the backbone is pretrained on."""
    training: Training
    """Schedule of the pretraining."""


class Forecasts(Spec):
    """Ensemble forecasts that a task corrects with the analyses of the experiment's source."""

    source: AnyForecastSource | None = None
    """Source of the forecasts; by default the experiment's source, which then makes them as well."""
    variables: VariableSet
    """Fields of the forecasts, which may differ from those of the analyses."""
    members: tuple[Member, ...] = Field(default=tuple(range(1, 11)), min_length=2)
    """Numbers of the ensemble members."""
    lead_hours: Hours = 48
    """Lead time of the forecasts in hours."""
    step_hours: Step = 24
    """Hours between valid times, for sources that do not know them."""
    efi: Literal["exact", "ens10"] = "exact"
    """Form of the extreme forecast index that weights the EECRPS; ``ens10`` is that of the paper."""


class Experiment(Defining):
    """An experiment, from raw data to a report with scores.

    ``define`` has variables that the table of variables lacks, by name.
    """

    name: Label
    """Name of the experiment and of the folder of its results."""
    results: str = "results"
    """Folder of the results, in which each experiment has a folder of its own name."""
    data: str
    """Folder of the raw and regridded data, which experiments may share: each adds what it lacks."""
    seed: Seed = 0
    """Seed of the pretraining and of every other job that does not belong to a run."""
    seeds: tuple[Seed, ...] = Field(default=(0,), min_length=1)
    """Seeds of the runs. Each run is trained once with each seed."""
    source: AnySource
    """Source of the analyses."""
    step_hours: Step = 6
    """Time step of the instantaneous fields, in hours."""
    variables: VariableSet
    """Fields of the analyses."""
    placeholders: dict[str, Real] = {}
    """Values, by name, of constant fields that the backbone needs and the data lacks. They do not enter the
    loss or the scores."""
    regridding: Literal["conservative", "bilinear"] = "conservative"
    """Method of regridding: means over the target cells, or values interpolated to their centers."""
    training_store: Literal["float32", "int16"] = "float32"
    """Store that training reads: the regridded fields, or a copy of half the size with steps of 1/4096 of a
    standard deviation."""
    splits: Splits
    """Periods and members of the training, validation and test samples."""
    forecasts: Forecasts | None = None
    """Ensemble forecasts whose valid times lie in the splits."""
    task: AnyTask
    """Task of the experiment, which says what is predicted from what."""
    backbone: AnyBackbone
    """Weather foundation model that the runs tune."""
    pretraining: Pretraining | None = None
    """Pretraining of the backbone before all runs."""
    checkpoint: str | WeightsSpec | None = None
    """Pretrained weights in the upstream package's format, as a path or as a file to download. They take the
    place of ``pretraining``."""
    fisher_samples: Count = 32
    """Number of calibration samples of the Fisher warm-up."""
    training: Training
    """Schedule of the fine-tuning."""
    runs: dict[Label, Run] = Field(min_length=1)
    """Runs that the experiment compares, by name."""
    baselines: tuple[AnyBaseline, ...] = ("interpolation", "regression")
    """Predictions without a network that the runs are compared with; ``pretrained`` is the pretrained model
    as it is."""
    reference: str | None = Field(default=None, exclude_if=lambda reference: reference is None)
    """Run or baseline that the report compares all others with; by default the first run that tunes
    everything."""
    fit: Fit = Field(default="exact", exclude_if=lambda fit: fit == "exact")
    """Whether the grids of the tasks must fit the backbone, or rows and columns are cut off (crop) or added
    (pad) until they do."""
    regions: dict[Label, NamedRegion] = {}
    """Parts of the task's grid that are scored in addition to the whole, by name. Some may be held out of
    training."""

    @classmethod
    def parse(cls, values: Any, context: Mapping[str, Any] | None = None) -> Self:
        """See ``Spec.parse``; lists in a run become its candidates, and grids fit where ``fit`` says so.

        What ``define`` says is handed out to where its variables are named, and to ``rename`` of sources.
        """
        check_plain(values)
        own: Definitions = {}
        if isinstance(values, Mapping) and "define" in values:
            values, own = handed_out(values)
        values = fitted(values) if isinstance(values, Mapping) else values
        runs = values.get("runs") if isinstance(values, Mapping) else None
        if isinstance(runs, Mapping):
            values = {**values, "runs": {name: written_out(name, run) for name, run in runs.items()}}
        return super().parse(values, {"define": own, **(context or {})})

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        self._check_paths()
        self._check_placeholders()
        self._check_task()
        self._check_baselines()
        self._check_runs()
        self._check_rollouts()
        self._check_sources()
        return self

    def _check_paths(self) -> None:
        """Refuse folders and files whose names the workflow cannot use."""
        check_path("results", self.results)
        check_path("data", self.data)
        if isinstance(self.checkpoint, str):
            check_path("checkpoint", self.checkpoint)

    def _check_placeholders(self) -> None:
        """Refuse placeholders of fields that are unknown or in the data."""
        try:
            _ = self.inputs
        except ValidationError as error:
            message = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise ValueError(f"placeholders: {message}") from error

    def _check_task(self) -> None:
        """Refuse data that the task or the backbone cannot work with."""
        own = self.forecasts
        self.task.check(
            TaskData(
                variables=self.variables,
                splits=self.splits,
                training_store=self.training_store,
                regions=bool(self.regions),
                forecast_variables=own.variables if own else None,
                members=len(own.members) if own else 0,
                forecast_hours=own.lead_hours if own else 0,
            )
        )
        for name in (*self.variables.surface, *self.variables.atmospheric):
            if self.variables.row(name).partial:
                raise ValueError(
                    f"variables: the analyses hold {name}, which is not defined everywhere; leave it out"
                )
        check_regions(self.task.window.target_grid, self.regions)
        at_a_time = self.variables.stored
        if not (at_a_time.surface or at_a_time.atmospheric):
            raise ValueError(
                "variables: expected a field at a time, which gives samples their times; found none"
            )
        told = () if self.task.needs_forecasts else self.task.training_window(1).target_hours
        self.backbone.check(self.task.window.target_grid, self.inputs, told)
        if self.pretraining:
            if self.pretraining.task.needs_forecasts:
                raise ValueError(
                    f"pretraining: the task {self.pretraining.task.name} corrects forecasts; expected a task "
                    "of the analyses alone"
                )
            window = self.pretraining.task.training_window(1)
            self.backbone.check(window.target_grid, self.fields, window.target_hours)

    def _check_baselines(self) -> None:
        """Refuse baselines that the task does not have or whose climatology is not made."""
        for baseline in self.baselines:
            if baseline not in self.task.baselines:
                raise ValueError(
                    f"baselines: {baseline} is no baseline of the task {self.task.name}; expected "
                    f"{' or '.join(self.task.baselines)}"
                )
        if "pretrained" in self.baselines and not self.has_pretrained:
            raise ValueError("baselines: there are no pretrained weights for the baseline pretrained")
        if "climatology" in self.baselines:
            predicted = self.task.predicted(self.variables)
            unknown = {*predicted.surface, *predicted.atmospheric} - set(self.task.needs_climatology)
            if unknown:
                raise ValueError(f"baselines: no climatology of {', '.join(sorted(unknown))} is made")

    def _check_rollouts(self) -> None:
        """Refuse trainings on forecasts of more steps than those of their task have."""
        trainings = {"training": (self.training, self.task)}
        for name, run in self.runs.items():
            own = self.training.model_copy(update={"rollout": run.rollout or self.training.rollout})
            trainings[f"runs.{name}"] = own, self.task
        if self.pretraining:
            trainings["pretraining.training"] = self.pretraining.training, self.pretraining.task
        for key, (training, task) in trainings.items():
            try:
                training.check_rollout(task.rollout_steps)
            except ValueError as error:
                raise ValueError(f"{key}.{error}") from error

    def _check_runs(self) -> None:
        """Refuse runs whose weights, schedule, precision, name, seeds or reference are impossible."""
        if self.pretraining and self.checkpoint:
            raise ValueError("checkpoint: give pretraining or checkpoint, not both")
        for name, run in self.runs.items():
            if run.start == "pretrained" and not self.has_pretrained:
                raise ValueError(f"runs.{name}: starts from pretrained weights, but there are none")
            if run.steps is not None and run.steps <= self.training.warmup_steps:
                raise ValueError(
                    f"runs.{name}.steps {run.steps} must be more than "
                    f"training.warmup_steps {self.training.warmup_steps}"
                )
            estimated_elsewhere = self.has_pretrained or self.seeds != (self.seed,)
            methods = [method for choice in run.choices for method in choice.methods]
            if run.start == "random" and estimated_elsewhere and any(m.needs_fisher for m in methods):
                raise ValueError(
                    f"runs.{name}: the Fisher warm-up is of other weights than this run starts from"
                )
            if name in self.baselines:
                raise ValueError(f"runs.{name}: a baseline has this name")
            for method in methods:
                if "weights" in method.takes and (run.precision or self.training.precision) == "bfloat16":
                    raise ValueError(
                        f"runs.{name}: precision bfloat16 keeps frozen matrices in bfloat16, but "
                        f"{method.name} trains them; expected precision autocast"
                    )
        if self.reference is not None and self.reference not in (*self.runs, *self.baselines):
            known = ", ".join((*self.runs, *self.baselines))
            raise ValueError(
                f"reference: no run or baseline {self.reference}; expected one of {known}"
                f"{did_you_mean(self.reference, (*self.runs, *self.baselines))}"
            )
        if self.pretraining and self.pretraining.training.precision == "bfloat16":
            raise ValueError(
                "pretraining: precision bfloat16 keeps frozen matrices in bfloat16, but pretraining trains "
                "them; expected precision autocast"
            )
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds must be different, found {self.seeds}")

    def _check_sources(self) -> None:
        """Refuse periods and forecasts that the sources do not provide."""
        if self.forecasts and self.forecasts.source is None and not self.source.makes_forecasts:
            raise ValueError(f"source {self.source.name} makes no ensemble forecasts; give forecasts.source")
        for period in self.source.periods():
            all_gap = next(period.sum_times(1), None) is None
            if not all_gap and next(period.times(self.step_hours), None) is None:
                raise ValueError(
                    f"source: no time of step_hours {self.step_hours}, from 00 UTC, lies in {period} "
                    f"outside of its gaps; say in it which hours the data has: hours: [{period.first.hour}]"
                )
        self._check_periods(self.source)
        if self.forecasts and self.forecasts.source:
            self._check_periods(self.forecasts.source)

    def _check_periods(self, source: Source) -> None:
        """Refuse splits with days of which no job of a source brings anything."""
        periods = source.periods()
        for name in ("train", "validation", "test"):
            for period in getattr(self.splits, name).periods:
                shared = [other for other in periods if period.overlaps(other)]
                days = {day for other in shared for day in other.dates}.intersection(period.dates)
                if len(days) < period.days:
                    raise ValueError(
                        f"splits.{name}: the period {period.label} has {period.days} days, of which source "
                        f"{source.name} has {len(days)}"
                    )

    @property
    def has_pretrained(self) -> bool:
        """Whether there are pretrained weights to start from."""
        return self.pretraining is not None or self.checkpoint is not None

    @property
    def fields(self) -> FieldSet:
        """Variables of a model of the analyses and declared placeholders."""
        return self._with_placeholders(self.variables)

    @property
    def inputs(self) -> FieldSet:
        """Variables of the task's model and declared placeholders."""
        measured = self.task.inputs(self.variables, self.forecasts.variables if self.forecasts else None)
        return self._with_placeholders(measured)

    def _with_placeholders(self, measured: VariableSet) -> FieldSet:
        own = self.defined(self.placeholders)
        return FieldSet(define=own, measured=measured, placeholders=self.placeholders)


def load(path: Path) -> Experiment:
    """Read and validate the YAML file of an experiment.

    Args:
        path: the YAML file.

    Raises:
        pydantic.ValidationError: keys are unknown, missing or wrong. The message names each of them.
        ValueError: the file is refused (see ``config_file.read``).
    """
    return Experiment.parse(read(path))


def check_path(key: str, path: str) -> None:
    """Refuse a path that Snakemake or a shell would take for something else.

    Snakemake fills in what stands in braces or angle brackets. Its executors for clusters write paths
    between double quotes, where a shell acts on ``$`` and the like, and take a path that begins with a quote
    as quoted already. An option begins with ``-``, a file that lists paths with ``@``.

    Args:
        key: what the path belongs to, for the message.
        path: the path.

    Raises:
        ValueError: the path is empty or has such characters. The message names the key, the path and the
            first of them.
    """
    if not path:
        raise ValueError(f"{key}: expected a path, found an empty text")
    if path[0] in _NOT_FIRST or path != path.strip():
        raise ValueError(
            f"{key}: expected a path without a space at its ends and {' '.join(_NOT_FIRST)} at its start, "
            f"found {path!r}"
        )
    for character in path:
        if character in _SPECIAL or not character.isprintable():
            raise ValueError(
                f"{key}: expected a path without {' '.join(_SPECIAL)} and control characters, "
                f"found {character!r} in {path!r}"
            )
    if any(len(name.encode()) > 255 for name in path.split("/")):
        raise ValueError(f"{key}: expected names of at most 255 bytes in a path, found {path!r}")
