"""Variables of one's own, which an experiment defines for itself."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeAlias

from pydantic import AfterValidator, Field, field_validator, model_validator

from weatherpeft.fields.table import NO_PARAM_ID, STD, VARIABLES, Variable, accumulation, variable_meant
from weatherpeft.spec import Hours, Positive, Real, Spec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Fields: TypeAlias = Mapping[str, NDArray[np.float32]]

_RESERVED = frozenset(
    {
        *(
            "time",
            "hourly_time",
            "init_time",
            "level",
            "latitude",
            "longitude",
            "member",
            "number",
            "channel",
        ),
        *("fields", "scale", "offset", "error_max", "error_rms", "prediction_timedelta", "preliminary"),
        *("hourly_preliminary", *(row.short_name for row in VARIABLES.values())),
    }
)
"""Names that mean something else in stores and tables."""


OWN_NAME = r"[A-Za-z0-9_]{1,100}"
"""What the name of a variable of one's own looks like."""


class Log1p(Spec):
    """``log(1 + x / scale)``, for what is often near 0 and sometimes large, such as rain.

    Values below 0 are mirrored, so that each value has one that it comes back from.
    """

    name: Literal["log1p"]
    """Selects this transformation."""
    scale: Positive = 1.0
    """Value, in the variable's units, around which the logarithm begins; smaller ones stay proportional."""

    def forward(self, values: "NDArray[np.float32]") -> "NDArray[np.float32]":
        """Transform values of any shape.

        >>> import numpy as np
        >>> rain = Log1p(name="log1p", scale=1e-3)
        >>> there = rain.forward(np.array([-0.001, 0, 0.001, 0.1], np.float32))
        >>> [round(float(value), 3) for value in there]
        [-0.693, 0.0, 0.693, 4.615]
        >>> [round(float(value), 6) for value in rain.inverse(there)]
        [-0.001, 0.0, 0.001, 0.1]
        """
        import numpy as np

        exact = values.astype(np.float64)
        return np.copysign(np.log1p(np.abs(exact) / self.scale), exact).astype(np.float32)

    def inverse(self, values: "NDArray[np.float32]") -> "NDArray[np.float32]":
        """Bring transformed values of any shape back to the variable's units; too large ones are infinite."""
        import numpy as np

        exact = values.astype(np.float64)
        with np.errstate(over="ignore"):
            return np.copysign(np.expm1(np.abs(exact)) * self.scale, exact).astype(np.float32)


