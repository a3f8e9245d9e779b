"""Global downscaling: fields on a coarse grid to the same fields, at the same time, on a fine one."""

from typing import TYPE_CHECKING, Literal

from weatherpeft.fields.grid import Grid
from weatherpeft.fields.variables import VariableSet
from weatherpeft.samples.window import Window
from weatherpeft.spec import Spec

if TYPE_CHECKING:
    import torch

    from weatherpeft.samples.batch import Fields


class Downscaling(Spec):
    """Two coarse frames, interpolated by coordinates, to the fine fields of the second one's time."""

    name: Literal["downscaling"]
    input_grid: Grid
    """The coarse grid."""
    target_grid: Grid
    """The fine grid."""
    history_hours: int = 6
    """Hours between the two input frames."""
    residual: bool = False
    """Predict the difference to the interpolated input instead of absolute fields."""
    surface_weight: float = 0.25
    """Weight of the surface variables' mean squared error beside the upper ones'."""

    @property
    def window(self) -> Window:
        """Inputs at t − history_hours and t, target at t."""
        return Window(
            input_grid=self.input_grid,
            target_grid=self.target_grid,
            input_hours=(-self.history_hours, 0),
            target_hours=(0,),
        )

    @property
    def lead_hours(self) -> int:
        """Zero: the target is at the time of the last input."""
        return 0

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
