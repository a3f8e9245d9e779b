"""The toy planet: its mathematics against closed forms, its files against the expected inventory."""

import os
from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import eccodes
import numpy as np
import pytest
import scipy.special
import xarray as xr
from pydantic import ValidationError

from weatherpeft.fields.variables import VARIABLES, VariableSet
from weatherpeft.interfaces import DataRequest
from weatherpeft.sources.toy.atmosphere import Atmosphere
from weatherpeft.sources.toy.diagnostics import ATMOSPHERIC, STATIC, SURFACE, level_fields
from weatherpeft.sources.toy.dynamics import (
    EARTH_RADIUS,
    ROTATION_RATE,
    WIND_UNIT,
    QuasiGeostrophicModel,
    linear_balance,
)
from weatherpeft.sources.toy.files import spin_up
from weatherpeft.sources.toy.grib import GribFile, forecast_step
from weatherpeft.sources.toy.grid import Grid
from weatherpeft.sources.toy.planet import make_planet
from weatherpeft.sources.toy.spec import Toy
from weatherpeft.sources.toy.spectral import GaussianTransform, Synthesis, coupling, legendre, resize
from weatherpeft.sources.toy.vertical import GAS_CONSTANT, GRAVITY, layer_weights, saturation_humidity
from weatherpeft.spec import Period

LEVELS = (250, 500, 850, 1000)
EVERYTHING = VariableSet(
    surface=SURFACE,
    accumulated=("total_precipitation",),
    atmospheric=ATMOSPHERIC,
    levels_hpa=LEVELS,
    static=STATIC,
)


def small(period: Period, **changes: Any) -> Toy:
    values: dict[str, Any] = {
        "name": "toy",
        "spans": (period,),
        "truncation": 21,
        "resolution_deg": 7.5,
        "coarse_spinup_days": 10,
        "fine_spinup_days": 0,
        "full_spinup_days": 1,
    }
    return Toy(**(values | changes))


def days(first: date, count: int) -> Period:
    return Period(start=first, end=first + timedelta(days=count - 1))


def fetched(
    directory: Path, period: Period, variables: VariableSet = EVERYTHING, step_hours: int = 6, **changes: Any
) -> Path:
    directory.mkdir()
    request = DataRequest(variables=variables, period=period, step_hours=step_hours)
    small(period, **changes).fetch(request, directory, directory.parent / "work")
    return directory


WINTER = days(date(2001, 1, 15), 2)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fetched(tmp_path_factory.mktemp("toy") / "raw", WINTER)


@pytest.fixture(scope="module")
def atmosphere() -> Atmosphere:
    return spin_up(small(WINTER, coarse_spinup_days=25, resolution_deg=2.5), datetime(2001, 1, 15))


def messages(path: Path) -> Iterator[dict[str, Any]]:
    names: tuple[str, ...] = (
        "paramId",
        "level",
        "typeOfLevel",
        "dataDate",
        "dataTime",
        "startStep",
        "endStep",
        "stepType",
    )
    names += ("validityDate", "validityTime", "type", "class", "stream", "expver", "centre", "edition")
    names += ("bitsPerValue", "Ni", "Nj")
    with path.open("rb") as stream:
        while (message := eccodes.codes_grib_new_from_file(stream)) is not None:
            row = {name: eccodes.codes_get(message, name) for name in names}
            row["values"] = eccodes.codes_get_values(message).reshape(row["Nj"], row["Ni"])
            eccodes.codes_release(message)
            yield row


def valid_time(message: dict[str, Any]) -> datetime:
    return datetime.strptime(f"{message['validityDate']}{message['validityTime']:04d}", "%Y%m%d%H%M")


# Spherical harmonics


def triangular(truncation: int, fields: int, seed: int = 0) -> np.ndarray:
    draws = np.random.default_rng(seed).normal(size=(2, fields, truncation + 1, truncation + 1))
    coefficients = np.triu(draws[0] + 1j * draws[1]).astype(np.complex64)
    coefficients[:, 0] = coefficients[:, 0].real
    return coefficients


