"""Variables of one's own, and those of other types of level, by what files call them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from tests.sources.formats.test_files import GRID, field, grib, moment, request, surface
from weatherpeft.fields.variables import VARIABLES
from weatherpeft.interfaces import DataRequest
from weatherpeft.sources.formats.files import open_canonical
from weatherpeft.sources.local import Local

HOURS = (0, 6, 12, 18)
SOIL = "volumetric_soil_water_layer_2"
HAIL: dict[str, Any] = {"kind": "surface", "units": "mm"}


def wanted(**changes: Any) -> DataRequest:
    return request(surface=["hail"], define={"hail": {**HAIL, **changes}})


def falling(name: str, **attributes: Any) -> xr.Dataset:
    values = np.stack([field(hour) for hour in HOURS]).astype("f4")
    axes = {"latitude": GRID.latitude, "longitude": GRID.longitude}
    times = np.datetime64("2001-01-01", "ns") + np.array(HOURS, "timedelta64[h]")
    fields = {name: (("time", *axes), values, {"units": "mm", **attributes})}
    return xr.Dataset(fields, {"time": times, **axes})


@pytest.mark.parametrize(
    ("name", "attributes", "definition"),
    [
        ("hail", {}, {}),
        ("h", {}, {"short_name": "h"}),
        ("HAIL", {}, {"aliases": ["HAIL"]}),
        ("x", {"standard_name": "hail_fall_amount"}, {"standard_name": "hail_fall_amount"}),
        ("x", {"GRIB_paramId": 260001}, {"param_id": 260001}),
    ],
)
def test_each_name_of_a_definition(
    name: str, attributes: dict[str, Any], definition: dict[str, Any], tmp_path: Path
) -> None:
    falling(name, **attributes).to_netcdf(tmp_path / "a.nc")
    found = open_canonical([tmp_path / "a.nc"], wanted(**definition))["hail"]
    np.testing.assert_array_equal(found, falling(name)[name])
    assert found.attrs["units"] == "mm"
    with pytest.raises(ValueError, match=rf"fog, .* is missing .*; the files hold {name} "):
        open_canonical([tmp_path / "a.nc"], request(surface=["fog"], define={"fog": HAIL}))


def test_values_in_other_units_are_converted(tmp_path: Path) -> None:
    falling("hail", units="cm").to_netcdf(tmp_path / "a.nc")
    found = open_canonical([tmp_path / "a.nc"], wanted())["hail"]
    np.testing.assert_allclose(found, 10 * falling("hail")["hail"], rtol=1e-6)
    falling("hail", units="K").to_netcdf(tmp_path / "b.nc")
    with pytest.raises(ValueError, match="hail.*expected units mm, found K"):
        open_canonical([tmp_path / "b.nc"], wanted())


def test_a_grib_field_without_a_known_parameter_is_no_variable_of_ones_own(tmp_path: Path) -> None:
    """A definition without a param id matches no field of which ecCodes knows none."""
    file = grib(tmp_path / "a.grib", [{**each, "indicatorOfParameter": 250} for each in surface()])
    with pytest.raises(ValueError, match="found none at all \\(short name hail\\)"):
        open_canonical([file], wanted())


def test_the_source_says_how_one_calls_it(tmp_path: Path) -> None:
    """A definition's names in files yield to ``rename``, which may tell two experiments' files apart."""
    falling("x").to_netcdf(tmp_path / "a.nc")
    paths = [str(tmp_path / "a.nc")]
    source = Local.parse({"name": "local", "paths": paths, "span": SPAN, "rename": {"x": "hail"}})
    found = open_canonical([tmp_path / "a.nc"], wanted(), rename=source.rename)["hail"]
    np.testing.assert_array_equal(found, falling("x")["x"])
    with pytest.raises(ValueError, match="(?s)rename.*unknown variable 'my hail'"):
        Local.parse({"name": "local", "paths": paths, "span": SPAN, "rename": {"x": "my hail"}})


SPAN = {"start": "2001-01-01", "end": "2001-01-01"}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (SOIL, "depthBelowLandLayer"),
        ("convective_available_potential_energy", "entireAtmosphere"),
        ("total_column_ozone", "entireAtmosphere"),
        ("2m_dewpoint_temperature", "heightAboveGround"),
        ("100m_u_component_of_wind", "heightAboveGround"),
        ("particulate_matter_2p5um", "surface"),
    ],
)
def test_types_of_level_of_new_rows(name: str, kind: str, tmp_path: Path) -> None:
    row = VARIABLES[name]
    where = {"typeOfLevel": kind} if kind == "depthBelowLandLayer" else {}
    messages = [{"paramId": row.param_id, **where, **moment(hour), "values": field(hour)} for hour in HOURS]
    file = grib(tmp_path / "a.grib", messages, edition=2)
    found = open_canonical([file], request(surface=[name]))[name]
    np.testing.assert_allclose(found[1], field(6), rtol=1e-4)
    assert found.attrs["units"] == row.units
