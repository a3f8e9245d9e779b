"""The frames of a sample: times and grids of its input and its target."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from weatherpeft.fields.grid import Grid
from weatherpeft.fields.variables import FieldSet
from weatherpeft.samples.splits import Split
from weatherpeft.spec import Offset, Spec

if TYPE_CHECKING:
    from weatherpeft.samples.frames import SampleFrames


class Window(Spec):
    """The frames of a sample of analyses, as hours relative to its time."""

    input_grid: Grid
    """Grid of the input data, which is interpolated to the target grid."""
    target_grid: Grid
    """Grid of the model and of the target."""
    input_hours: tuple[Offset, ...]
    """Hours of the input frames relative to the sample's time, oldest first; the last is 0."""
    target_hours: Annotated[tuple[Offset, ...], Field(min_length=1)]
    """Hours of the target frames relative to the sample's time. Each gives a sample if all of them are in the
    data."""
    later_hours: tuple[Offset, ...] = Field(default=(), exclude_if=lambda hours: not hours)
    """Hours of further targets of every sample, which a rollout from its first target reaches."""

    @property
    def hours(self) -> tuple[int, ...]:
        """Hours of all frames relative to the sample's time, in order."""
        return tuple(sorted({*self.input_hours, *self.target_hours, *self.later_hours}))

    def frames(
        self, fields: FieldSet, data: Sequence[Path], split: Split, forecasts: Sequence[Path] = ()
    ) -> "SampleFrames":
        """The samples of a split as arrays.

        Args:
            fields: variables that the model sees and declared placeholders.
            data: artifacts of the regrid stage, with analyses.
            split: periods and members.
            forecasts: artifacts of the regrid stage with forecasts, if samples are made of them.

        Raises:
            ValueError: the split has no sample.
        """
        from weatherpeft.samples.frames import SampleFrames

        return SampleFrames(self, fields, data, split)
