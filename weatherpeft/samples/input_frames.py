"""Samples that are predicted without a target."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from weatherpeft.fields.regridding import interpolation_matrices
from weatherpeft.fields.variables import FieldSet, VariableSet
from weatherpeft.samples.counts import whole
from weatherpeft.samples.decoded import DecodedFields
from weatherpeft.samples.ensemble_frames import EnsembleFrames
from weatherpeft.samples.ensemble_window import EnsembleWindow
from weatherpeft.samples.frames import Sample, SampleFrames
from weatherpeft.samples.splits import Split
from weatherpeft.samples.window import Window


def input_frames(
    window: Window, fields: FieldSet, data: DecodedFields, static: Mapping[str, NDArray[np.float32]]
) -> SampleFrames:
    """The samples of all times that have every input frame.

    Args:
        window: times and grids of a sample.
        fields: variables of the samples and declared placeholders.
        data: the inputs on the window's input grid.
        static: measured fields without time on the target grid by name, ``(latitude, longitude)`` each.

    Raises:
        ValueError: there is no such time.
    """
    if isinstance(window, EnsembleWindow):
        return EnsembleInputFrames(window, fields, data, static)
    return InputFrames(window, fields, data, static)


class _WithoutTarget:
    """What samples without a target have in place of it."""

    @property
    def target_variables(self) -> VariableSet:
        """None: there is no target."""
        return VariableSet()

    def target(self, sample: Sample) -> dict[str, np.ndarray]:
        """Nothing: there is no target."""
        return {}


class InputFrames(_WithoutTarget, SampleFrames):
    """The samples of all times that have every input frame; see ``input_frames``."""

    def __init__(
        self,
        window: Window,
        fields: FieldSet,
        data: DecodedFields,
        static: Mapping[str, NDArray[np.float32]],
    ) -> None:
        self.window, self.fields = window, fields
        self.split = Split(periods=(), members=tuple(data.members))
        self._input = data  # type: ignore[assignment]  # reads the same fields of other data
        same = window.input_grid == window.target_grid
        self._matrices = None if same else interpolation_matrices(window.input_grid, window.target_grid)
        self.static = {
            name: self._fill(name) if name in fields.placeholders else static[name]
            for name in fields.all.static
        }
        past = window.model_copy(update={"target_hours": (0,)})
        times = data.times()
        self.samples = [
            Sample(time, member, lead)
            for time in whole(past, times)
            for member in self.split.members or (None,)
            for lead in window.target_hours
        ]
        self.expected = len(self.samples)
        if not self.samples:
            hours = ", ".join(f"{hour:+d}" for hour in window.input_hours)
            raise ValueError(
                f"no time can be predicted: it needs fields at {hours} h from it, and the data has "
                f"{times.size} times{f' from {times[0]} to {times[-1]}' if times.size else ''}"
            )


class EnsembleInputFrames(_WithoutTarget, EnsembleFrames):
    """The forecasts of an ensemble; see ``input_frames``."""

    def __init__(
        self,
        window: EnsembleWindow,
        fields: FieldSet,
        data: DecodedFields,
        static: Mapping[str, NDArray[np.float32]],
    ) -> None:
        self.window, self.fields, self.ensemble = window, fields, window.ensemble
        self.split = Split(periods=())
        self.members = data.members
        if len(self.members) != self.ensemble.members:
            found = ", ".join(map(str, self.members)) or "none"
            raise ValueError(f"expected {self.ensemble.members} members, found {found}")
        self._forecasts = data  # type: ignore[assignment]  # reads the same fields of other data
        self.static = {
            name: self._fill(name) if name in fields.placeholders else static[name]
            for name in fields.all.static
        }
        (hours,) = window.target_hours
        lead = np.timedelta64(hours, "h")
        self.samples = [Sample(time - lead, None, hours) for time in data.times()]
        self.expected = len(self.samples)
        if not self.samples:
            raise ValueError("no forecast can be corrected: the data has none with all variables")
