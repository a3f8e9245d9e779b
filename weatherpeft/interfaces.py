"""The sockets: what a source, a task, a backbone and a PEFT method must offer.

An extension is one file that defines a ``Spec`` with these methods, and its name in the union of
its package. The spec is light; heavy imports stand inside the methods.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, Self

from pydantic import Field, model_validator

from weatherpeft.fields.variables import VARIABLES, FieldSet, VariableSet
from weatherpeft.spec import Period, Spec

if TYPE_CHECKING:
    import torch
    import xarray as xr

    from weatherpeft.fields.grid import Grid, Region
    from weatherpeft.samples.batch import Batch, Fields
    from weatherpeft.samples.ensemble_window import Ensemble
    from weatherpeft.samples.splits import Splits
    from weatherpeft.samples.window import Window
    from weatherpeft.verification.scoring import AnyScoring


class DataRequest(Spec):
    """What one download job brings: fields × times × members."""

    variables: VariableSet
    period: Period
    step_hours: int = 6
    """Time step of the instantaneous fields, from 00 UTC of the period's first day."""
    members: tuple[int, ...] = ()
    """Ensemble members; empty where the data has no member dimension."""
    lead_hours: int = Field(default=0, ge=0)
    """Lead time of forecasts, whose times are valid times; 0 for analyses."""

    @model_validator(mode="after")
    def _sums(self) -> Self:
        if self.lead_hours and self.variables.accumulated:
            raise ValueError(f"forecasts have no hourly sums, found {', '.join(self.variables.accumulated)}")
        for name in self.variables.surface:
            hours = VARIABLES[name].forecast_hours
            if hours and hours != self.lead_hours:
                raise ValueError(
                    f"{name} is a sum over forecasts of {hours} h; expected lead_hours {hours}, "
                    f"found {self.lead_hours}"
                )
        return self


class Source(Protocol):
    """A provider of raw data."""

    @property
    def name(self) -> str:
        """Of the source in a configuration."""

    @property
    def makes_forecasts(self) -> bool:
        """Whether it makes ensemble forecasts beside its analyses."""

    def periods(self) -> tuple[Period, ...]:
        """The download jobs, one a period; they do not overlap."""

    def narrowed(self, period: Period) -> Self:
        """The source as far as one of its ``periods`` needs it, which its jobs' specs hold.

        So a further period leaves the jobs of the others as they are. It fetches and decodes the same.
        """

    def files(self) -> list[Path]:
        """Files of the user's own that the source reads; when one changes, it is fetched again.

        Raises:
            ValueError: naming what is missing.
        """

    def fetch(self, request: DataRequest, output: Path, work: Path) -> None:
        """Write the raw files of a request.

        Args:
            request: what to fetch.
            output: existing, empty directory of the raw files.
            work: directory for what a job that is killed and tried again should find; need not exist.

        Raises:
            ValueError: naming the file, variable, time or key at fault.
        """

    def decode(self, request: DataRequest, raw: Path) -> xr.Dataset:
        """Check the raw files in the directory ``raw`` and read them lazily.

        Returns:
            The canonical dataset: WeatherBench 2 names, dims ``([member,] time, [level,] latitude,
            longitude)``, static fields ``(latitude, longitude)``, SI units, latitude north to
            south, longitude increasing in [0, 360), float32, dask chunks of one time and member.
            Forecasts look like analyses of an ensemble: ``time`` is the valid time, and a coordinate
            ``init_time`` along it says when each forecast started.

        Raises:
            ValueError: a file that is truncated, empty or of an unknown kind, a field, level, time
                or member of the request that is missing; the message names it.
        """


@dataclass(frozen=True)
class TuningContext:
    """What a method may need to know when it is attached.

    Attributes:
        steps: optimizer steps of the whole run; 0 where the model only predicts.
        seed: of the run; every random choice of a method is a function of it.
        fisher: directory of the Fisher warm-up's Zarr store, or None where no method asks for it.
        accumulation: backward passes before each step, each of a loss divided by their number.
    """

    steps: int
    seed: int
    fisher: Path | None = None
    accumulation: int = 1


class BackboneSpec(Protocol):
    """The size of a weather foundation model, as it stands in a configuration."""

    @property
    def name(self) -> str:
        """The backbone's name in a configuration."""

    def check(self, grid: Grid, fields: FieldSet) -> None:
        """Whether the model can run on a grid with these fields, before any work starts.

        Raises:
            ValueError: naming the grid, or the kind of field that is missing.
        """

    def build(self, fields: FieldSet, task: Task, seed: int) -> Backbone:
        """A model with random weights that are a function of the seed.

        Args:
            fields: what the model sees.
            task: gives the lead time that the model is told and what it predicts: fields, the difference to
                its last input frame, or the distribution of an ensemble's targets.
            seed: of the initial weights.
        """