@pytest.mark.parametrize("truncation", [21, 63])
def test_transform_round_trip(truncation: int) -> None:
    transform, coefficients = GaussianTransform(truncation), triangular(truncation, 3)
    back = transform.analyze(transform.grid(coefficients))
    np.testing.assert_allclose(back, coefficients, atol=2e-5)


def test_legendre_functions_are_scipys() -> None:
    latitude = np.deg2rad([-71.0, -20.0, 3.0, 48.0])
    values, _ = legendre(21, np.sin(latitude))
    for order, degree in ((0, 0), (0, 7), (3, 3), (4, 9), (21, 21)):
        reference = scipy.special.sph_harm_y(degree, order, np.pi / 2 - latitude, 0.0).real
        reference = reference * np.sqrt(2 * np.pi) * (-1) ** order
        np.testing.assert_allclose(values[order, :, degree], reference, atol=1e-12)


@pytest.mark.parametrize("poles", [False, True])
def test_derivatives_and_laplacian_of_a_closed_form(poles: bool) -> None:
    transform = GaussianTransform(21)
    latitude = np.deg2rad(transform.latitudes_deg)[:, None]
    longitude = np.deg2rad(transform.longitudes_deg)[None]
    field = np.sin(latitude) * np.cos(latitude) * np.cos(longitude)
    coefficients = transform.analyze(field[None])
    synthesis: Synthesis = transform
    if poles:
        synthesis = Synthesis(21, np.linspace(90, -90, 37), 72)
        latitude = np.deg2rad(synthesis.latitudes_deg)[:, None]
        longitude = np.deg2rad(np.arange(72) * 5.0)[None]
        field = np.sin(latitude) * np.cos(latitude) * np.cos(longitude)
    sine, cosine = np.sin(latitude), np.cos(latitude)
    laplacian = synthesis.grid(coefficients * synthesis.laplacian)[0]
    # The shortest wave's eigenvalue, 21 · 22, multiplies the rounding of coefficients in float32.
    rounding = 21 * 22 * float(np.finfo(np.float32).eps)
    np.testing.assert_allclose(laplacian, -6 * field, atol=rounding)
    northward = cosine * (cosine**2 - sine**2) * np.cos(longitude)
    np.testing.assert_allclose(synthesis.meridional_slope(coefficients)[0], northward, atol=1e-5)
    eastward = -sine * cosine * np.sin(longitude)
    np.testing.assert_allclose(synthesis.zonal_slope(coefficients)[0], eastward, atol=1e-5)


def test_resize_keeps_the_common_waves() -> None:
    coefficients = triangular(21, 2)
    larger = resize(coefficients, 31)
    assert larger.shape == (2, 32, 32)
    assert np.abs(larger).sum() == pytest.approx(np.abs(coefficients).sum())
    np.testing.assert_array_equal(resize(larger, 21), coefficients)


# The flow


@pytest.fixture
def free_model() -> QuasiGeostrophicModel:
    """Without drag; each test says what the thicknesses relax towards."""
    model = QuasiGeostrophicModel(21, 7)
    model._drag = np.zeros_like(model._drag)
    return model


def test_potential_vorticity_is_inverted(free_model: QuasiGeostrophicModel) -> None:
    streamfunction = triangular(21, 3) * np.float32(1e-3)
    streamfunction[:, 0, 0] = 0
    back = free_model.streamfunction(free_model.potential_vorticity(streamfunction))
    np.testing.assert_allclose(back, streamfunction, atol=1e-6)


def test_advection_conserves_energy_and_potential_enstrophy(free_model: QuasiGeostrophicModel) -> None:
    falling = np.exp(-np.arange(22) / 6.0).astype(np.float32)
    streamfunction = triangular(21, 3) * np.float32(1e-2) * falling
    streamfunction[:, 0, 0] = 0
    free_model._equilibria[15] = streamfunction[:2] - streamfunction[1:]
    vorticity = free_model.potential_vorticity(streamfunction)
    tendency = free_model.tendency(vorticity, 15)

    def product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        waves = (left.conj() * right).real.astype(np.float64)
        return 2 * waves.sum((1, 2)) - waves[:, 0].sum(1)

    scale = np.sqrt(product(vorticity, vorticity) * product(tendency, tendency))
    assert (scale > 1e-3).all()
    np.testing.assert_array_less(np.abs(product(vorticity, tendency)) / scale, 1e-5)
    energy_scale = np.sqrt(product(streamfunction, streamfunction) * product(tendency, tendency)).sum()
    assert abs(product(streamfunction, tendency).sum()) / energy_scale < 1e-5


