"""Global downscaling: fields on a coarse grid to the same fields, at the same time, on a fine one."""

from typing import Literal

from weatherpeft.fields.grid import Grid
from weatherpeft.samples.window import Window
from weatherpeft.tasks.bases.fields import SquaredErrorTask


class Downscaling(SquaredErrorTask):
    """Two coarse frames, interpolated to the fine grid, to the fine fields of the second frame's time."""

    name: Literal["downscaling"]
    """Selects this task."""
    input_grid: Grid
    """The coarse grid."""
    target_grid: Grid
    """The fine grid."""
    history_hours: int = 6
    """Hours between the two input frames."""

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
    def baselines(self) -> tuple[str, ...]:
        """The interpolated input, and its correction at every grid point."""
        return "interpolation", "regression"
