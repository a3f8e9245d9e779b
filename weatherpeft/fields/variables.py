"""The variables of an experiment: those of the table, and those that it defines itself."""

from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from typing import Annotated, Any, Self

from pydantic import AfterValidator, ValidationInfo, model_validator

from weatherpeft.fields.definition import Defining, Definition, check_apart
from weatherpeft.fields.table import RELATED, STD, VARIABLES, Kind, Variable, accumulation, variable_meant
from weatherpeft.spec import LevelHpa, Real

__all__ = [
    "RELATED",
    "STD",
    "VARIABLES",
    "Definition",
    "FieldSet",
    "OneField",
    "Variable",
    "VariableSet",
    "accumulation",
    "channel_label",
]


MOST_HOURS = 24
"""Most hours in a sum of hourly fields."""


def _known(*kinds: Kind) -> AfterValidator:
    def check(names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        for name in names:
            _check_known(name, kinds, info.data.get("define", {}))
        if len(set(names)) != len(names):
            raise ValueError(f"a variable is named twice: {', '.join(names)}")
        return names

    return AfterValidator(check)


def _check_known(name: str, kinds: Sequence[Kind], define: Mapping[str, Definition]) -> None:
    """Refuse what is no variable of some kinds: of the table, of one's own, or a sum of the latter."""
    rows: Mapping[str, Variable | Definition] = {**VARIABLES, **define}
    known = [each for each, row in rows.items() if row.kind in kinds]
    if name in known:
        return
    if "surface" in kinds:
        found = accumulation(name)
        if found and found[0] in define and define[found[0]].kind == "accumulated":
            if found[1] > MOST_HOURS:
                raise ValueError(f"{name}: expected a sum of at most {MOST_HOURS} hours")
            return
        known += [f"{each}_6hr" for each, own in define.items() if own.kind == "accumulated"]
    guess = variable_meant(name, known, [own.row(each) for each, own in define.items()])
    raise ValueError(f"unknown variable {name!r}; known here: {', '.join(known)}{guess}")


class VariableSet(Defining):
    """The variables of an experiment, by WeatherBench 2 names.

    ``define`` has the definitions of those among them that the table lacks. In an experiment they stand at
    its top.
    """

    surface: Annotated[tuple[str, ...], _known("surface")] = ()
    """Single-level variables: instantaneous ones, and sums over hours such as ``total_precipitation_6hr``."""
    accumulated: Annotated[tuple[str, ...], _known("accumulated")] = ()
    """Sums over the hour that ends at the valid time."""
    atmospheric: Annotated[tuple[str, ...], _known("atmospheric")] = ()
    """Variables on pressure levels."""
    levels_hpa: tuple[LevelHpa, ...] = ()
    """Pressure levels in hPa, in increasing order."""
    static: Annotated[tuple[str, ...], _known("static")] = ()
    """Variables that do not change with time."""

    @model_validator(mode="after")
    def _levels(self) -> Self:
        if tuple(sorted(set(self.levels_hpa))) != self.levels_hpa:
            raise ValueError(f"levels_hpa must increase without repeats, found {self.levels_hpa}")
        if bool(self.atmospheric) != bool(self.levels_hpa):
            raise ValueError("atmospheric variables and levels_hpa must be given together")
        for name in self.surface:
            hourly, hours = accumulation(name) or (None, 0)
            if hourly and hourly not in self.accumulated:
                raise ValueError(f"{name} is the sum of {hours} hours: name {hourly} among accumulated too")
        return self

    @model_validator(mode="after")
    def _apart(self) -> Self:
        """Refuse variables of one's own that files or tables could not tell from others."""
        for name in self.define:
            others = [other for other in self.stored.names if other not in self.define]
            for other in others:
                check_apart([self.row(name), self.row(other)])
        labels = [channel_label(name, level) for name, level in self.channels()]
        for label in labels if self.define else []:
            if labels.count(label) > 1:
                raise ValueError(f"two fields would be called {label}; choose another name")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """All variables: surface, atmospheric, accumulated, static."""
        return (*self.surface, *self.atmospheric, *self.accumulated, *self.static)

    def of(self, **names: tuple[Any, ...]) -> "VariableSet":
        """A set of some of the variables, with the definitions of its own.

        Args:
            names: the fields of the set, as those of this class.
        """
        return VariableSet(define=self.defined(chain.from_iterable(names.values())), **names)

    def only(self, names: Collection[str]) -> "VariableSet":
        """Those of the variables that have one of some names, with their levels and definitions."""
        atmospheric = tuple(name for name in self.atmospheric if name in names)
        return self.of(
            surface=tuple(name for name in self.surface if name in names),
            accumulated=tuple(name for name in self.accumulated if name in names),
            atmospheric=atmospheric,
            levels_hpa=self.levels_hpa if atmospheric else (),
            static=tuple(name for name in self.static if name in names),
        )

    @property
    def stored(self) -> "VariableSet":
        """The variables that sources bring and stores hold; readers make sums of hourly fields."""
        surface = tuple(name for name in self.surface if not self.row(name).sum_hours)
        return self.model_copy(update={"surface": surface})

    @property
    def sums(self) -> tuple[str, ...]:
        """The sums over hours."""
        return tuple(name for name in self.surface if self.row(name).sum_hours)

    def channels(self) -> list[tuple[str, int | None]]:
        """Name and level of every surface and atmospheric field: surface first, then variables × levels."""
        surface: list[tuple[str, int | None]] = [(name, None) for name in self.surface]
        return surface + [(name, level) for name in self.atmospheric for level in self.levels_hpa]


def channel_label(name: str, level_hpa: int | None) -> str:
    """A short label of a field for tables and figures: a variable of one's own has its whole name.

    >>> channel_label("temperature", 850), channel_label("2m_temperature", None), channel_label("hail", None)
    ('t850', '2t', 'hail')
    """
    if name not in VARIABLES:
        return name if level_hpa is None else f"{name}_{level_hpa}"
    short = VARIABLES[name].short_name
    return short if level_hpa is None else f"{short}{level_hpa}"


class OneField(Defining):
    """One variable, at one level if it is atmospheric.

    ``define`` has its definition if it is not in the table. In an experiment that stands at its top.
    """

    variable: str
    """WeatherBench 2 name of the variable."""
    level_hpa: LevelHpa | None = None
    """Pressure level in hPa, of an atmospheric variable."""

    @model_validator(mode="after")
    def _exists(self) -> Self:
        _check_known(self.variable, ("surface", "atmospheric"), self.define)
        if (self.row(self.variable).kind == "atmospheric") != (self.level_hpa is not None):
            raise ValueError(
                f"{self.variable}: level_hpa belongs to atmospheric variables, found {self.level_hpa}"
            )
        return self

    @property
    def label(self) -> str:
        """A short label for tables and figures (see ``channel_label``)."""
        return channel_label(self.variable, self.level_hpa)


class FieldSet(Defining):
    """The variables that a model sees: those in the data, and constant placeholders for others.

    A backbone may need a variable that the data lacks (Aurora needs at least one surface, one atmospheric
    and one static variable). A placeholder is declared by name and value. It enters the model and stays out
    of losses and scores. ``define`` has the definitions of placeholders that the table lacks.
    """

    measured: VariableSet
    """Variables in the data."""
    placeholders: dict[str, Real] = {}
    """Constant values of variables that the data lacks, by name. An atmospheric placeholder has all levels of
    the data, or 500 hPa where the data has none."""

    @model_validator(mode="after")
    def _placeholders(self) -> Self:
        measured = {*self.measured.surface, *self.measured.atmospheric, *self.measured.static}
        for name in self.placeholders:
            try:
                _check_known(name, ("surface", "atmospheric", "static"), self.define)
            except ValueError as error:
                raise ValueError(
                    f"placeholder {name!r} is not a known surface, atmospheric or static variable"
                    f"{variable_meant(name, (*VARIABLES, *self.define))}"
                ) from error
            if name in measured:
                raise ValueError(f"placeholder {name!r} is in the data too")
        return self

    @property
    def all(self) -> VariableSet:
        """The measured variables, followed by the placeholders."""
        more: dict[str, list[str]] = {"surface": [], "atmospheric": [], "static": []}
        for name in self.placeholders:
            more[self.row(name).kind].append(name)
        return VariableSet(
            define={**self.measured.define, **self.define},
            surface=(*self.measured.surface, *more["surface"]),
            accumulated=self.measured.accumulated,
            atmospheric=(*self.measured.atmospheric, *more["atmospheric"]),
            levels_hpa=self.measured.levels_hpa or ((500,) if more["atmospheric"] else ()),
            static=(*self.measured.static, *more["static"]),
        )
