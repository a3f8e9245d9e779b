"""The table of variables, with the names that providers use, the param id and the units.

Names are those of WeatherBench 2. Short names, param ids and units are those of ECMWF's parameter database.
"""

import re
from dataclasses import dataclass, replace
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, model_validator

from weatherpeft.fields.plausible import PLAUSIBLE, VARYING, AnyRange, Range
from weatherpeft.spec import LARGEST, LevelHpa, Real, Spec, did_you_mean

Kind = Literal["surface", "atmospheric", "static", "accumulated"]


@dataclass(frozen=True)
class Variable:
    """A physical quantity.

    Attributes:
        name: WeatherBench 2 name.
        short_name: ECMWF short name, which Aurora uses too.
        param_id: ECMWF param id in GRIB.
        units: SI units of the canonical dataset.
        kind: ``surface`` and ``atmospheric`` variables are instantaneous, ``static`` ones have no time, and
            ``accumulated`` ones are sums over the hour that ends at the valid time.
        long_name: name in tables and figures.
        aliases: further names in NetCDF files.
        categorical: whether the values are numbers of classes, which have no mean.
        partial: whether the variable is undefined in places, where NaN is no error.
        forecast_hours: hours of the forecast, for a sum since its start; otherwise 0.
        sum_hours: number of hourly fields in a sum that ends at the valid time; otherwise 0.
        minimum: least possible value, to which predictions are raised; None where there is none.
        plausible: range of the values on Earth; None where nobody has said. See ``plausible.PLAUSIBLE``.
        varies: whether no field of many points has the same value everywhere.
    """

    name: str
    short_name: str
    param_id: int
    units: str
    kind: Kind
    long_name: str
    aliases: tuple[str, ...] = ()
    categorical: bool = False
    partial: bool = False
    forecast_hours: int = 0
    sum_hours: int = 0
    minimum: float | None = None
    plausible: AnyRange | None = None
    varies: bool = False

    def plausible_at(self, level_hpa: int | None) -> Range:
        """The plausible range at a level; where nobody has said, that of any number but fill values."""
        if self.plausible is None:
            return -LARGEST, LARGEST
        return self.plausible(level_hpa) if callable(self.plausible) else self.plausible


_ROWS = (
    Variable("2m_temperature", "2t", 167, "K", "surface", "2 m temperature", ("t2m",)),
    Variable("10m_u_component_of_wind", "10u", 165, "m s-1", "surface", "10 m zonal wind", ("u10",)),
    Variable("10m_v_component_of_wind", "10v", 166, "m s-1", "surface", "10 m meridional wind", ("v10",)),
    Variable("mean_sea_level_pressure", "msl", 151, "Pa", "surface", "Mean sea level pressure"),
    Variable("surface_pressure", "sp", 134, "Pa", "surface", "Surface pressure"),
    Variable("10m_wind_gust", "10fg", 49, "m s-1", "surface", "10 m wind gust", ("fg10",)),
    Variable("sea_surface_temperature", "sst", 34, "K", "surface", "Sea surface temperature", partial=True),
    Variable("skin_temperature", "skt", 235, "K", "surface", "Skin temperature"),
    Variable("total_cloud_cover", "tcc", 164, "1", "surface", "Total cloud cover"),
    Variable("total_column_water", "tcw", 136, "kg m-2", "surface", "Total column water"),
    Variable("total_column_water_vapour", "tcwv", 137, "kg m-2", "surface", "Total column water vapor"),
    Variable(
        "total_precipitation_48hr",
        "tp",
        228,
        "m",
        "surface",
        "Total precipitation over 48 h",
        forecast_hours=48,
    ),
    Variable(
        "convective_precipitation_48hr",
        "cp",
        143,
        "m",
        "surface",
        "Convective precipitation over 48 h",
        forecast_hours=48,
    ),
    Variable(
        "total_precipitation_6hr",
        "tp",
        228,
        "m",
        "surface",
        "Total precipitation over 6 h",
        sum_hours=6,
        minimum=0.0,
    ),
    Variable("temperature", "t", 130, "K", "atmospheric", "Temperature"),
    Variable("u_component_of_wind", "u", 131, "m s-1", "atmospheric", "Zonal wind"),
    Variable("v_component_of_wind", "v", 132, "m s-1", "atmospheric", "Meridional wind"),
    Variable("specific_humidity", "q", 133, "kg kg-1", "atmospheric", "Specific humidity"),
    Variable("relative_humidity", "r", 157, "%", "atmospheric", "Relative humidity"),
    Variable("geopotential", "z", 129, "m2 s-2", "atmospheric", "Geopotential"),
    Variable("vertical_velocity", "w", 135, "Pa s-1", "atmospheric", "Vertical velocity"),
    Variable("divergence", "d", 155, "s-1", "atmospheric", "Divergence"),
    Variable("land_sea_mask", "lsm", 172, "1", "static", "Land-sea mask"),
    Variable("geopotential_at_surface", "z", 129, "m2 s-2", "static", "Surface geopotential"),
    Variable("soil_type", "slt", 43, "1", "static", "Soil type", categorical=True),
    Variable("total_precipitation", "tp", 228, "m", "accumulated", "Total precipitation"),
)
VARIABLES: dict[str, Variable] = {
    row.name: replace(row, plausible=PLAUSIBLE.get(row.name), varies=row.name in VARYING) for row in _ROWS
}