def test_rossby_haurwitz_wave_drifts_at_its_speed(free_model: QuasiGeostrophicModel) -> None:
    streamfunction = np.zeros((3, 22, 22), np.complex64)
    streamfunction[:, 4, 6] = 0.01 + 0.02j
    free_model._equilibria[15] = np.zeros((2, 22, 22), np.complex64)
    tendency = free_model.tendency(free_model.potential_vorticity(streamfunction), 15)
    expected = -2 * 4j * streamfunction[0]
    np.testing.assert_allclose(tendency[0], expected, atol=2e-6)
    np.testing.assert_allclose(tendency[1], expected, atol=2e-6)
    assert np.abs(tendency[2] - expected).max() > 1e-4, "the lowest layer feels the orography"


def test_solid_rotation_is_in_linear_balance() -> None:
    streamfunction = np.zeros((22, 22), np.complex64)
    streamfunction[0, 1] = -0.05 * np.sqrt(2 / 3)
    synthesis = Synthesis(21, np.linspace(90, -90, 19), 36)
    geopotential = synthesis.grid(linear_balance(streamfunction, coupling(21))[None])[0]
    sine = np.sin(np.deg2rad(synthesis.latitudes_deg))
    np.testing.assert_allclose(geopotential[:, 0], -0.05 * WIND_UNIT**2 * (sine**2 - 1 / 3), atol=0.1)


@pytest.mark.parametrize("spoil", [50.0, np.nan])
def test_implausible_flow_is_an_error(spoil: float) -> None:
    model = QuasiGeostrophicModel(21, 7)
    state = model.initial_state(15, np.random.default_rng(0))
    model.check(state, "now")
    with pytest.raises(FloatingPointError, match="T21, day 3.*below 130 m/s"):
        model.check(state * np.float32(spoil), "day 3")


# The output grid


def test_departure_points_and_interpolation_of_solid_rotation() -> None:
    grid = Grid(5.0)
    hours = 10
    angle = np.deg2rad(5)
    wind = angle * EARTH_RADIUS / (hours * 3600) * np.cos(grid.latitude) + np.zeros(grid.shape)
    row, column = grid.departure_points(wind, np.zeros(grid.shape), hours * 3600)
    inner = slice(12, 25)
    np.testing.assert_allclose(row[inner], np.arange(37)[inner, None] + np.zeros(72), atol=0.02)
    shift = (np.arange(72) - column[inner]) % 72
    np.testing.assert_allclose(shift, 1, atol=0.01)

    field = np.sin(grid.latitude) + np.cos(grid.latitude) * np.sin(grid.longitude)
    points = np.stack(np.meshgrid(np.arange(37.0), np.arange(72.0) - 1, indexing="ij"))
    turned = np.sin(grid.latitude) + np.cos(grid.latitude) * np.sin(grid.longitude - angle)
    np.testing.assert_allclose(grid.interpolate(field, points), turned, atol=1e-5)


def test_wind_crosses_the_pole_as_one_vector() -> None:
    grid = Grid(5.0)
    zonal = np.cos(grid.longitude) + np.zeros(grid.shape)
    meridional = -np.sin(grid.latitude) * np.sin(grid.longitude)
    closed = zonal.copy(), meridional.copy()
    for field in closed:
        field[[0, -1]] = 99
    grid.close_wind_poles(*closed)
    np.testing.assert_allclose(closed[0], zonal, atol=0.01)
    np.testing.assert_allclose(closed[1], meridional, atol=0.01)


