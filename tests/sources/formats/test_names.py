"""Variables and coordinates under other names than ECMWF's, in real NetCDF and GRIB files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from tests.sources.formats.test_files import (
    GRID,
    field,
    grib,
    moment,
    plain_netcdf,
    pressure,
    request,
    surface,
)
from weatherpeft.fields.variables import VARIABLES
from weatherpeft.sources.formats.files import open_canonical
from weatherpeft.sources.formats.names import Named, recognize
from weatherpeft.sources.formats.units import GRAVITY
from weatherpeft.sources.local import Local

WANTED = request(atmospheric=["temperature"], levels_hpa=[500, 850])
HEIGHT = request(atmospheric=["geopotential"], levels_hpa=[500, 850])
AIR = request(surface=["2m_temperature"])
Change = Callable[[xr.Dataset], xr.Dataset]


def plain() -> xr.Dataset:
    """Temperatures on two levels, as CDS has them."""
    times = np.datetime64("2001-01-01", "ns") + np.arange(4) * np.timedelta64(6, "h")
    values = np.stack([[field(level + hour) for level in (500, 850)] for hour in (0, 6, 12, 18)])
    axes = {"time": times, "level": [500, 850], "latitude": GRID.latitude, "longitude": GRID.longitude}
    dataset = xr.Dataset({"t": (list(axes), values.astype("f4"), {"units": "K"})}, axes)
    dataset["level"].attrs["units"] = "hPa"
    return dataset


def level(values: list[float], name: str = "level", **attributes: str) -> Change:
    def change(dataset: xr.Dataset) -> xr.Dataset:
        changed = dataset.assign_coords(level=("level", values, attributes))
        return changed if name == "level" else changed.rename(level=name)

    return change


def named(name: str, factor: float = 1, offset: float = 0, **attributes: str) -> Change:
    def change(dataset: xr.Dataset) -> xr.Dataset:
        array = (dataset["t"] * factor + offset).assign_attrs({"units": "K", **attributes})
        return dataset.drop_vars("t").assign({name: array})

    return change


def by_attributes(dataset: xr.Dataset) -> xr.Dataset:
    renamed = dataset.rename(time="t0", level="z0", latitude="y0", longitude="x0")
    renamed["y0"].attrs = {"standard_name": "latitude"}
    renamed["x0"].attrs = {"axis": "X", "units": "degrees"}
    renamed["z0"].attrs = {"positive": "down", "units": "mbar"}
    renamed["t0"].attrs = {"axis": "T"}
    return renamed


SAME: dict[str, Change] = {
    "lev in millibars": level([500, 850], "lev", units="millibars"),
    "levels in Pascals": level([50000, 85000], units="Pascals"),
    "levels in kPa": level([50, 85], units="kPa"),
    "levels without units": level([500, 850]),
    "isobaric1 of a THREDDS server": level([50000, 85000], "isobaric1", units="Pa", positive="down"),
    "isobaricInPa": level([50000, 85000], "isobaricInPa", units="Pa"),
    "CMIP": lambda data: level([50000, 85000], "plev", units="Pa", standard_name="air_pressure")(data).rename(
        t="ta", latitude="lat", longitude="lon"
    ),
    "MERRA": lambda data: data.rename(t="T", level="lev", latitude="lat", longitude="lon"),
    "standard name alone": named("temp3d", standard_name="air_temperature"),
    "standard name as name": named("air_temperature"),
    "coordinates by attributes": by_attributes,
    "Kelvin": named("t", units="Kelvin"),
    "degrees with a sign": named("t", offset=-273.15, units="°C"),
    "expver as text": lambda data: data.assign_coords(expver=("time", np.array(["iekm"] * 4, dtype=object))),
    "expver as bytes": lambda data: data.assign_coords(expver=("time", np.array([b"iekm"] * 4))),
}


@pytest.mark.parametrize("name", SAME)
def test_the_same_values(tmp_path: Path, name: str) -> None:
    SAME[name](plain()).to_netcdf(tmp_path / "a.nc")
    found = open_canonical([tmp_path / "a.nc"], WANTED)
    assert found["temperature"].dims == ("time", "level", "latitude", "longitude")
    np.testing.assert_allclose(found["temperature"], plain()["t"], rtol=2e-7)
    if "expver" in name:
        assert found.attrs["expver"].startswith("iekm: 8 fields") and "preliminary" not in found.coords


REFUSED: dict[str, tuple[Change, str]] = {
    "levels of 50000 without units": (
        level([50000, 85000]), "temperature: level: its units are not stated, and 50000 is no plausible hPa"
    ),
    "model levels": (
        level([1, 2], "lev", units="level"), "temperature: lev: expected units hPa, found level"
    ),
    "a dimension of levels without values": (
        lambda data: data.drop_vars("level"), "temperature .* is missing .* the files hold t \\(K\\)$"
    ),
    "a dimension of latitudes without values": (
        lambda data: data.drop_vars("latitude"), "temperature: expected a coordinate latitude"
    ),
    "two candidates": (
        lambda data: data.rename(t="ta").assign(tb=data["t"].assign_attrs(standard_name="air_temperature")),
        r"temperature: could be either of ta and tb; .* such as rename: \{ta: temperature\}$",
    ),
    "a standard deviation": (
        named("spread", standard_name="air_temperature", cell_methods="realization: standard_deviation"),
        r"found none at all .*; the files hold spread \(air_temperature, K\)$",
    ),
    "no level of them": (level([300, 400], units="hPa"), "found no level 500, only 300, 400 hPa"),
    "no time of them": (
        lambda data: data.isel(time=[1, 2, 3]),
        r"T00:00 UTC is missing .*; found 3 times from 2001-01-01T06:00 to 2001-01-01T18:00, every 6 h; "
        r"missing are 2001-01-01T00:00; if they need not be there, .* hours: \[6, 12, 18\]$",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line(tmp_path: Path, name: str) -> None:
    change, message = REFUSED[name]
    change(plain()).to_netcdf(tmp_path / "a.nc")
    with pytest.raises(ValueError, match=rf"a\.nc: .*{message}") as error:
        open_canonical([tmp_path / "a.nc"], WANTED)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("name", "standard_name"), [("gh", ""), ("zg", ""), ("phi", "geopotential_height")])
@pytest.mark.parametrize("units", ["m", "gpm"])
def test_heights_become_geopotential(tmp_path: Path, name: str, standard_name: str, units: str) -> None:
    named(name, units=units, standard_name=standard_name)(plain()).to_netcdf(tmp_path / "a.nc")
    found = open_canonical([tmp_path / "a.nc"], HEIGHT)["geopotential"]
    np.testing.assert_allclose(found, plain()["t"] * GRAVITY, rtol=2e-7)
    assert found.attrs["units"] == "m2 s-2"


def test_a_geopotential_stays_one(tmp_path: Path) -> None:
    for name, standard_name in (("z", "geopotential"), ("geopotential", "geopotential_height")):
        named(name, units="m2 s-2", standard_name=standard_name)(plain()).to_netcdf(tmp_path / "a.nc")
        np.testing.assert_array_equal(
            open_canonical([tmp_path / "a.nc"], HEIGHT)["geopotential"], plain()["t"]
        )
    named("z", units="m")(plain()).to_netcdf(tmp_path / "a.nc")
    with pytest.raises(ValueError, match=r"a\.nc: geopotential: expected units m2 s-2, found m$"):
        open_canonical([tmp_path / "a.nc"], HEIGHT)


def test_a_geopotential_comes_before_a_height(tmp_path: Path) -> None:
    """In one file, and in two in either order: what was read before stays."""
    both = plain().assign(
        z=plain()["t"].assign_attrs(units="m2 s-2"), gh=plain()["t"].assign_attrs(units="m")
    )
    both.to_netcdf(tmp_path / "both.nc")
    both[["z"]].to_netcdf(tmp_path / "z.nc")
    both[["gh"]].to_netcdf(tmp_path / "gh.nc")
    for names in (["both"], ["z", "gh"], ["gh", "z"]):
        found = open_canonical([tmp_path / f"{name}.nc" for name in names], HEIGHT)
        np.testing.assert_array_equal(found["geopotential"], plain()["t"])


def test_orography_becomes_surface_geopotential(tmp_path: Path) -> None:
    plain_netcdf().isel(time=0, drop=True).rename(t2m="hs").to_netcdf(tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc") as opened:
        height = opened.load()
    height["hs"].attrs = {"units": "m", "standard_name": "surface_altitude"}
    height.to_netcdf(tmp_path / "b.nc")
    found = open_canonical([tmp_path / "b.nc"], request(static=["geopotential_at_surface"]))
    np.testing.assert_allclose(found["geopotential_at_surface"], field(0) * GRAVITY, rtol=1e-6)


def at_height(value: float, dimension: bool = False) -> xr.Dataset:
    dataset = plain_netcdf().rename(t2m="air")
    dataset["air"].attrs["standard_name"] = "air_temperature"
    dataset = dataset.assign_coords(height=((), value, {"units": "m", "standard_name": "height"}))
    return dataset.expand_dims("height") if dimension else dataset


@pytest.mark.parametrize("dimension", [False, True])
def test_a_standard_name_counts_at_its_height_alone(tmp_path: Path, dimension: bool) -> None:
    """``air_temperature`` at another height than 2 m is no 2 m temperature."""
    at_height(2, dimension).to_netcdf(tmp_path / "a.nc")
    np.testing.assert_array_equal(
        open_canonical([tmp_path / "a.nc"], AIR)["2m_temperature"], plain_netcdf()["t2m"]
    )
    at_height(100, dimension).to_netcdf(tmp_path / "b.nc")
    at_height(2).drop_vars("height").to_netcdf(tmp_path / "c.nc")
    for name in ("b", "c"):
        message = rf"{name}\.nc: 2m_temperature, .* found none at all .* the files hold air \(air_temp"
        with pytest.raises(ValueError, match=message):
            open_canonical([tmp_path / f"{name}.nc"], AIR)


def local(path: Path, rename: dict[str, str]) -> Local:
    span = {"start": "2001-01-01", "end": "2001-01-01"}
    return Local.parse({"name": "local", "paths": [str(path)], "span": span, "rename": rename})


def test_rename_decides(tmp_path: Path) -> None:
    two = plain().rename(t="ta").assign(tb=plain()["t"] + 1, t=plain()["t"] + 2)
    two["tb"].attrs["units"] = "K"
    (tmp_path / "raw").mkdir()
    two.to_netcdf(tmp_path / "raw/a.nc")
    found = local(tmp_path, {"tb": "temperature"}).decode(WANTED, tmp_path / "raw")["temperature"]
    np.testing.assert_array_equal(found, plain()["t"] + 1)
    with pytest.raises(ValueError, match="geopotential: expected units m, found K"):
        local(tmp_path, {"ta": "geopotential_height", "tb": "temperature"}).decode(HEIGHT, tmp_path / "raw")
    with pytest.raises(
        ValueError, match=r"temperature .* is missing .*; the files hold ta \(K\), tb \(K\), t \(K\)$"
    ):
        local(tmp_path, {"nothing": "temperature"}).decode(WANTED, tmp_path / "raw")


def test_a_height_by_rename(tmp_path: Path) -> None:
    named("H", units="m")(plain()).to_netcdf(tmp_path / "a.nc")
    found = local(tmp_path, {"H": "geopotential_height"}).decode(HEIGHT, tmp_path)["geopotential"]
    np.testing.assert_allclose(found, plain()["t"] * GRAVITY, rtol=2e-7)


@pytest.mark.parametrize(
    ("rename", "message"),
    [
        ({"a": "temprature"}, "a: unknown variable 'temprature'; did you mean 'temperature'?"),
        ({"a": "xyz"}, "a: unknown variable 'xyz'; known: 2m_temperature, "),
        ({"a": "temperature", "b": "temperature"}, "temperature: expected one name in files, found a, b"),
    ],
)
def test_a_wrong_rename(rename: dict[str, str], message: str) -> None:
    span = {"start": "2001-01-01", "end": "2001-01-01"}
    values = {"name": "local", "paths": ["a"], "span": span, "rename": rename}
    with pytest.raises(ValueError, match="rename") as error:
        Local.parse(values, {"define": {}})  # as in an experiment without variables of its own
    assert message in str(error.value)


# GRIB

ON_LEVELS = {"typeOfLevel": "isobaricInhPa"}


def heights(hours: tuple[int, ...] = (0, 6, 12, 18)) -> list[dict[str, Any]]:
    return [{**message, "paramId": 156} for message in pressure(hours=hours)]


def test_heights_in_grib(tmp_path: Path) -> None:
    found = open_canonical([grib(tmp_path / "gh.grib", heights())], HEIGHT)["geopotential"]
    plainly = open_canonical([grib(tmp_path / "t.grib", pressure())], WANTED)["temperature"]
    np.testing.assert_allclose(found, plainly * GRAVITY, rtol=2e-7)
    messages = [{**message, "paramId": 129} for message in pressure()] + heights()
    both = open_canonical([grib(tmp_path / "both.grib", messages)], HEIGHT)["geopotential"]
    np.testing.assert_array_equal(both, plainly)


def test_pressure_reduced_to_sea_level_in_grib(tmp_path: Path) -> None:
    """GFS has ``prmsl``, of another param id than ECMWF's."""
    messages = [{"paramId": 260074, "typeOfLevel": "meanSea", **moment(hour), "values": field(hour)}
                for hour in (0, 6, 12, 18)]  # fmt: skip
    path = grib(tmp_path / "a.grib", messages, edition=2)
    found = open_canonical([path], request(surface=["mean_sea_level_pressure"]))["mean_sea_level_pressure"]
    np.testing.assert_allclose(found[1], field(6), atol=1e-2)


