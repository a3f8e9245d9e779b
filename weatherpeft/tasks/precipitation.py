"""Regional precipitation: from two frames of the atmosphere to the precipitation of later hours.

The sums may be those of any other accumulated variable, such as snowfall.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from weatherpeft.fields.grid import Grid
from weatherpeft.fields.variables import VariableSet
from weatherpeft.samples.window import Window
from weatherpeft.spec import Hours, Positive
from weatherpeft.tasks.bases.fields import FieldTask

if TYPE_CHECKING:
    import torch

    from weatherpeft.samples.batch import Fields

_PRECIPITATION = "total_precipitation_6hr"


class Precipitation(FieldTask):
    """Sums of precipitation over hours that end some lead times after two frames, on the same grid.

    One model gets the lead time of every sample and learns all lead times. The past sum is an input like any
    other surface variable, and the only variable whose prediction counts.
    """

    name: Literal["precipitation"]
    """Selects this task."""
    grid: Grid
    """Grid of inputs and targets; a region keeps the area weights of the global grid."""
    history_hours: Hours = 12
    """Hours between the two input frames."""
    lead_times_hours: Annotated[tuple[Hours, ...], Field(min_length=1)] = (12, 24, 36)
    """Hours from the last input frame to the end of each sum."""
    variable: str = Field(default=_PRECIPITATION, exclude_if=lambda name: name == _PRECIPITATION)
    """Sum over hours that is predicted: one of the table, or of an accumulated variable of one's own."""
    dry_threshold: Positive | None = Field(default=None, exclude_if=lambda dry: dry is None)
    """Sum in the variable's units from which on a time is not dry, for SEEPS. Of precipitation it is known;
    without it other sums have no SEEPS."""

    @model_validator(mode="after")
    def _increasing(self) -> Self:
        if sorted(set(self.lead_times_hours)) != list(self.lead_times_hours):
            raise ValueError(f"lead_times_hours must increase without repeats, found {self.lead_times_hours}")
        return self

    @property
    def window(self) -> Window:
        """Inputs at t − history_hours and t, targets at t + lead times."""
        return Window(
            input_grid=self.grid,
            target_grid=self.grid,
            input_hours=(-self.history_hours, 0),
            target_hours=self.lead_times_hours,
        )

    @property
    def needs_climatology(self) -> tuple[str, ...]:
        """The sum, because SEEPS and ACC are relative to its climatology."""
        return (self.variable,)

    @property
    def dry_thresholds(self) -> Mapping[str, float]:
        """The sum's, if it is given."""
        return {} if self.dry_threshold is None else {self.variable: self.dry_threshold}

    @property
    def baselines(self) -> tuple[str, ...]:
        """Persistence of the last input, and the climatology."""
        return "persistence", "climatology"

    @property
    def report_sections(self) -> tuple[str, ...]:
        """SEEPS, ACC and the categories of precipitation."""
        return ("precipitation",)

    def predicted(self, variables: VariableSet) -> VariableSet:
        """The sum alone.

        Raises:
            ValueError: the sum is not among the variables, or is none.
        """
        if self.variable not in variables.surface:
            raise ValueError(f"task {self.name}: expected {self.variable} among variables.surface")
        if self.variable not in variables.sums:
            raise ValueError(
                f"task {self.name}: expected a sum over hours, found {self.variable}; found sums: "
                f"{', '.join(variables.sums) or 'none'}"
            )
        return variables.of(surface=(self.variable,), accumulated=variables.accumulated)

    def loss(self, prediction: "Fields", target: "Fields", scale: "Fields") -> "torch.Tensor":
        """Mean absolute error of normalized precipitation (see ``interfaces.Task``)."""
        from weatherpeft.samples.batch import Fields
        from weatherpeft.tasks.losses.normalized import normalized_absolute_error

        return normalized_absolute_error(
            prediction, target, Fields({self.variable: scale.surface[self.variable]}, {})
        )