class Backbone(Protocol):
    """A weather foundation model, wrapped from outside: a ``torch.nn.Module``.

    In the paper's words ``encoder`` and ``decoder`` are trained in full by every method, and
    ``backbone`` is what lies between them: the pool of the parameter-efficient methods.
    """

    @property
    def encoder(self) -> torch.nn.Module:
        """From fields to tokens."""

    @property
    def decoder(self) -> torch.nn.Module:
        """From tokens to fields."""

    @property
    def backbone(self) -> torch.nn.Module:
        """Between them."""

    def __call__(self, batch: Batch) -> Fields:
        """Predict the fields of one time, in physical units.

        Returns:
            surface ``(batch, latitude, longitude)``, atmospheric ``(batch, level, latitude, longitude)``.
            A model that corrects an ensemble gives mean and, as ``<variable>_std``, standard deviation of
            the window's targets.
        """

    def complete_statistics(self, mean: Fields, scale: Fields) -> None:
        """Take the training data's mean and standard deviation of variables that it has none of its own of.

        Args:
            mean: of the measured variables, surface ``()``, atmospheric ``(level, 1, 1)``; of an ensemble's
                frames, which a model standardizes by them, ``(history, [level,] latitude, longitude)``.
            scale: likewise.
        """

    def backbone_parameters(self) -> dict[str, torch.nn.Parameter]:
        """The pretrained parameters of ``backbone`` by name, as before any method was attached."""

    def attention_modules(self) -> dict[str, torch.nn.Module]:
        """The window attention of every block by its path below ``backbone``."""

    def embedding_weights(self) -> torch.Tensor:
        """Patch-embedding weights of the variables in use, ``(width, variable, history·patch·patch)``."""

    def load(self, path: Path) -> None:
        """Load a checkpoint in the upstream package's format.

        Raises:
            ValueError: naming the file and the weights that do not fit.
        """

    def save(self, path: Path) -> None:
        """Write the weights as a checkpoint in the upstream package's format, the same bytes each time."""

    def to(self, device: torch.device) -> Self:
        """See ``torch.nn.Module.to``."""

    def train(self, mode: bool = True) -> Self:
        """See ``torch.nn.Module.train``."""

    def eval(self) -> Self:
        """See ``torch.nn.Module.eval``."""

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """See ``torch.nn.Module.parameters``."""

    def named_parameters(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        """See ``torch.nn.Module.named_parameters``."""


class Adapter(Protocol):
    """A method attached to a backbone.

    The trainer trains ``dense_parameters`` with AdamW and calls ``step`` once an optimizer step,
    after the backward pass. ``result`` is what the run keeps; ``load_result`` on a freshly attached
    adapter, on the same pretrained weights, gives the tuned model bit for bit.
    """

    def dense_parameters(self) -> dict[str, torch.nn.Parameter]:
        """Own and backbone parameters that AdamW trains, by unique name."""

    def trainable_backbone(self) -> int:
        """The paper's count: parameters trained at a step, encoder and decoder left out."""

    def squared_gradient_norm(self) -> float:
        """Sum of squares of the gradients that ``step`` is about to use: clipping counts them in."""

    def scale_gradients(self, factor: float) -> None:
        """Multiply the gradients that ``step`` is about to use."""

    def step(self, step: int, learning_rate: float) -> None:
        """Update what AdamW does not, from the gradients of the last backward passes.

        Args:
            step: this step, from 0.
            learning_rate: of this step, by the schedule.
        """

    def result(self) -> dict[str, torch.Tensor]:
        """The tuned tensors, by unique name: enough to rebuild the tuned model on the pretrained one."""

    def load_result(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Put a saved result back."""

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Optimizer state beyond the result, to resume a killed run (tensors only)."""

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Put a saved state back."""


class PeftMethod(Spec, ABC):
    """A parameter-efficient method, as its spec; a subclass narrows ``name`` and adds its hyperparameters."""

    name: str
    """Selects the method."""

    @property
    def needs_fisher(self) -> bool:
        """Whether the Fisher warm-up must run before."""
        return False

    @property
    def trains_everything(self) -> bool:
        """Whether it trains every backbone parameter, so that the report compares the others with it."""
        return False

    @property
    def takes_the_rest(self) -> bool:
        """Whether it works on what the others leave frozen, so that it must be the last of a list."""
        return False

    @property
    def takes(self) -> dict[str, bool]:
        """Parts of the backbone that no other method can have beside it, and whether it cannot do without.

        ``weights`` and ``biases`` are pretrained parameters that it trains, ``attentions`` and
        ``<name> layers`` modules that it changes. The first method of a list has a part. A list in which a
        later one needs it is refused.
        """
        return {}

    @abstractmethod
    def attach(self, model: Backbone, context: TuningContext) -> Adapter:
        """Attach to a model whose backbone is frozen; unfreeze what the method trains.

        Methods compose as a list and are attached in its order.
        """


@dataclass(frozen=True)
class TaskData:
    """What an experiment has for its task.

    Attributes:
        variables: of the analyses.
        splits: periods and members of training, validation and test.
        training_store: how the fields that training reads are stored.
        regions: whether parts of the grid are scored beside the whole.
        forecast_variables: of the ensemble forecasts; None where the experiment has none.
        members: of the forecasts.
        forecast_hours: lead time of the forecasts.
    """

    variables: VariableSet
    splits: Splits
    training_store: Literal["float32", "int16"] = "float32"
    regions: bool = False
    forecast_variables: VariableSet | None = None
    members: int = 0
    forecast_hours: int = 0


class Task(Protocol):
    """What is predicted from what, how wrong a prediction is, and what it is scored by and compared with."""

    @property
    def name(self) -> str:
        """The task's name in a configuration."""

    @property
    def residual(self) -> bool:
        """Whether the model predicts the difference to its last input frame."""

    @property
    def ensemble(self) -> Ensemble | None:
        """The ensemble that a model corrects: it predicts mean and spread of its targets. None: fields."""

    @property
    def window(self) -> Window:
        """Frames and grids of a sample; it makes the samples."""

    @property
    def lead_hours(self) -> int:
        """Hours that the model is told where a batch does not say; the first of several lead times."""

    @property
    def needs_climatology(self) -> tuple[str, ...]:
        """Variables, or sums as ``total_precipitation_6hr``, whose climatology the scores need."""

    @property
    def needs_forecasts(self) -> bool:
        """Whether samples are made of the experiment's ensemble forecasts."""

    @property
    def statistics(self) -> Literal["statistics", "standardization"]:
        """The stage whose artifact normalizes the model's input."""

    @property
    def baselines(self) -> tuple[str, ...]:
        """Names of the baselines that the task can be compared with; see ``stages.baseline``."""

    @property
    def report_sections(self) -> tuple[str, ...]:
        """Names of the report's sections beside those of every task; see ``reporting.sections``."""

    def check(self, data: TaskData) -> None:
        """Refuse an experiment's data before any work starts.

        Raises:
            ValueError: naming what the task needs and the experiment has not.
        """

    def inputs(self, analyses: VariableSet, forecasts: VariableSet | None) -> VariableSet:
        """The measured variables that the model sees.

        Args:
            analyses: variables of the analyses.
            forecasts: variables of the ensemble forecasts; None where the experiment has none.
        """

    def predicted(self, variables: VariableSet) -> VariableSet:
        """Those of the measured variables whose predictions count: they are written and scored.

        Raises:
            ValueError: one is missing.
        """

    def scoring(self, variables: VariableSet, regions: Mapping[str, Region]) -> AnyScoring:
        """How predictions are scored.

        Args:
            variables: measured variables that the model sees.
            regions: parts of the grid that are scored beside the whole.
        """

    def input_statistics(self, statistics: Path, measured: VariableSet) -> tuple[Fields, Fields]:
        """Mean and scale that the model's input is normalized by; see ``Backbone.complete_statistics``.

        Args:
            statistics: artifact of the stage ``statistics``.
            measured: variables that the model sees.

        Raises:
            ValueError: a variable without statistics, or one that does not vary.
        """

    def loss_scale(self, statistics: Path, measured: VariableSet) -> Fields:
        """Standard deviations that the loss divides by; arguments and errors as in ``input_statistics``."""

    def loss(self, prediction: Fields, target: Fields, scale: Fields) -> torch.Tensor:
        """Mean loss of a batch.

        Args:
            prediction: every variable in use; of an ensemble's targets mean and ``<variable>_std``.
            target: the same variables; of an ensemble's targets the analysis.
            scale: what ``loss_scale`` gives, broadcastable to the fields.
        """