def test_planet_resembles_the_earth_and_is_the_same_on_every_grid() -> None:
    fine, coarse = Grid(2.5), Grid(7.5)
    planet = make_planet(fine.latitudes_deg, fine.longitudes_deg, 7)
    weights = np.cos(fine.latitude) + np.zeros(fine.shape)
    assert 0.2 < np.average(planet.land_sea_mask, weights=weights) < 0.4
    assert 2000 < planet.height.max() < 7000
    assert (planet.land_sea_mask == 0).mean() > 0.4
    assert set(np.unique(planet.soil_type)) == set(range(8))
    assert (planet.soil_type[planet.land_sea_mask <= 0.5] == 0).all()
    for field in (planet.land_sea_mask, planet.height, planet.wetness):
        assert np.ptp(field[0]) == np.ptp(field[-1]) == 0
    other = make_planet(coarse.latitudes_deg, coarse.longitudes_deg, 7).land_sea_mask
    assert np.corrcoef(other.ravel(), planet.land_sea_mask[::3, ::3].ravel())[0, 1] > 0.9
    another_seed = make_planet(coarse.latitudes_deg, coarse.longitudes_deg, 8).land_sea_mask
    assert np.abs(another_seed - other).max() > 0.5


# The vertical


def test_levels_pass_through_the_layers() -> None:
    for layer, layer_hpa in enumerate((200, 500, 800)):
        np.testing.assert_allclose(layer_weights(layer_hpa)[0], np.eye(3)[layer], atol=1e-12)
    for pressure in (230.0, 400.0, 799.0, 950.0):
        above, below = (layer_weights(pressure * factor)[0] for factor in (0.9995, 1.0005))
        slope = (below - above) / np.log(1.0005 / 0.9995)
        np.testing.assert_allclose(slope, layer_weights(pressure)[1], atol=2e-3)


def test_saturation_humidity_at_known_points() -> None:
    assert saturation_humidity(np.array(273.15), 1000) == pytest.approx(3.81e-3, rel=0.005)
    assert saturation_humidity(np.array(293.15), 1000) == pytest.approx(14.7e-3, rel=0.01)


@pytest.mark.parametrize(("upper", "lower"), [(500, 700), (700, 850), (850, 925)])
def test_levels_are_hydrostatic(atmosphere: Atmosphere, upper: int, lower: int) -> None:
    above, below = level_fields(atmosphere, upper), level_fields(atmosphere, lower)
    mean = 0.5 * (above["temperature"] + below["temperature"])
    thickness = GAS_CONSTANT * mean * np.log(lower / upper)
    # The balanced part's shear bends at 800 hPa, the rest is exact.
    tolerance = 25 if upper == 700 else 1.0
    np.testing.assert_allclose(above["geopotential"] - below["geopotential"], thickness, atol=tolerance)


def test_balanced_temperature_is_in_thermal_wind_balance(atmosphere: Atmosphere) -> None:
    warm, grid = atmosphere.balanced_temperature(600), atmosphere.grid
    coriolis = 2 * ROTATION_RATE * np.sin(grid.latitude)
    upper, lower = atmosphere.wind(500)[0], atmosphere.wind(720)[0]
    shear = coriolis * (lower - upper) / np.log(720 / 500)
    slope = GAS_CONSTANT * grid.slopes(warm)[1]
    extratropics = np.abs(grid.latitudes_deg - 50) < 21
    pair = shear[extratropics].ravel(), slope[extratropics].ravel()
    assert np.corrcoef(*pair)[0, 1] > 0.95
    assert np.polyfit(*pair, 1)[0] == pytest.approx(1, abs=0.1)


def test_wind_is_nearly_geostrophic(atmosphere: Atmosphere) -> None:
    grid = atmosphere.grid
    eastward, northward = grid.slopes(atmosphere.balanced_height(500) * GRAVITY)
    coriolis = 2 * ROTATION_RATE * np.sin(grid.latitude)
    zonal, meridional = atmosphere.wind(500)
    extratropics = np.abs(grid.latitudes_deg - 50) < 21
    for slope, wind in ((-northward, coriolis * zonal), (eastward, coriolis * meridional)):
        pair = wind[extratropics].ravel(), slope[extratropics].ravel()
        assert np.corrcoef(*pair)[0, 1] > 0.97
        assert np.polyfit(*pair, 1)[0] == pytest.approx(1, abs=0.1)


