"""Training, validation and test samples: which days and which ensemble members."""

from itertools import combinations
from typing import Self

from pydantic import model_validator

from weatherpeft.spec import Period, Spec


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
