"""The socket of a task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import torch

    from weatherpeft.fields.grid import Region
    from weatherpeft.fields.variables import VariableSet
    from weatherpeft.samples.batch import Fields
    from weatherpeft.samples.ensemble import Ensemble
    from weatherpeft.samples.splits import Splits
    from weatherpeft.samples.window import Window
    from weatherpeft.verification.scoring import AnyScoring


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