class Definition(Spec):
    """A variable that the table of variables lacks."""

    kind: Literal["surface", "atmospheric", "static", "accumulated"]
    """Fields at single levels, on pressure levels, without time, or sums over the hour that ends at the valid
    time. Of the latter, ``NAME_6hr`` among the surface variables is the sum of six hours."""
    units: str
    """Units in stores, scores and maps, as UDUNITS reads them. Files may have others that convert to them."""
    long_name: str = ""
    """Name in tables and figures; by default made from the variable's name."""
    short_name: str = ""
    """ECMWF's short name, in GRIB and NetCDF files."""
    param_id: Annotated[int, Field(ge=1, lt=10**9)] | None = None
    """ECMWF's param id, in GRIB files."""
    standard_name: str = ""
    """CF standard name, in NetCDF files."""
    aliases: tuple[str, ...] = ()
    """Further names in files."""
    plausible: tuple[Real, Real] | None = None
    """Least and greatest value that a field of raw data may have; by default any number but fill values."""
    minimum: Real | None = None
    """Floor to which predictions are raised."""
    categorical: bool = False
    """Whether the values of a static variable are numbers of classes, which have no mean."""
    partial: bool = Field(default=False, exclude_if=lambda partial: not partial)
    """Whether the variable is undefined in places, where NaN is no error."""
    forecast_hours: Hours | None = Field(default=None, exclude_if=lambda hours: hours is None)
    """Hours of the forecast, for a surface variable that is a sum since the start of the forecast."""
    transformation: Log1p | None = None
    """What a model sees of the values, and predicts. All else is in the variable's units."""
    starts_from: str | None = None
    """Variable of the table from whose embedding a pretrained model's starts; by default from random
    weights."""

    @field_validator("units")
    @classmethod
    def _readable(cls, units: str) -> str:
        from cf_units import Unit

        plain = units.strip().replace("**", "").replace("^", "")
        try:
            unit = Unit(plain)
        except ValueError:
            unit = Unit("unknown")
        if not plain or unit.is_unknown() or unit.is_no_unit():
            raise ValueError(f"expected units that UDUNITS reads, such as W m-2 or 1, found {units!r}")
        return plain

    @field_validator("starts_from")
    @classmethod
    def _in_the_table(cls, name: str | None) -> str | None:
        if name is not None and name not in VARIABLES:
            known = f"; known here: {', '.join(VARIABLES)}"
            raise ValueError(f"unknown variable {name!r}{variable_meant(name, VARIABLES) or known}")
        return name

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.plausible and not self.plausible[0] < self.plausible[1]:
            raise ValueError(f"plausible: expected the smaller number first, found {self.plausible}")
        if self.starts_from and self._place != _place(VARIABLES[self.starts_from].kind):
            raise ValueError(
                f"starts_from: expected a variable of the kind {self.kind}, found {self.starts_from}, which "
                f"is {VARIABLES[self.starts_from].kind}"
            )
        wrong = [key for key in ("minimum", "transformation") if getattr(self, key) is not None]
        if self.kind == "static" and wrong:
            raise ValueError(f"{wrong[0]}: static variables are not predicted and have none")
        if self.kind == "static" and self.partial:
            raise ValueError("partial: a static variable is defined everywhere; fill it in the files")
        if self.kind != "surface" and self.forecast_hours:
            raise ValueError(f"forecast_hours: expected the kind surface, found {self.kind}")
        if self.kind != "static" and self.categorical:
            raise ValueError(f"categorical: expected the kind static, found {self.kind}")
        return self

    @property
    def _place(self) -> str:
        return _place(self.kind)

    @property
    def in_files(self) -> "Definition":
        """What a download needs to know, so that a change of all else downloads nothing again."""
        keys = ("kind", "units", "short_name", "param_id", "standard_name", "aliases", "partial")
        return Definition(**{key: getattr(self, key) for key in (*keys, "forecast_hours")})

    def row(self, name: str) -> Variable:
        """The variable as a row like those of the table.

        Args:
            name: its name; of an accumulated one perhaps that of a sum of hours, such as ``snowfall_6hr``.
        """
        hourly, hours = (accumulation(name) if self.kind == "accumulated" else None) or (name, 0)
        if hours:
            row, own = self.row(hourly), self.plausible
            return replace(
                row,
                name=name,
                kind="surface",
                long_name=f"{row.long_name} over {hours} h",
                sum_hours=hours,
                plausible=own and (hours * own[0], hours * own[1]),
            )
        return Variable(
            name,
            self.short_name or name,
            NO_PARAM_ID if self.param_id is None else self.param_id,
            self.units,
            self.kind,
            self.long_name or name.replace("_", " ").capitalize(),
            self.aliases,
            categorical=self.categorical,
            partial=self.partial,
            forecast_hours=self.forecast_hours or 0,
            minimum=self.minimum,
            plausible=self.plausible,
            standard_name=self.standard_name,
        )


def definition_of(name: str, define: Mapping[str, Definition]) -> Definition | None:
    """The definition of a variable of one's own, or of the hourly one whose sum it is; otherwise None."""
    if name in define:
        return define[name]
    hourly, _ = accumulation(name) or ("", 0)
    return define[hourly] if hourly in define and define[hourly].kind == "accumulated" else None


def _place(kind: str) -> str:
    """Which embeddings of a model a variable has."""
    return "surface" if kind == "accumulated" else kind


def _check_names(definitions: dict[str, Definition]) -> dict[str, Definition]:
    for name in definitions:
        if not re.fullmatch(OWN_NAME, name):
            raise ValueError(f"{name!r}: expected a name of letters, digits and underscores")
        if name in VARIABLES:
            raise ValueError(f"{name}: the table of variables has this name; leave the definition out")
        if name in _RESERVED or name.endswith(STD):
            raise ValueError(f"{name}: this name means something else; choose another one")
        if match := re.fullmatch(r"(\w+)_(\d+)hr", name):
            raise ValueError(
                f"{name}: this name means something else, the sum of {match[2]} hours of the accumulated "
                f"variable {match[1]}; define that, or choose another name"
            )
    check_apart([definition.row(name) for name, definition in definitions.items()])
    return definitions


