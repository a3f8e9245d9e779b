"""Ensemble forecasts as the input of samples."""

from typing import Literal

from pydantic import Field

from weatherpeft.fields.variables import OneField, VariableSet
from weatherpeft.spec import Spec


class Ensemble(Spec):
    """An ensemble forecast as the input of a sample, and the targets at its valid time."""

    members: int = Field(ge=2, lt=10**4)
    """Number of members of the forecast."""
    frames: Literal["moments", "members"]
    """Input frames: the standard deviation of the members followed by their mean, or every member."""
    targets: tuple[OneField, ...] = Field(min_length=1)
    """Fields whose mean and spread are predicted."""

    @property
    def history(self) -> int:
        """Number of input frames."""
        return 2 if self.frames == "moments" else self.members

    @property
    def variables(self) -> VariableSet:
        """Variables and levels of the targets. With levels that differ by variable, these are more fields."""
        upper = [target for target in self.targets if target.level_hpa is not None]
        return VariableSet(
            define={name: row for target in self.targets for name, row in target.define.items()},
            surface=tuple(target.variable for target in self.targets if target.level_hpa is None),
            atmospheric=tuple(dict.fromkeys(target.variable for target in upper)),
            levels_hpa=tuple(sorted({target.level_hpa for target in upper if target.level_hpa is not None})),
        )
