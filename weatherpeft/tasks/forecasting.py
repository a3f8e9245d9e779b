"""Forecasting: two frames to the next; what a foundation model is pretrained on."""

from typing import Literal

from weatherpeft.fields.grid import Grid
from weatherpeft.samples.window import Window
from weatherpeft.tasks.bases.fields import SquaredErrorTask


class Forecasting(SquaredErrorTask):
    """Two frames on a grid to the frame one lead time later on the same grid."""

    name: Literal["forecasting"]
    """Selects this task."""
    grid: Grid
    """Grid of inputs and targets."""
    lead_time_hours: int = 6
    """From the last input frame to the target, and between the two input frames."""

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
    def baselines(self) -> tuple[str, ...]:
        """The last input, and the climatology."""
        return "persistence", "climatology"
