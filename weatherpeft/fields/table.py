"""The table of variables, with the names that providers use, the param id and the units.

Names are those of WeatherBench 2. Short names, param ids and units are those of ECMWF's parameter database.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from weatherpeft.fields.plausible import PLAUSIBLE, VARYING, AnyRange, Range
from weatherpeft.spec import LARGEST, did_you_mean

Kind = Literal["surface", "atmospheric", "static", "accumulated"]


NO_PARAM_ID = -1
"""Param id of a variable that has none in GRIB."""


@dataclass(frozen=True)
class Variable:
    """A physical quantity.

    Attributes:
        name: WeatherBench 2 name.
        short_name: ECMWF short name, which Aurora uses too.
        param_id: ECMWF param id in GRIB; ``NO_PARAM_ID`` where it has none.
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
        standard_name: CF standard name of a variable of one's own; ``sources.formats.names`` has the others.
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
    standard_name: str = ""

    def plausible_at(self, level_hpa: int | None) -> Range:
        """The plausible range at a level; where nobody has said, that of any number but fill values."""
        if self.plausible is None:
            return -LARGEST, LARGEST
        return self.plausible(level_hpa) if callable(self.plausible) else self.plausible


_ROWS = (
    Variable("2m_temperature", "2t", 167, "K", "surface", "2 m temperature", ("t2m",)),
    Variable("10m_u_component_of_wind", "10u", 165, "m s-1", "surface", "10 m zonal wind", ("u10",)),
    Variable("10m_v_component_of_wind", "10v", 166, "m s-1", "surface", "10 m meridional wind", ("v10",)),
    Variable("2m_dewpoint_temperature", "2d", 168, "K", "surface", "2 m dew point", ("d2m",)),
    Variable("mean_sea_level_pressure", "msl", 151, "Pa", "surface", "Mean sea level pressure"),
    Variable("surface_pressure", "sp", 134, "Pa", "surface", "Surface pressure"),
    Variable("100m_u_component_of_wind", "100u", 228246, "m s-1", "surface", "100 m zonal wind", ("u100",)),
    Variable(
        "100m_v_component_of_wind", "100v", 228247, "m s-1", "surface", "100 m meridional wind", ("v100",)
    ),
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
    Variable(
        "surface_solar_radiation_downwards_6hr",
        "ssrd",
        169,
        "J m-2",
        "surface",
        "Solar radiation at the surface over 6 h",
        sum_hours=6,
        minimum=0.0,
    ),
    Variable("convective_available_potential_energy", "cape", 59, "J kg-1", "surface", "CAPE", minimum=0.0),
    Variable("snow_depth", "sd", 141, "m", "surface", "Snow depth (water equivalent)", minimum=0.0),
    *(
        Variable(
            f"volumetric_soil_water_layer_{layer}",
            f"swvl{layer}",
            38 + layer,
            "m3 m-3",
            "surface",
            f"Soil moisture, layer {layer}",
            minimum=0.0,
        )
        for layer in (1, 2, 3, 4)
    ),
    Variable("total_column_ozone", "tco3", 206, "kg m-2", "surface", "Total column ozone", minimum=0.0),
    Variable("particulate_matter_2p5um", "pm2p5", 210073, "kg m-3", "surface", "PM2.5", minimum=0.0),
    Variable("particulate_matter_10um", "pm10", 210074, "kg m-3", "surface", "PM10", minimum=0.0),
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
    Variable(
        "surface_solar_radiation_downwards",
        "ssrd",
        169,
        "J m-2",
        "accumulated",
        "Solar radiation at the surface",
    ),
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
    "2m_dewpoint_temperature": "2m_temperature",
    "100m_u_component_of_wind": "10m_u_component_of_wind",
    "100m_v_component_of_wind": "10m_v_component_of_wind",
    "surface_solar_radiation_downwards_6hr": "2m_temperature",
    "convective_available_potential_energy": "2m_temperature",
    "snow_depth": "2m_temperature",
    **{f"volumetric_soil_water_layer_{layer}": "2m_temperature" for layer in (1, 2, 3, 4)},
    "total_column_ozone": "mean_sea_level_pressure",
    "particulate_matter_2p5um": "mean_sea_level_pressure",
    "particulate_matter_10um": "mean_sea_level_pressure",
    "relative_humidity": "specific_humidity",
    "vertical_velocity": "v_component_of_wind",
    "divergence": "u_component_of_wind",
}
"""For a variable that a pretrained model has not seen, the variable that it resembles most: warm air holds
the water and dries the soil, lows bring clouds and rain and clear the air, air rises where the wind comes
from the tropics, and divergence is a derivative of the wind."""


def accumulation(name: str) -> tuple[str, int] | None:
    """The hourly variable and the hours that the name of a sum states; None for any other variable.

    The hourly variable is one of the table or of one's own, whose names never have this form.

    >>> accumulation("total_precipitation_6hr"), accumulation("2m_temperature"), accumulation("snowfall_12hr")
    (('total_precipitation', 6), None, ('snowfall', 12))
    """
    match = re.fullmatch(r"(\w+)_([1-9]\d*)hr", name)
    if match is None or (name in VARIABLES and not VARIABLES[name].sum_hours):
        return None
    if match[1] in VARIABLES and VARIABLES[match[1]].kind != "accumulated":
        return None
    return match[1], int(match[2])


def variable_meant(name: str, known: Iterable[str], own: Iterable[Variable] = ()) -> str:
    """The end of an error message that guesses which variable was meant; empty where none is close.

    Args:
        name: a name that is none of those known, perhaps a provider's short name.
        known: names that are allowed there.
        own: variables of one's own.

    >>> variable_meant("t2m", ["2m_temperature"]), variable_meant("temprature", ["temperature"])
    ("; did you mean '2m_temperature'?", "; did you mean 'temperature'?")
    >>> variable_meant("msl", ["temperature"])
    "; did you mean 'mean_sea_level_pressure', which is surface?"
    """
    known = list(known)
    low = name.lower()
    rows = [
        row
        for row in (*VARIABLES.values(), *own)
        if low in (row.name.lower(), row.short_name.lower(), *map(str.lower, row.aliases))
    ]
    found = [repr(row.name) for row in rows if row.name in known]
    found = found or [f"{row.name!r}, which is {row.kind}" for row in rows]
    return f"; did you mean {' or '.join(found)}?" if found else did_you_mean(name, known)
