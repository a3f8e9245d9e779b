"""Forecasting: two frames to the next; what a foundation model is pretrained on."""

from typing import TYPE_CHECKING, Literal

from weatherpeft.fields.grid import Grid
from weatherpeft.fields.variables import VariableSet
from weatherpeft.samples.window import Window
from weatherpeft.spec import Spec

if TYPE_CHECKING:
    import torch

    from weatherpeft.samples.batch import Fields


class Forecasting(Spec):
    """Two frames on a grid to the frame one lead time later on the same grid."""

    name: Literal["forecasting"]
    grid: Grid
    lead_time_hours: int = 6
    """From the last input frame to the target, and between the two input frames."""
    residual: bool = False
    """Predict the difference to the last input frame instead of absolute fields."""
    surface_weight: float = 0.25
    """Weight of the surface variables' mean squared error beside the upper ones'."""

    @property
    def window(self) -> Window:
        """Inputs at t − lead time and t, target at t + lead time."""
        return Window(
            input_grid=self.grid,
            target_grid=self.grid,
            input_hours=(-self.lead_time_hours, 0),
            target_hours=(self.lead_time_hours,),
        )

    @property
    def lead_hours(self) -> int:
        """The lead time."""
        return self.lead_time_hours

    @property
    def needs_climatology(self) -> tuple[str, ...]:
        """None."""
        return ()

    def predicted(self, variables: VariableSet) -> VariableSet:
        """Every field."""
        return variables

    def loss(self, prediction: "Fields", target: "Fields", scale: "Fields") -> "torch.Tensor":
        """Normalized mean squared error, surface variables weighted (see ``interfaces.Task``)."""
        from weatherpeft.tasks.losses.normalized import normalized_squared_error

        return normalized_squared_error(prediction, target, scale, self.surface_weight)