def check_apart(rows: list[Variable]) -> None:
    """Refuse variables that files could not tell apart.

    Raises:
        ValueError: two of them have a name in files or a param id in common. The message names them.
    """
    for one, other in combinations(rows, 2):
        if (one.kind == "atmospheric") != (other.kind == "atmospheric"):
            continue
        shared = _names_in_files(one) & _names_in_files(other)
        if shared:
            raise ValueError(
                f"{one.name} and {other.name} have the same name in files, {sorted(shared)[0]}; say what "
                "each of them is called"
            )


def _names_in_files(row: Variable) -> set[str]:
    names = {row.name, row.short_name, *row.aliases, row.standard_name}
    return (names | ({f"param id {row.param_id}"} if row.param_id != NO_PARAM_ID else set())) - {""}


Definitions: TypeAlias = Annotated[
    dict[str, Definition], AfterValidator(_check_names), Field(exclude_if=lambda defined: not defined)
]
"""Variables of one's own by name, which has letters, digits and underscores and is not in the table."""


class Defining(Spec):
    """What names variables and defines those among them that the table lacks."""

    define: Definitions = {}
    """Variables that the table of variables lacks, by name."""

    def row(self, name: str) -> Variable:
        """The row of a variable of the table or of one's own."""
        own = self.definition(name)
        return own.row(name) if own else VARIABLES[name]

    def definition(self, name: str) -> Definition | None:
        """The definition of a variable of one's own, or of the hourly one whose sum it is; otherwise None."""
        return definition_of(name, self.define)

    def transformed(self, fields: "Fields") -> "dict[str, NDArray[np.float32]]":
        """Fields by name, of any shape, as a model sees them."""
        return {
            name: its.forward(field) if (its := self._changed(name)) else field
            for name, field in fields.items()
        }

    def in_units(self, fields: "Fields") -> "dict[str, NDArray[np.float32]]":
        """Fields by name, of any shape, from what a model predicts to the units of their variables."""
        return {
            name: its.inverse(field) if (its := self._changed(name)) else field
            for name, field in fields.items()
        }

    def _changed(self, name: str) -> Log1p | None:
        own = self.definition(name)
        return own.transformation if own else None

    def defined(self, names: Iterable[Any]) -> dict[str, Definition]:
        """The definitions of those among some names, or of the hourly variables whose sums they are."""
        texts = [name for name in names if isinstance(name, str)]
        hourly = {found[0] for name in texts if (found := accumulation(name))}
        return {name: own for name, own in self.define.items() if name in texts or name in hourly}


def handed_out(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Definition]]:
    """The values of an experiment, with its definitions at each place that names a variable of its own.

    The specs of jobs thus hold the definitions that they need, and no others.

    Args:
        values: what a YAML reader returned, with the key ``define``.

    Returns:
        The values, and all definitions by name.

    Raises:
        pydantic.ValidationError: a definition is wrong.
    """
    own = Defining.parse({"define": values["define"]})
    written = own.model_dump(mode="json").get("define", {})

    def completed(place: Any) -> Any:
        if not isinstance(place, Mapping):
            return place
        texts = [text for value in place.values() for text in (value if isinstance(value, list) else [value])]
        named = own.defined(texts)
        return {**place, "define": {name: written[name] for name in named}} if named else place

    changed = {**values, "variables": completed(values.get("variables"))}
    forecasts, task = values.get("forecasts"), values.get("task")
    if isinstance(forecasts, Mapping):
        changed["forecasts"] = {**forecasts, "variables": completed(forecasts.get("variables"))}
    if isinstance(task, Mapping) and isinstance(task.get("targets"), list):
        changed["task"] = {**task, "targets": [completed(target) for target in task["targets"]]}
    return changed, own.define