# The weather


def test_statistics_of_a_short_run() -> None:
    period = days(date(2001, 1, 15), 5)
    spec = small(
        period,
        truncation=42,
        resolution_deg=2.5,
        coarse_spinup_days=35,
        fine_spinup_days=3,
        full_spinup_days=2,
    )
    air = spin_up(spec, datetime(2001, 1, 15))
    weights = np.cos(air.grid.latitude) + np.zeros(air.grid.shape)
    rain, winds, heights = [], [], []
    for hour in range(5 * 24):
        rain.append(air.advance())
        if hour % 12 == 0:
            fields = level_fields(air, 250)
            winds.append(fields["u_component_of_wind"])
            heights.append(level_fields(air, 500)["geopotential"] / GRAVITY)
    air.check()
    jet = np.mean(winds, axis=(0, 2))
    strongest = int(np.argmax(jet))
    assert 25 < jet[strongest] < 60
    assert 28 < abs(air.grid.latitudes_deg[strongest]) < 58
    north = (air.grid.latitudes_deg > 30) & (air.grid.latitudes_deg < 70)
    assert 30 < np.std(heights, axis=0)[north].mean() < 200
    assert 1 < np.average(np.mean(rain, axis=0), weights=weights) * 24e3 < 4
    dry = np.average(np.mean(np.array(rain) == 0, axis=0), weights=weights)
    assert 0.4 < dry < 0.9


def test_land_is_colder_than_sea_in_winter_and_warmer_in_summer(raw: Path, tmp_path: Path) -> None:
    variables = VariableSet(surface=("2m_temperature",), static=("land_sea_mask", "geopotential_at_surface"))
    summer = fetched(tmp_path / "summer", days(date(2001, 7, 15), 2), variables)
    contrast = []
    for directory in (raw, summer):
        fields = [m for m in messages(directory / "single_levels.grib") if m["paramId"] == 167]
        warmth = np.mean([field["values"] for field in fields], axis=0)
        land, height = (message["values"] for message in list(messages(directory / "static.grib"))[:2])
        rows = (np.arange(25) >= 4) & (np.arange(25) <= 8)
        low_land, sea = (land > 0.7) & (height < 5000), land < 0.3
        contrast.append(warmth[rows][low_land[rows]].mean() - warmth[rows][sea[rows]].mean())
        assert 180 < warmth.min() < 265
        assert 295 < warmth.max() < 335
    assert contrast[0] < -3
    assert contrast[1] > 1


# The files


def test_pressure_levels_inventory(raw: Path) -> None:
    rows = list(messages(raw / "pressure_levels.grib"))
    moments = [datetime(2001, 1, 15) + timedelta(hours=6 * number) for number in range(8)]
    expected = Counter(
        (VARIABLES[name].param_id, level, moment)
        for name in ATMOSPHERIC
        for level in LEVELS
        for moment in moments
    )
    assert Counter((row["paramId"], row["level"], valid_time(row)) for row in rows) == expected
    assert {row["typeOfLevel"] for row in rows} == {"isobaricInhPa"}
    assert {row["type"] for row in rows} == {"an"}


def test_single_levels_inventory(raw: Path) -> None:
    rows = list(messages(raw / "single_levels.grib"))
    moments = [datetime(2001, 1, 15) + timedelta(hours=6 * number) for number in range(8)]
    expected = Counter((VARIABLES[name].param_id, moment) for name in SURFACE for moment in moments)
    assert Counter((row["paramId"], valid_time(row)) for row in rows) == expected
    assert {row["typeOfLevel"] for row in rows} == {"surface"}


