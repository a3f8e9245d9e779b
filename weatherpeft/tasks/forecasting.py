"""Forecasting: from two frames to the next one, on which a foundation model is pretrained."""

from typing import Literal

from weatherpeft.fields.grid import Grid
from weatherpeft.samples.window import Window
from weatherpeft.spec import Hours
from weatherpeft.tasks.bases.fields import SquaredErrorTask


class Forecasting(SquaredErrorTask):
    """The frame one lead time after two frames, on the same grid."""

    name: Literal["forecasting"]
    """Selects this task."""
    grid: Grid
    """Grid of inputs and targets."""
    lead_time_hours: Hours = 6
    """Hours from the last input frame to the target, and between the two input frames."""

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
        """Persistence of the last input, and the climatology."""
        return "persistence", "climatology"
