"""Days and ensemble members of the training, validation and test samples."""

from itertools import combinations
from typing import Self

from pydantic import model_validator

from weatherpeft.spec import Member, Period, Spec


class Split(Spec):
    """Samples of some periods and members. The whole window of a sample lies inside one period."""

    periods: tuple[Period, ...]
    """Periods of the samples, which must not overlap."""
    members: tuple[Member, ...] = ()
    """Numbers of the ensemble members; empty if the data has no member dimension."""

    @model_validator(mode="after")
    def _apart(self) -> Self:
        for one, other in combinations(self.periods, 2):
            if one.overlaps(other):
                raise ValueError(f"periods {one.label} and {other.label} share a day")
        return self


class Splits(Spec):
    """Training, validation and test samples. No day of a member is in two of them."""

    train: Split
    """Samples for training."""
    validation: Split
    """Samples for validation during training."""
    test: Split
    """Samples that are predicted and scored."""

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
