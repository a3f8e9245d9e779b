"""What a sample is made of: times, grids, periods, members."""

from itertools import combinations
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from weatherpeft.fields.grid import Grid
from weatherpeft.fields.variables import OneField, VariableSet
from weatherpeft.spec import Period, Spec


class Ensemble(Spec):
    """An ensemble forecast as the input of a sample, and what is predicted of its valid time."""

    members: int = Field(ge=2)
    """Of the forecast."""
    frames: Literal["moments", "members"]
    """Input frames: the members' standard deviation and, last, their mean; or every member."""
    targets: tuple[OneField, ...] = Field(min_length=1)
    """Fields whose mean and spread are predicted."""

    @property
    def history(self) -> int:
        """Number of input frames."""
        return 2 if self.frames == "moments" else self.members

    @property
    def variables(self) -> VariableSet:
        """The targets' variables and levels; where variables have different levels, more than the targets."""
        upper = [target for target in self.targets if target.level_hpa is not None]
        return VariableSet(
            surface=tuple(target.variable for target in self.targets if target.level_hpa is None),
            atmospheric=tuple(dict.fromkeys(target.variable for target in upper)),
            levels_hpa=tuple(sorted({target.level_hpa for target in upper if target.level_hpa is not None})),
        )


class Window(Spec):
    """The frames of a sample, as hours relative to its time."""

    input_grid: Grid
    """Grid of the input's data; the input is interpolated to the target's grid."""
    target_grid: Grid
    """Grid of the model and of the target."""
    input_hours: tuple[int, ...]
    """Input frames, oldest first; the last is 0."""
    target_hours: Annotated[tuple[int, ...], Field(min_length=1)]
    """Target frames: a sample for each, where all of them lie in the data."""
    ensemble: Ensemble | None = Field(default=None, exclude_if=lambda ensemble: ensemble is None)
    """Of a forecast as the input, which starts at the sample's time and is valid at the target's."""


class Split(Spec):
    """Samples that belong together: whole windows inside one period, of some members."""

    periods: tuple[Period, ...]
    members: tuple[int, ...] = ()
    """Ensemble members; empty where the data has no member dimension."""

    @model_validator(mode="after")
    def _apart(self) -> Self:
        for one, other in combinations(self.periods, 2):
            if one.overlaps(other):
                raise ValueError(f"periods {one.label} and {other.label} share a day")
        return self


class Splits(Spec):
    """Training, validation and test samples, without a day of a member in two of them."""

    train: Split
    validation: Split
    test: Split

    @model_validator(mode="after")
    def _disjoint(self) -> Self:
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        for first, second in (("train", "validation"), ("train", "test"), ("validation", "test")):
            one, two = named[first], named[second]
            if one.members and two.members and not set(one.members) & set(two.members):
                continue
            for period in one.periods:
                for other in two.periods:
                    if period.overlaps(other):
                        raise ValueError(
                            f"{first} period {period.label} and {second} period {other.label} share a day"
                        )
        return self