def test_wind_at_100_m_is_no_wind_at_10_m(tmp_path: Path) -> None:
    keys: dict[str, Any] = {"typeOfLevel": "heightAboveGround", "level": 100}
    path = grib(tmp_path / "a.grib", surface(228246, **keys), edition=2)
    wanted = request(surface=["10m_u_component_of_wind"])
    with pytest.raises(ValueError, match=r"found none at all .*; the files hold 100u \(heightAboveGround\)$"):
        open_canonical([path], wanted)


def test_rename_in_grib_by_short_name_or_param_id(tmp_path: Path) -> None:
    path = grib(tmp_path / "a.grib", surface(235))
    for name in ("skt", "235"):
        found = local(tmp_path, {name: "2m_temperature"}).decode(AIR, tmp_path)["2m_temperature"]
        np.testing.assert_allclose(found[1], field(6), atol=1e-2)
    with pytest.raises(ValueError, match="skin_temperature.* is missing"):
        local(path, {"2t": "skin_temperature"}).decode(request(surface=["skin_temperature"]), tmp_path)


def test_two_versions_that_are_no_preliminary_data(tmp_path: Path) -> None:
    local_keys: dict[str, Any] = {"setLocalDefinition": 1}
    first = grib(tmp_path / "a.grib", surface(**local_keys, expver="0001"))
    second = grib(tmp_path / "b.grib", surface(**local_keys, expver="iek5"))
    message = "expver 0001 and iek5, two versions of the data; keep one of them"
    with pytest.raises(ValueError, match=message):
        open_canonical([first, second], AIR)
    found = open_canonical([second], AIR)
    assert found.attrs["expver"].startswith("iek5: 4 fields") and "preliminary" not in found.coords


def test_every_variable_is_recognized_by_its_own_names_before_others() -> None:
    for row in VARIABLES.values():
        on_levels = row.kind == "atmospheric"
        for name in (row.name, row.short_name, *row.aliases):
            match = recognize(Named(name, on_levels=on_levels), row, {})
            assert match is not None and match.sure and not match.height
            assert recognize(Named(name, on_levels=not on_levels), row, {}) is None
