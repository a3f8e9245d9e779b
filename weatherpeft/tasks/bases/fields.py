"""Tasks that predict fields of the analyses from earlier or coarser ones."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from weatherpeft.fields.grid import Region
from weatherpeft.fields.variables import VariableSet, accumulation
from weatherpeft.interfaces import TaskData
from weatherpeft.samples.window import Window
from weatherpeft.spec import Spec
from weatherpeft.verification.scoring import FieldScoring

if TYPE_CHECKING:
    import torch

    from weatherpeft.samples.batch import Fields


class FieldTask(Spec, ABC):
    """What such tasks have in common (see ``interfaces.Task``).

    A subclass adds ``name``, grids, ``window``, ``baselines`` and ``loss``.
    """

    name: str
    residual: bool = False
    """Predict the difference to the last input frame instead of absolute fields."""

    @property
    @abstractmethod
    def window(self) -> Window:
        """Frames and grids of a sample."""

    @property
    def ensemble(self) -> None:
        """None: the model predicts fields."""
        return None

    @property
    def lead_hours(self) -> int:
        """The first lead time."""
        return self.window.target_hours[0]

    @property
    def needs_climatology(self) -> tuple[str, ...]:
        """No variable."""
        return ()

    @property
    def needs_forecasts(self) -> bool:
        """No: samples are made of analyses."""
        return False

    @property
    def statistics(self) -> Literal["statistics", "standardization"]:
        """Statistics of every field over the training period."""
        return "statistics"

    @property
    def report_sections(self) -> tuple[str, ...]:
        """No further sections."""
        return ()

    def check(self, data: TaskData) -> None:
        """Refuse data that lacks what is predicted or scored.

        Raises:
            ValueError: naming the variable.
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
            regions=dict(regions),
        )

    def input_statistics(self, statistics: Path, measured: VariableSet) -> "tuple[Fields, Fields]":
        """Mean and standard deviation of the training period."""
        from weatherpeft.samples.normalization import training_mean, training_scale

        return training_mean(statistics, measured), training_scale(statistics, measured)

    def loss_scale(self, statistics: Path, measured: VariableSet) -> "Fields":
        """Standard deviations of the training period."""
        from weatherpeft.samples.normalization import training_scale

        return training_scale(statistics, measured)


class SquaredErrorTask(FieldTask):
    """A task that is trained by the mean squared error of all fields."""

    surface_weight: float = 0.25
    """Weight of the surface variables' mean squared error relative to the upper-air variables'."""

    def loss(self, prediction: "Fields", target: "Fields", scale: "Fields") -> "torch.Tensor":
        """Normalized mean squared error, surface variables weighted (see ``interfaces.Task``)."""
        from weatherpeft.tasks.losses.normalized import normalized_squared_error

        return normalized_squared_error(prediction, target, scale, self.surface_weight)
