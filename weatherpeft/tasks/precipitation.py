"""Regional precipitation: two frames of the atmosphere to the rain of later hours."""

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from weatherpeft.fields.grid import Grid
from weatherpeft.fields.variables import VariableSet
from weatherpeft.samples.window import Window
from weatherpeft.tasks.bases.fields import FieldTask

if TYPE_CHECKING:
    import torch

    from weatherpeft.samples.batch import Fields

_PRECIPITATION = "total_precipitation_6hr"


class Precipitation(FieldTask):
    """Two frames on a grid to the sums of six hours that end some lead times later.

    One model is told the lead time of every sample and learns all of them. The past sum of six hours is an
    input like any other surface variable, and the only one whose prediction counts.
    """

    name: Literal["precipitation"]
    """Selects this task."""
    grid: Grid
    """Grid of inputs and targets; a region keeps the area weights of the global grid."""
    history_hours: int = Field(default=12, gt=0)
    """Hours between the two input frames."""
    lead_times_hours: Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(min_length=1)] = (12, 24, 36)
    """From the last input frame to the end of the sums."""

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
        """The sums of six hours: SEEPS and ACC are relative to their climatology."""
        return (_PRECIPITATION,)

    @property
    def baselines(self) -> tuple[str, ...]:
        """The last input, and the climatology."""
        return "persistence", "climatology"

    @property
    def report_sections(self) -> tuple[str, ...]:
        """SEEPS, ACC and the categories of rain."""
        return ("precipitation",)

    def predicted(self, variables: VariableSet) -> VariableSet:
        """The sum of six hours alone.

        Raises:
            ValueError: it is not among the variables.
        """
        if _PRECIPITATION not in variables.surface:
            raise ValueError(f"task {self.name}: expected {_PRECIPITATION} among variables.surface")
        only = {"surface": (_PRECIPITATION,), "atmospheric": (), "levels_hpa": (), "static": ()}
        return variables.model_copy(update=only)

    def loss(self, prediction: "Fields", target: "Fields", scale: "Fields") -> "torch.Tensor":
        """Mean absolute error of normalized precipitation (see ``interfaces.Task``)."""
        from weatherpeft.samples.batch import Fields
        from weatherpeft.tasks.losses.normalized import normalized_absolute_error

        return normalized_absolute_error(
            prediction, target, Fields({_PRECIPITATION: scale.surface[_PRECIPITATION]}, {})
        )