STD = "_std"
"""Suffix by which WeatherBench 2 names the standard deviation of a variable."""
RELATED = {
    "sea_surface_temperature": "2m_temperature",
    "skin_temperature": "2m_temperature",
    "total_column_water": "2m_temperature",
    "total_column_water_vapour": "2m_temperature",
    "surface_pressure": "mean_sea_level_pressure",
    "total_cloud_cover": "mean_sea_level_pressure",
    "total_precipitation_48hr": "mean_sea_level_pressure",
    "convective_precipitation_48hr": "mean_sea_level_pressure",
    "10m_wind_gust": "10m_u_component_of_wind",
    "relative_humidity": "specific_humidity",
    "vertical_velocity": "v_component_of_wind",
    "divergence": "u_component_of_wind",
}
"""For a variable that a pretrained model has not seen, the variable that it resembles most: warm air holds
the water, lows bring clouds and rain, air rises where the wind comes from the tropics, and divergence is a
derivative of the wind."""


def _known(*kinds: Kind) -> AfterValidator:
    def check(names: tuple[str, ...]) -> tuple[str, ...]:
        known = [name for name, row in VARIABLES.items() if row.kind in kinds]
        for name in names:
            if name not in known:
                guess = did_you_mean(name, known)
                raise ValueError(f"unknown variable {name!r}; known here: {', '.join(known)}{guess}")
        if len(set(names)) != len(names):
            raise ValueError(f"a variable is named twice: {', '.join(names)}")
        return names

    return AfterValidator(check)


class VariableSet(Spec):
    """The variables of an experiment, by WeatherBench 2 names."""

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

    @property
    def stored(self) -> "VariableSet":
        """The variables that sources bring and stores hold; readers make sums of hourly fields."""
        surface = tuple(name for name in self.surface if not VARIABLES[name].sum_hours)
        return self.model_copy(update={"surface": surface})

    @property
    def sums(self) -> tuple[str, ...]:
        """The sums over hours."""
        return tuple(name for name in self.surface if VARIABLES[name].sum_hours)

    def channels(self) -> list[tuple[str, int | None]]:
        """Name and level of every surface and atmospheric field: surface first, then variables × levels."""
        surface: list[tuple[str, int | None]] = [(name, None) for name in self.surface]
        return surface + [(name, level) for name in self.atmospheric for level in self.levels_hpa]


def accumulation(name: str) -> tuple[str, int] | None:
    """The hourly variable and the hours that a sum's WeatherBench 2 name states; None for any other variable.

    >>> accumulation("total_precipitation_6hr"), accumulation("2m_temperature")
    (('total_precipitation', 6), None)
    """
    match = re.fullmatch(r"(\w+)_(\d+)hr", name)
    if match is None or match[1] not in VARIABLES or (name in VARIABLES and not VARIABLES[name].sum_hours):
        return None
    if VARIABLES[match[1]].kind != "accumulated":
        return None
    return match[1], int(match[2])


def channel_label(name: str, level_hpa: int | None) -> str:
    """A short label of a field for tables and figures.

    >>> channel_label("temperature", 850), channel_label("2m_temperature", None)
    ('t850', '2t')
    """
    short = VARIABLES[name].short_name
    return short if level_hpa is None else f"{short}{level_hpa}"


class OneField(Spec):
    """One variable, at one level if it is atmospheric."""

    variable: str
    """WeatherBench 2 name of the variable."""
    level_hpa: LevelHpa | None = None
    """Pressure level in hPa, of an atmospheric variable."""

    @model_validator(mode="after")
    def _exists(self) -> Self:
        kind = VARIABLES[self.variable].kind if self.variable in VARIABLES else None
        if kind not in ("surface", "atmospheric"):
            known = [name for name, row in VARIABLES.items() if row.kind in ("surface", "atmospheric")]
            guess = did_you_mean(self.variable, known)
            raise ValueError(f"unknown variable {self.variable!r}; known here: {', '.join(known)}{guess}")
        if (kind == "atmospheric") != (self.level_hpa is not None):
            raise ValueError(
                f"{self.variable}: level_hpa belongs to atmospheric variables, found {self.level_hpa}"
            )
        return self

    @property
    def label(self) -> str:
        """A short label for tables and figures (see ``channel_label``)."""
        return channel_label(self.variable, self.level_hpa)


class FieldSet(Spec):
    """The variables that a model sees: those in the data, and constant placeholders for others.

    A backbone may need a variable that the data lacks (Aurora needs at least one surface, one atmospheric
    and one static variable). A placeholder is declared by name and value. It enters the model and stays out
    of losses and scores.
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
            if name not in VARIABLES or VARIABLES[name].kind == "accumulated":
                raise ValueError(
                    f"placeholder {name!r} is not a known surface, atmospheric or static variable"
                    f"{did_you_mean(name, VARIABLES)}"
                )
            if name in measured:
                raise ValueError(f"placeholder {name!r} is in the data too")
        return self

    @property
    def all(self) -> VariableSet:
        """The measured variables, followed by the placeholders."""
        more: dict[str, list[str]] = {"surface": [], "atmospheric": [], "static": []}
        for name in self.placeholders:
            more[VARIABLES[name].kind].append(name)
        return VariableSet(
            surface=(*self.measured.surface, *more["surface"]),
            accumulated=self.measured.accumulated,
            atmospheric=(*self.measured.atmospheric, *more["atmospheric"]),
            levels_hpa=self.measured.levels_hpa or ((500,) if more["atmospheric"] else ()),
            static=(*self.measured.static, *more["static"]),
        )
