"""The socket of a task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, Self

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
    """The data that an experiment has for its task.

    Attributes:
        variables: variables of the analyses.
        splits: periods and members of training, validation and test.
        training_store: number format of the stores that training reads.
        regions: whether parts of the grid are scored in addition to the whole.
        forecast_variables: variables of the ensemble forecasts; None if the experiment has none.
        members: number of members of the forecasts.
        forecast_hours: lead time of the forecasts in hours.
    """

    variables: VariableSet
    splits: Splits
    training_store: Literal["float32", "int16"] = "float32"
    regions: bool = False
    forecast_variables: VariableSet | None = None
    members: int = 0
    forecast_hours: int = 0


class Task(Protocol):
    """What is predicted from what, and the loss, scores and baselines of the predictions."""

    @property
    def name(self) -> str:
        """The task's name in a configuration."""

    @property
    def residual(self) -> bool:
        """Whether the model predicts the difference to its last input frame."""

    @property
    def ensemble(self) -> Ensemble | None:
        """The ensemble for whose targets the model predicts mean and spread; None if it predicts fields."""

    @property
    def window(self) -> Window:
        """Frames and grids of a sample; the window makes the samples."""

    @property
    def rollout_steps(self) -> int:
        """Number of steps of the model in a forecast of the longest lead time.

        If there are several, the lead times are multiples of the first, and each step's forecast is an input
        of the next.
        """

    def training_window(self, steps: int) -> Window:
        """Frames and grids of a training sample, with the targets of a number of steps of the model.

        Args:
            steps: at most ``rollout_steps``.
        """

    def rolled_out(self, steps: int) -> Self:
        """The same task with ``rollout_steps`` of another number.

        Raises:
            ValueError: its forecasts have one step, or the number is out of range.
        """

    @property
    def lead_hours(self) -> int:
        """Lead time in hours that the model uses if a batch has none; the first of several lead times."""

    @property
    def needs_climatology(self) -> tuple[str, ...]:
        """Variables, or sums such as ``total_precipitation_6hr``, whose climatology the scores need."""

    @property
    def dry_thresholds(self) -> Mapping[str, float]:
        """For SEEPS, values from which on a time is not dry, by name of a sum in ``needs_climatology``.

        They are known for sums of precipitation.
        """

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
        """Names of report sections in addition to those of every task; see ``reporting.sections``."""

    def check(self, data: TaskData) -> None:
        """Refuse unsuitable data of an experiment before any work starts.

        Args:
            data: variables, splits and forecasts of the experiment.

        Raises:
            ValueError: the experiment lacks what the task needs. The message names it.
        """

    def inputs(self, analyses: VariableSet, forecasts: VariableSet | None) -> VariableSet:
        """The measured variables that the model sees.

        Args:
            analyses: variables of the analyses.
            forecasts: variables of the ensemble forecasts; None if the experiment has none.
        """

    def predicted(self, variables: VariableSet) -> VariableSet:
        """The measured variables whose predictions count, so that they are written and scored.

        Args:
            variables: measured variables of the experiment.

        Raises:
            ValueError: a variable is missing.
        """

    def scoring(self, variables: VariableSet, regions: Mapping[str, Region]) -> AnyScoring:
        """How predictions are scored.

        Args:
            variables: measured variables that the model sees.
            regions: parts of the grid that are scored in addition to the whole, by name.
        """

    def input_statistics(self, statistics: Path, measured: VariableSet) -> tuple[Fields, Fields]:
        """Mean and scale that the model's input is normalized by; see ``Backbone.complete_statistics``.

        Args:
            statistics: artifact of the stage that the property ``statistics`` names.
            measured: variables in the data that the model sees.

        Raises:
            ValueError: a variable has no statistics or does not vary.
        """

    def loss_scale(self, statistics: Path, measured: VariableSet) -> Fields:
        """Standard deviations that the loss divides by.

        Args:
            statistics: artifact of the stage that the property ``statistics`` names.
            measured: variables in the data that the model sees.

        Raises:
            ValueError: a variable has no statistics or does not vary.
        """

    def loss(self, prediction: Fields, target: Fields, scale: Fields) -> torch.Tensor:
        """Mean loss of a batch.

        Args:
            prediction: every variable in use, or mean and ``<variable>_std`` of an ensemble's targets.
            target: the same variables, or the analysis of an ensemble's targets.
            scale: fields that ``loss_scale`` returns, broadcastable to the others.

        Returns:
            A scalar.
        """
