"""Global downscaling: from fields on a coarse grid to the same fields at the same time on a fine grid."""

from typing import Literal, Self

from pydantic import model_validator

from weatherpeft.fields.boxes import check_reach
from weatherpeft.fields.grid import Grid
from weatherpeft.samples.window import Window
from weatherpeft.spec import Hours
from weatherpeft.tasks.bases.fields import SquaredErrorTask


class Downscaling(SquaredErrorTask):
    """Fine fields at the time of the second of two coarse frames, which are interpolated to the fine grid."""

    name: Literal["downscaling"]
    """Selects this task."""
    input_grid: Grid
    """Coarse grid of the input."""
    target_grid: Grid
    """Fine grid of the target."""
    history_hours: Hours = 6
    """Hours between the two input frames."""

    @model_validator(mode="after")
    def _finer(self) -> Self:
        if self.input_grid.resolution_deg <= self.target_grid.resolution_deg:
            raise ValueError(
                f"input_grid {self.input_grid.label}: expected a grid coarser than target_grid "
                f"{self.target_grid.label}; an input as fine as the target holds what is to be predicted"
            )
        return self

    @model_validator(mode="after")
    def _reaching(self) -> Self:
        try:
            check_reach(self.input_grid, self.target_grid)
        except ValueError as error:
            raise ValueError(f"input_grid {self.input_grid.label}: {error}") from error
        return self

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
        """The interpolated input, and its regression at every grid point."""
        return "interpolation", "regression"
