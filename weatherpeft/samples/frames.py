"""The samples of a task, read from the regridded stores as arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from weatherpeft.artifacts.fields import FieldReader
from weatherpeft.fields.regridding import interpolation_matrices
from weatherpeft.fields.variables import FieldSet, VariableSet
from weatherpeft.samples.counts import expected, whole
from weatherpeft.samples.splits import Split
from weatherpeft.samples.window import Window
from weatherpeft.spec import Period


@dataclass(frozen=True)
class Sample:
    """What identifies a sample.

    Attributes:
        time: time of its last input.
        member: number of its ensemble member; None if the data has no member dimension.
        lead_hours: lead time of its target in hours.
    """

    time: np.datetime64
    member: int | None
    lead_hours: int = 0


class SampleFrames:
    """The samples of one split of a task, as arrays.

    The whole window of a sample, inputs and target, lies inside one period of the split.

    Attributes:
        samples: samples in order of time, then member, then lead time.
        expected: number of samples, if the data had every day of the split.
        static: fields without time by name, ``(latitude, longitude)`` each.

    Args:
        window: times and grids of a sample.
        fields: variables of the samples and declared placeholders.
        directories: artifacts of the regrid stage.
        split: periods and members.

    Raises:
        ValueError: the split has no sample.
    """

    def __init__(self, window: Window, fields: FieldSet, directories: Sequence[Path], split: Split) -> None:
        self.window, self.fields, self.split = window, fields, split
        measured = fields.measured
        names = (*measured.surface, *measured.atmospheric)
        self._target = FieldReader(directories, window.target_grid, names)
        self._input = (
            self._target
            if window.input_grid == window.target_grid
            else FieldReader(directories, window.input_grid, names)
        )
        self._matrices = (
            None
            if window.input_grid == window.target_grid
            else interpolation_matrices(window.input_grid, window.target_grid)
        )
        self.static = {
            name: np.array(self._fill(name) if name in fields.placeholders else self._target.static(name))
            for name in fields.all.static
        }
        self.samples = self._find()
        times, per_time = self._target, len(window.target_hours) * len(split.members or (None,))
        self.expected = per_time * expected(window, split.periods, times.hours, times.sum_hours)
        if not self.samples:
            raise ValueError(self._why_none())

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def input_label(self) -> str:
        """Name of the last input frame for the titles of maps."""
        return "Input" if self._matrices is None else "Input, interpolated"

    @property
    def target_variables(self) -> VariableSet:
        """Variables and levels of the target."""
        return self.fields.all

    def told(self, sample: Sample) -> tuple[np.datetime64, int]:
        """The time and the lead time in hours that the model gets for a sample."""
        return sample.time, sample.lead_hours

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Endings of the names of a prediction's fields; a distribution has two."""
        return ("",)

    def seen(self, fields: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Fields by name, of any shape, as they become tensors: transformed if their variable is."""
        return self.fields.all.transformed(fields)

    def in_units(self, fields: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Predicted fields by name, of any shape, in the units of their variables."""
        return self.fields.all.in_units(fields)

    def facts(self) -> list[tuple[str, str]]:
        """Names and texts for the report, in addition to those of every task."""
        return []

    def levels_left_out(self, name: str) -> list[int]:
        """Indices of the target's levels at which a variable is not predicted."""
        return []

    def _find(self) -> list[Sample]:
        return [
            Sample(time, member, lead)
            for period in self.split.periods
            for time in whole(self.window, self._inside(period))
            for member in self.split.members or (None,)
            for lead in self.window.target_hours
        ]

    def _inside(self, period: Period) -> np.ndarray:
        """The times in a period at which all fields are there, in order."""
        found = set(self._target.times([period])) & set(self._input.times([period]))
        return np.array(sorted(found), "datetime64[ns]")

    def _why_none(self) -> str:
        window, periods = self.window, self.split.periods
        labels = ", ".join(period.label for period in periods)
        offsets = ", ".join(f"{hours:+d}" for hours in window.hours)
        count = sum(self._inside(period).size for period in periods)
        hours = ", ".join(f"{hour:02d}" for hour in self._target.hours)
        return (
            f"no complete sample lies in the periods {labels}: it needs fields at {offsets} h from its time, "
            f"and the data has {count} times there, at {hours} UTC"
        )

    def _fill(self, name: str) -> np.ndarray:
        seen = self.fields.all
        levels = (len(seen.levels_hpa),) if name in seen.atmospheric else ()
        shape = (*levels, *self.window.target_grid.shape)
        return np.full(shape, self.fields.placeholders[name], dtype=np.float32)

    def inputs(self, sample: Sample) -> list[dict[str, np.ndarray]]:
        """The input frames on the target grid, oldest first, with placeholders.

        Returns:
            Fields by name of each frame, ``([level,] latitude, longitude)`` each.
        """
        return [self._frame(self._input, sample, hours, self._matrices) for hours in self.window.input_hours]

    def target(self, sample: Sample) -> dict[str, np.ndarray]:
        """The target fields with placeholders by name, ``([level,] latitude, longitude)`` each."""
        return self._frame(self._target, sample, sample.lead_hours, None)

    def later_targets(self, sample: Sample) -> list[dict[str, np.ndarray]]:
        """The fields of ``target`` at each of the window's later hours."""
        return [self._frame(self._target, sample, hours, None) for hours in self.window.later_hours]

    def _frame(
        self,
        reader: FieldReader,
        sample: Sample,
        hours: int,
        matrices: tuple[np.ndarray, np.ndarray] | None,
    ) -> dict[str, np.ndarray]:
        fields = dict(reader.read(sample.time + np.timedelta64(hours, "h"), sample.member))
        if matrices is not None:
            rows, columns = matrices
            fields = {name: (rows @ field @ columns.T).astype(np.float32) for name, field in fields.items()}
        for name in self.fields.placeholders:
            fields[name] = self._fill(name)
        return fields
