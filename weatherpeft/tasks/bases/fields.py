"""Tasks that predict fields of the analyses from earlier or coarser ones."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from weatherpeft.fields.grid import Region
from weatherpeft.fields.variables import VariableSet, accumulation
from weatherpeft.interfaces import TaskData
from weatherpeft.samples.window import Window
from weatherpeft.spec import NotNegative, Spec
from weatherpeft.verification.scoring import FieldScoring

if TYPE_CHECKING:
    import torch

    from weatherpeft.samples.batch import Fields


class FieldTask(Spec, ABC):
    """Base of tasks that predict fields of the analyses (see ``interfaces.Task``).

    A subclass adds ``name``, grids, ``window``, ``baselines`` and ``loss``.
    """

    name: str
    """Selects this task."""
    residual: bool = False
    """Whether the model predicts the difference to its last input frame instead of absolute fields."""

    @property
    @abstractmethod
    def window(self) -> Window:
        """Frames and grids of a sample."""

    @property
    def ensemble(self) -> None:
        """None. The model predicts fields, not distributions."""
        return None

    @property
    def rollout_steps(self) -> int:
        """One. Each lead time is a prediction of its own."""
        return 1

    def rolled_out(self, steps: int) -> Self:
        """The task itself for one step.

        Raises:
            ValueError: there are more.
        """
        if steps != 1:
            raise ValueError(
                f"{self.name}: expected 1 step, found {steps}; its model does not predict its input"
            )
        return self

    def training_window(self, steps: int) -> Window:
        """The window (see ``interfaces.Task``)."""
        return self.window

    @property
    def lead_hours(self) -> int:
        """The first lead time in hours."""
        return self.window.target_hours[0]

    @property
    def needs_climatology(self) -> tuple[str, ...]:
        """No variables, unless a subclass has scores against a climatology."""
        return ()

    @property
    def dry_thresholds(self) -> Mapping[str, float]:
        """None, unless a subclass says which sums are dry."""
        return {}

    @property
    def needs_forecasts(self) -> bool:
        """False. Samples are made of analyses."""
        return False

    @property
    def statistics(self) -> Literal["statistics", "standardization"]:
        """The statistics stage, which has mean and standard deviation of every field."""
        return "statistics"

    @property
    def report_sections(self) -> tuple[str, ...]:
        """No further sections."""
        return ()

    def check(self, data: TaskData) -> None:
        """Refuse data that lacks a variable that is predicted or scored.

        Args:
            data: variables of the experiment.

        Raises:
            ValueError: a variable is missing. The message names it.
        """
        self.predicted(data.variables)
        own = data.variables
        for name in self.needs_climatology:
            stored, _ = accumulation(name) or (name, 0)
            if stored not in (*own.surface, *own.atmospheric, *own.accumulated):
                raise ValueError(f"task {self.name} needs the climatology of {name}: not in variables")

    def inputs(self, analyses: VariableSet, forecasts: VariableSet | None) -> VariableSet:
        """The variables of the analyses."""
        return analyses

    def predicted(self, variables: VariableSet) -> VariableSet:
        """Every field."""
        return variables

    def scoring(self, variables: VariableSet, regions: Mapping[str, Region]) -> FieldScoring:
        """Scores of every predicted field."""
        return FieldScoring(
            variables=self.predicted(variables),
            grid=self.window.target_grid,
            lead_hours=self.window.target_hours,
            climatology=self.needs_climatology,
            dry_thresholds=dict(self.dry_thresholds),
            regions=dict(regions),
        )

    def input_statistics(self, statistics: Path, measured: VariableSet) -> "tuple[Fields, Fields]":
        """Means and standard deviations of the training period."""
        from weatherpeft.samples.normalization import training_mean, training_scale

        return training_mean(statistics, measured), training_scale(statistics, measured)

    def loss_scale(self, statistics: Path, measured: VariableSet) -> "Fields":
        """Standard deviations of the training period."""
        from weatherpeft.samples.normalization import training_scale

        return training_scale(statistics, measured)


class SquaredErrorTask(FieldTask):
    """A task that is trained by the mean squared error of all fields."""

    surface_weight: NotNegative = 0.25
    """Weight of the mean squared error of surface variables relative to that of upper-air variables."""

    def loss(self, prediction: "Fields", target: "Fields", scale: "Fields") -> "torch.Tensor":
        """Mean squared error of normalized fields, surface variables weighted (see ``interfaces.Task``)."""
        from weatherpeft.tasks.losses.normalized import normalized_squared_error

        return normalized_squared_error(prediction, target, scale, self.surface_weight)