def test_precipitation_comes_as_forecasts_from_06_and_18(raw: Path) -> None:
    rows = list(messages(raw / "total_precipitation.grib"))
    assert [valid_time(row) for row in rows] == [
        datetime(2001, 1, 15) + timedelta(hours=hour) for hour in range(48)
    ]
    assert [(row["dataDate"], row["dataTime"], row["endStep"]) for row in rows[:8]] == [
        *[(20010114, 1800, step) for step in range(6, 13)],
        (20010115, 600, 1),
    ]
    assert {row["dataTime"] for row in rows} == {600, 1800}
    assert all(row["endStep"] - row["startStep"] == 1 for row in rows)
    assert {(row["paramId"], row["type"], row["stepType"]) for row in rows} == {(228, "fc", "accum")}
    amounts = np.array([row["values"] for row in rows])
    assert amounts.min() == 0
    assert 0.5e-3 < amounts.max() < 0.05


def test_static_fields(raw: Path) -> None:
    rows = {row["paramId"]: row for row in messages(raw / "static.grib")}
    assert set(rows) == {172, 129, 43}
    grid = Grid(7.5)
    planet = make_planet(grid.latitudes_deg, grid.longitudes_deg, 7)
    np.testing.assert_allclose(rows[172]["values"], planet.land_sea_mask, atol=1e-4)
    np.testing.assert_allclose(rows[129]["values"], planet.height * GRAVITY, atol=1)
    np.testing.assert_array_equal(rows[43]["values"], planet.soil_type)


def test_headers_are_era5s(raw: Path) -> None:
    for path in raw.glob("*.grib"):
        for row in messages(path):
            header = tuple(row[name] for name in ("class", "stream", "expver", "centre", "edition"))
            assert header == ("ea", "oper", "0001", "ecmf", 1)
            assert (row["Nj"], row["Ni"], row["bitsPerValue"]) == (25, 48, 16)


def test_cfgrib_reads_the_files(raw: Path) -> None:
    def opened(name: str, **arguments: Any) -> xr.Dataset:
        settings = {"indexpath": "", **arguments}
        return xr.open_dataset(raw / name, engine="cfgrib", backend_kwargs=settings)

    levels = opened("pressure_levels.grib")
    assert dict(levels.sizes) == {"time": 8, "isobaricInhPa": 4, "latitude": 25, "longitude": 48}
    np.testing.assert_allclose(levels.latitude, 90 - 7.5 * np.arange(25))
    np.testing.assert_allclose(levels.longitude, 7.5 * np.arange(48))
    assert set(levels.data_vars) == {"t", "u", "v", "q", "z", "w"}
    assert set(opened("single_levels.grib").data_vars) == {"t2m", "u10", "v10", "msl", "sp", "tcc", "tcwv"}
    rain = opened("total_precipitation.grib", time_dims=("valid_time",))
    assert rain.tp.dims == ("valid_time", "latitude", "longitude")
    assert rain.sizes["valid_time"] == 48
    assert not rain.tp.isnull().any()
    assert set(opened("static.grib").data_vars) == {"lsm", "z", "slt"}


def test_decode_gives_the_canonical_dataset(raw: Path) -> None:
    request = DataRequest(variables=EVERYTHING, period=WINTER)
    dataset = small(WINTER).decode(request, raw)
    assert set(dataset.data_vars) == {*SURFACE, *ATMOSPHERIC, *STATIC, "total_precipitation"}
    row = next(m for m in messages(raw / "single_levels.grib") if m["paramId"] == 167)
    np.testing.assert_allclose(dataset["2m_temperature"].isel(time=0).values, row["values"], rtol=1e-6)


def test_a_constant_field_does_not_spoil_those_that_follow(tmp_path: Path) -> None:
    grid, moment = Grid(7.5), datetime(2001, 1, 15, 6)
    ramp = np.arange(25 * 48.0).reshape(25, 48)
    with GribFile(tmp_path / "file.grib", grid) as file:
        for values in (np.zeros(grid.shape), ramp, np.full(grid.shape, 3.0), ramp):
            file.hourly_sum(228, moment, values)
    rows = list(messages(tmp_path / "file.grib"))
    for row, expected in zip(rows, (np.zeros(grid.shape), ramp, np.full(grid.shape, 3.0), ramp), strict=True):
        np.testing.assert_allclose(row["values"], expected, atol=0.02)


