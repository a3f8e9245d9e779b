"""One row a variable: the names that providers use, the param id, the units.

Names are WeatherBench 2's; short names, param ids and units are ECMWF's parameter database's.
"""

import re
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, model_validator

from weatherpeft.spec import Spec

Kind = Literal["surface", "atmospheric", "static", "accumulated"]


@dataclass(frozen=True)
class Variable:
    """A physical quantity.

    Attributes:
        name: WeatherBench 2 name.
        short_name: ECMWF short name; what Aurora calls it too.
        param_id: ECMWF param id, in GRIB.
        units: SI units of the canonical dataset.
        kind: ``surface`` and ``atmospheric`` are instantaneous, ``static`` has no time,
            ``accumulated`` is a sum over the hour that ends at the valid time.
        aliases: further names in NetCDF files.
        long_name: for tables and figures.
        categorical: numbers that name classes, of which there is no mean.
        partial: not defined everywhere; NaN elsewhere is no error.
        forecast_hours: of a sum since the start of a forecast, the hours of that forecast; otherwise 0.
        sum_hours: of a sum of hourly fields that end at the valid time, their number; otherwise 0.
        minimum: there is no less: predictions are cut off there.
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
VARIABLES: dict[str, Variable] = {row.name: row for row in _ROWS}

STD = "_std"
"""What WeatherBench 2 adds to a variable's name for its standard deviation."""
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
"""What a variable that a pretrained model has not seen is most like: warm air holds the water, lows bring
clouds and rain, air rises where the wind comes from the tropics, divergence is a derivative of the wind."""


def _known(*kinds: Kind) -> AfterValidator:
    def check(names: tuple[str, ...]) -> tuple[str, ...]:
        known = [name for name, row in VARIABLES.items() if row.kind in kinds]
        for name in names:
            if name not in known:
                raise ValueError(f"unknown variable {name!r}; known here: {', '.join(known)}")
        if len(set(names)) != len(names):
            raise ValueError(f"a variable is named twice: {', '.join(names)}")
        return names

    return AfterValidator(check)


class VariableSet(Spec):
    """The fields of an experiment, by WeatherBench 2 names."""

    surface: Annotated[tuple[str, ...], _known("surface")] = ()
    """Single-level fields at a time: instantaneous, or sums of hours as ``total_precipitation_6hr``."""
    accumulated: Annotated[tuple[str, ...], _known("accumulated")] = ()
    """Hourly sums that end at the valid time."""
    atmospheric: Annotated[tuple[str, ...], _known("atmospheric")] = ()
    """Fields on pressure levels."""
    levels_hpa: tuple[int, ...] = ()
    """Pressure levels, increasing."""
    static: Annotated[tuple[str, ...], _known("static")] = ()
    """Fields without time."""

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
        """What sources bring and stores hold: sums of hours are made of hourly fields when read."""
        surface = tuple(name for name in self.surface if not VARIABLES[name].sum_hours)
        return self.model_copy(update={"surface": surface})

    @property
    def sums(self) -> tuple[str, ...]:
        """The sums of hours."""
        return tuple(name for name in self.surface if VARIABLES[name].sum_hours)

    def channels(self) -> list[tuple[str, int | None]]:
        """Every time-dependent instantaneous field: surface first, then variables × levels."""
        surface: list[tuple[str, int | None]] = [(name, None) for name in self.surface]
        return surface + [(name, level) for name in self.atmospheric for level in self.levels_hpa]


def accumulation(name: str) -> tuple[str, int] | None:
    """The hourly variable and the hours of a sum in WeatherBench 2's names; None of any other variable.

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
    """Short label of a field for tables and figures.

    >>> channel_label("temperature", 850), channel_label("2m_temperature", None)
    ('t850', '2t')
    """
    short = VARIABLES[name].short_name
    return short if level_hpa is None else f"{short}{level_hpa}"


class OneField(Spec):
    """One variable, at one level where it has levels."""

    variable: str
    """WeatherBench 2 name."""
    level_hpa: int | None = None
    """Of an atmospheric variable."""

    @model_validator(mode="after")
    def _exists(self) -> Self:
        kind = VARIABLES[self.variable].kind if self.variable in VARIABLES else None
        if kind not in ("surface", "atmospheric"):
            known = ", ".join(
                name for name, row in VARIABLES.items() if row.kind in ("surface", "atmospheric")
            )
            raise ValueError(f"unknown variable {self.variable!r}; known here: {known}")
        if (kind == "atmospheric") != (self.level_hpa is not None):
            raise ValueError(
                f"{self.variable}: level_hpa belongs to atmospheric variables, found {self.level_hpa}"
            )
        return self

    @property
    def label(self) -> str:
        """As of ``channel_label``."""
        return channel_label(self.variable, self.level_hpa)


class FieldSet(Spec):
    """The fields a model sees: those in the data and declared constants that stand in for others.

    A backbone may need a field that the data has not (Aurora wants at least one surface, one
    atmospheric and one static variable). A placeholder is declared by name and value; it enters the
    model and stays out of losses and scores.
    """

    measured: VariableSet
    """What is in the data."""
    placeholders: dict[str, float] = {}
    """Constant value of every field that the data has not, an atmospheric one's at all levels of the data;
    where the data has none, at 500 hPa."""

    @model_validator(mode="after")
    def _placeholders(self) -> Self:
        measured = {*self.measured.surface, *self.measured.atmospheric, *self.measured.static}
        for name in self.placeholders:
            if name not in VARIABLES or VARIABLES[name].kind == "accumulated":
                raise ValueError(
                    f"placeholder {name!r} is not a known surface, atmospheric or static variable"
                )
            if name in measured:
                raise ValueError(f"placeholder {name!r} is in the data too")
        return self

    @property
    def all(self) -> VariableSet:
        """Measured variables and, after them, placeholders."""
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
