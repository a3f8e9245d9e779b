"""The names that files other than ECMWF's give to variables: CF standard names, and common short ones.

``recognize`` says whether a field of a file is a variable of the table. A name that could stand for another
quantity as well counts only where the file says more: ``air_temperature`` is the 2 m temperature at a height
of 2 m alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from weatherpeft.fields.variables import Variable

HEIGHTS = {"geopotential_height": "geopotential", "surface_altitude": "geopotential_at_surface"}
"""Heights in m that become geopotential, by CF standard name."""


@dataclass(frozen=True)
class Names:
    """Further names of a variable.

    Attributes:
        standard: CF standard names.
        short: names in files.
        heights: names in files of a height whose geopotential the variable is.
        height_m: height above the ground, which a standard name does not tell.
    """

    standard: tuple[str, ...] = ()
    short: tuple[str, ...] = ()
    heights: tuple[str, ...] = ()
    height_m: float | None = None


_NAMES = {
    "2m_temperature": Names(("air_temperature",), ("tas", "T2M", "t_2m", "T_2M"), height_m=2),
    "10m_u_component_of_wind": Names(("eastward_wind",), ("uas", "U10M", "u10m", "u_10m"), height_m=10),
    "10m_v_component_of_wind": Names(("northward_wind",), ("vas", "V10M", "v10m", "v_10m"), height_m=10),
    "100m_u_component_of_wind": Names(("eastward_wind",), ("ua100m",), height_m=100),
    "100m_v_component_of_wind": Names(("northward_wind",), ("va100m",), height_m=100),
    "2m_dewpoint_temperature": Names(("dew_point_temperature",), ("tdps", "T2MDEW"), height_m=2),
    "mean_sea_level_pressure": Names(
        ("air_pressure_at_mean_sea_level", "air_pressure_at_sea_level"),
        ("prmsl", "psl", "SLP", "slp", "mslp", "pmsl"),
    ),
    "surface_pressure": Names(("surface_air_pressure",), ("ps", "PS")),
    "sea_surface_temperature": Names(("sea_surface_temperature",), ("tos",)),
    "skin_temperature": Names(("surface_temperature",), ("ts", "TS")),
    "total_cloud_cover": Names(("cloud_area_fraction",), ("clt",)),
    "total_column_water": Names(("atmosphere_mass_content_of_water",)),
    "total_column_water_vapour": Names(
        ("atmosphere_mass_content_of_water_vapor", "atmosphere_water_vapor_content"), ("prw", "TQV")
    ),
    "temperature": Names(("air_temperature",), ("ta", "T", "temp", "air_temperature")),
    "u_component_of_wind": Names(("eastward_wind",), ("ua", "U", "eastward_wind")),
    "v_component_of_wind": Names(("northward_wind",), ("va", "V", "northward_wind")),
    "specific_humidity": Names(("specific_humidity",), ("hus", "QV", "Q")),
    "relative_humidity": Names(("relative_humidity",), ("hur", "rh", "RH")),
    "geopotential": Names(("geopotential",), heights=("geopotential_height", "gh", "zg", "hgt", "HGT")),
    "vertical_velocity": Names(
        (
            "lagrangian_tendency_of_air_pressure",
            "vertical_air_velocity_expressed_as_tendency_of_pressure",
        ),
        ("wap", "omega", "OMEGA"),
    ),
    "divergence": Names(("divergence_of_wind",)),
    "surface_solar_radiation_downwards": Names(
        (
            "surface_downwelling_shortwave_flux_in_air",
            "integral_wrt_time_of_surface_downwelling_shortwave_flux_in_air",
        )
    ),
    "convective_available_potential_energy": Names(
        (
            "atmosphere_convective_available_potential_energy",
            "atmosphere_convective_available_potential_energy_wrt_surface",
        ),
        ("CAPE",),
    ),
    "snow_depth": Names(
        ("lwe_thickness_of_surface_snow_amount", "surface_snow_amount"), ("snw", "swe", "SWE")
    ),
    "total_column_ozone": Names(("atmosphere_mass_content_of_ozone",), ("gtco3",)),
    "particulate_matter_2p5um": Names(("mass_concentration_of_pm2p5_ambient_aerosol_particles_in_air",)),
    "particulate_matter_10um": Names(("mass_concentration_of_pm10_ambient_aerosol_particles_in_air",)),
    "land_sea_mask": Names(("land_binary_mask", "land_area_fraction"), ("sftlf",)),
    "geopotential_at_surface": Names(
        ("surface_geopotential", "geopotential"), heights=("orog", "surface_altitude")
    ),
    "soil_type": Names(("soil_type",)),
    "total_precipitation": Names(("precipitation_amount", "lwe_thickness_of_precipitation_amount")),
}
_STATISTICS = ("maximum", "minimum", "deviation", "variance", "range", "median")
"""Words of ``cell_methods`` with which a field is another quantity than its standard name says."""


@dataclass(frozen=True)
class Named:
    """What a file says about a field.

    Attributes:
        name: name of the variable or short name of the parameter.
        standard_name: CF standard name; empty where there is none.
        param_id: ECMWF param id; None where the file states none.
        on_levels: whether the field is on pressure levels.
        height_m: height above the ground; None where the file states none.
        cell_methods: the attribute of that name.
    """

    name: str
    standard_name: str = ""
    param_id: int | None = None
    on_levels: bool = False
    height_m: float | None = None
    cell_methods: str = ""


@dataclass(frozen=True)
class Match:
    """A field that is a variable of the table.

    Attributes:
        sure: whether the name is the table's own or that of ``rename``; such a field comes before others.
        height: whether the values are a height of which the variable is the geopotential.
    """

    sure: bool = True
    height: bool = False


def recognize(found: Named, row: Variable, rename: Mapping[str, str]) -> Match | None:
    """Whether a field of a file is a variable of the table.

    Args:
        found: what the file says about the field.
        row: table row of the variable.
        rename: WeatherBench 2 names, or those of ``HEIGHTS``, by names in files; they decide alone about
            the fields and the variables that they name.
    """
    if found.on_levels != (row.kind == "atmospheric"):
        return None
    ours = {HEIGHTS.get(name, name) for name in rename.values()}
    key = next((each for each in (found.name, str(found.param_id)) if each in rename), None)
    if key is not None or row.name in ours:
        name = rename.get(key or "", "")
        return Match(height=name in HEIGHTS) if HEIGHTS.get(name, name) == row.name else None
    if found.name in (row.name, row.short_name, *row.aliases) or found.param_id == row.param_id:
        return Match(height=found.standard_name in HEIGHTS and found.param_id != row.param_id)
    return _by_other_names(found, row)


def _by_other_names(found: Named, row: Variable) -> Match | None:
    names = _NAMES.get(row.name, Names((row.standard_name,) if row.standard_name else ()))
    if found.name in names.short:
        return Match(sure=False)
    if found.name in names.heights:
        return Match(sure=False, height=True)
    at_height = row.name not in _NAMES or names.height_m == found.height_m
    if not at_height or any(word in found.cell_methods for word in _STATISTICS):
        return None
    if HEIGHTS.get(found.standard_name) == row.name:
        return Match(sure=False, height=True)
    return Match(sure=False) if found.standard_name in names.standard else None


def height_of(row: Variable) -> float | None:
    """The height above the ground in m that is part of a variable's meaning; None where none is."""
    return _NAMES.get(row.name, Names()).height_m
