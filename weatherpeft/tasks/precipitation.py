"""Regional precipitation: from two frames of the atmosphere to the precipitation of later hours."""

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from weatherpeft.fields.grid import Grid
from weatherpeft.fields.variables import VariableSet
from weatherpeft.samples.window import Window
from weatherpeft.spec import Hours
from weatherpeft.tasks.bases.fields import FieldTask

if TYPE_CHECKING:
    import torch

    from weatherpeft.samples.batch import Fields

_PRECIPITATION = "total_precipitation_6hr"


class Precipitation(FieldTask):
    """Six-hour sums of precipitation that end some lead times after two frames, on the same grid.

    One model gets the lead time of every sample and learns all lead times. The past six-hour sum is an input
    like any other surface variable, and the only variable whose prediction counts.
    """

    name: Literal["precipitation"]
    """Selects this task."""
    grid: Grid
    """Grid of inputs and targets; a region keeps the area weights of the global grid."""
    history_hours: Hours = 12
    """Hours between the two input frames."""
    lead_times_hours: Annotated[tuple[Hours, ...], Field(min_length=1)] = (12, 24, 36)
    """Hours from the last input frame to the end of each six-hour sum."""

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
        """The six-hour sum, because SEEPS and ACC are relative to its climatology."""
        return (_PRECIPITATION,)

    @property
    def baselines(self) -> tuple[str, ...]:
        """Persistence of the last input, and the climatology."""
        return "persistence", "climatology"

    @property
    def report_sections(self) -> tuple[str, ...]:
        """SEEPS, ACC and the categories of precipitation."""
        return ("precipitation",)

    def predicted(self, variables: VariableSet) -> VariableSet:
        """The six-hour sum alone.

        Raises:
            ValueError: the six-hour sum is not among the variables.
        """
        if _PRECIPITATION not in variables.surface:
            raise ValueError(f"task {self.name}: expected {_PRECIPITATION} among variables.surface")
        return variables.of(surface=(_PRECIPITATION,), accumulated=variables.accumulated)

    def loss(self, prediction: "Fields", target: "Fields", scale: "Fields") -> "torch.Tensor":
        """Mean absolute error of normalized precipitation (see ``interfaces.Task``)."""
        from weatherpeft.samples.batch import Fields
        from weatherpeft.tasks.losses.normalized import normalized_absolute_error

        return normalized_absolute_error(
            prediction, target, Fields({_PRECIPITATION: scale.surface[_PRECIPITATION]}, {})
        )