def test_forecast_steps_cover_the_day() -> None:
    for hour in range(24):
        valid = datetime.combine(date(2001, 3, 1), time(hour))
        base, step = forecast_step(valid)
        assert base.hour in (6, 18)
        assert 1 <= step <= 12
        assert base + timedelta(hours=step) == valid


def test_only_what_is_asked_for_is_written(tmp_path: Path) -> None:
    variables = VariableSet(atmospheric=("geopotential", "temperature"), levels_hpa=(500,))
    directory = fetched(tmp_path / "raw", days(date(2001, 1, 15), 1), variables, step_hours=12)
    assert [path.name for path in directory.iterdir()] == ["pressure_levels.grib"]
    rows = list(messages(directory / "pressure_levels.grib"))
    assert [(row["paramId"], row["level"], row["validityTime"]) for row in rows] == [
        (129, 500, 0),
        (130, 500, 0),
        (129, 500, 1200),
        (130, 500, 1200),
    ]


def test_equal_specs_give_equal_bytes_and_whatever_else_is_asked_for(raw: Path, tmp_path: Path) -> None:
    again = fetched(tmp_path / "again", WINTER)
    names = sorted(os.listdir(raw))
    assert names == [
        "pressure_levels.grib",
        "single_levels.grib",
        "static.grib",
        "total_precipitation.grib",
    ]
    assert sorted(os.listdir(again)) == names
    for name in names:
        assert (again / name).read_bytes() == (raw / name).read_bytes()
    fewer = EVERYTHING.model_copy(update={"accumulated": ()})
    without = fetched(tmp_path / "without", WINTER, fewer)
    assert sorted(os.listdir(without)) == names[:3]
    for name in names[:3]:
        assert (without / name).read_bytes() == (raw / name).read_bytes()


def test_another_seed_or_start_gives_other_weather(raw: Path, tmp_path: Path) -> None:
    first = next(messages(raw / "pressure_levels.grib"))["values"]
    later = fetched(tmp_path / "later", days(date(2001, 1, 16), 1))
    seeded = fetched(tmp_path / "seeded", days(date(2001, 1, 15), 1), seed=8)
    for directory in (later, seeded):
        other = next(messages(directory / "pressure_levels.grib"))["values"]
        assert np.abs(other - first).max() > 3
    statics = [next(messages(path / "static.grib"))["values"] for path in (raw, later, seeded)]
    np.testing.assert_array_equal(statics[1], statics[0])
    assert np.abs(statics[2] - statics[0]).max() > 0.5


# Errors


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (VariableSet(surface=("10m_wind_gust",)), "10m_wind_gust"),
        (VariableSet(atmospheric=("temperature",), levels_hpa=(100, 500)), "100 hPa"),
    ],
)
def test_unknown_field_is_named(variables: VariableSet, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        fetched(tmp_path / "raw", WINTER, variables)
    assert not list((tmp_path / "raw").iterdir())


def test_members_are_refused(tmp_path: Path) -> None:
    request = DataRequest(variables=EVERYTHING, period=WINTER, members=(0, 1))
    with pytest.raises(ValueError, match=r"no ensemble members, found \(0, 1\)"):
        small(WINTER).fetch(request, tmp_path, tmp_path / "work")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resolution_deg": 1.40625}, "millidegrees"),
        ({"resolution_deg": 7.0}, "divide 180"),
        ({"resolution_deg": 0.0}, "greater than 0"),
        ({"truncation": 22}, "21, 31, 42 or 63"),
        ({"spans": ()}, "at least 1 item"),
        ({"spans": (WINTER, days(date(2001, 1, 16), 3))}, "20010115-20010116 and 20010116-20010118 overlap"),
        ({"full_spinup_days": 0}, "greater than or equal to 1"),
    ],
)
def test_impossible_specs_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        small(WINTER, **changes)


def test_periods_are_the_spans() -> None:
    spans = (WINTER, days(date(2002, 1, 15), 3))
    assert small(WINTER, spans=spans).periods() == spans
