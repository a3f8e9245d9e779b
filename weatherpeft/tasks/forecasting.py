"""Forecasting: from two frames to the next ones, on which a foundation model is pretrained."""

from typing import Literal, Self

from pydantic import Field, model_validator

from weatherpeft.fields.grid import Grid
from weatherpeft.samples.window import Window
from weatherpeft.spec import Hours
from weatherpeft.tasks.bases.fields import SquaredErrorTask

LONGEST_HOURS = 24 * 366
"""Longest lead time of a forecast in hours."""


class Forecasting(SquaredErrorTask):
    """The frames one lead time after the other that follow two frames, on the same grid.

    The model predicts one lead time. Later ones are a rollout: the model's forecast is its next input.
    """

    name: Literal["forecasting"]
    """Selects this task."""
    grid: Grid
    """Grid of inputs and targets."""
    lead_time_hours: Hours = 6
    """Hours from the last input frame to the target, and between the two input frames."""
    steps: int = Field(default=1, ge=1, le=1000, exclude_if=lambda steps: steps == 1)
    """Number of lead times that are predicted and scored, each one step of the model after the one before.
    How many of them the training sees is ``training.rollout``."""
    climatology: tuple[str, ...] = Field(default=(), exclude_if=lambda names: not names)
    """Variables whose climatology is made, which gives their scores an anomaly correlation. The baseline
    ``climatology`` needs all variables."""

    @model_validator(mode="after")
    def _within_a_year(self) -> Self:
        if self.steps * self.lead_time_hours > LONGEST_HOURS:
            raise ValueError(
                f"steps: {self.steps} of {self.lead_time_hours} h are more than {LONGEST_HOURS} h"
            )
        return self

    @property
    def rollout_steps(self) -> int:
        """The number of lead times."""
        return self.steps

    def rolled_out(self, steps: int) -> Self:
        """The same task with another number of lead times.

        Raises:
            ValueError: the number is out of range.
        """
        return self.parse({**self.model_dump(mode="json"), "steps": steps})

    @property
    def window(self) -> Window:
        """Inputs at t − lead time and t, targets at t + 1, 2, … lead times."""
        return self._window(tuple(self.lead_time_hours * step for step in range(1, self.steps + 1)))

    def training_window(self, steps: int) -> Window:
        """Inputs and target of one step, and the targets of the steps after it (see ``interfaces.Task``)."""
        later = tuple(self.lead_time_hours * step for step in range(2, steps + 1))
        return self._window((self.lead_time_hours,), later)

    def _window(self, target_hours: tuple[int, ...], later_hours: tuple[int, ...] = ()) -> Window:
        return Window(
            input_grid=self.grid,
            target_grid=self.grid,
            input_hours=(-self.lead_time_hours, 0),
            target_hours=target_hours,
            later_hours=later_hours,
        )

    @property
    def needs_climatology(self) -> tuple[str, ...]:
        """The variables of ``climatology``."""
        return self.climatology

    @property
    def baselines(self) -> tuple[str, ...]:
        """Persistence of the last input, the climatology, and the pretrained model as it is."""
        return "persistence", "climatology", "pretrained"

    @property
    def report_sections(self) -> tuple[str, ...]:
        """The RMSE by lead time, if there are several."""
        return ("lead_times",) if self.steps > 1 else ()
