"""The toy planet's ensemble forecasts: their files, and that they are what post-processing is for."""

from datetime import datetime
from pathlib import Path
from typing import Any

import eccodes
import numpy as np
import pytest
import xarray as xr
from pydantic import ValidationError

from weatherpeft.interfaces import DataRequest
from weatherpeft.sources.toy import ensemble
from weatherpeft.sources.toy.atmosphere import Atmosphere
from weatherpeft.sources.toy.dynamics import QuasiGeostrophicModel
from weatherpeft.sources.toy.files import spin_up
from weatherpeft.sources.toy.physics import Physics
from weatherpeft.sources.toy.spec import Toy

PERIOD = {"start": "2001-01-15", "end": "2001-01-22"}
MEMBERS = 6
TARGETS: dict[str, Any] = {
    "surface": ["2m_temperature", "10m_u_component_of_wind", "10m_v_component_of_wind"],
    "atmospheric": ["temperature", "geopotential"],
    "levels_hpa": [500, 850],
}
INPUTS = TARGETS | {
    "surface": [*TARGETS["surface"], "total_column_water_vapour", "total_precipitation_48hr"],
    "atmospheric": [*TARGETS["atmospheric"], "specific_humidity", "vertical_velocity"],
}


def planet(**changes: Any) -> Toy:
    values = {
        "name": "toy",
        "spans": [PERIOD],
        "truncation": 31,
        "resolution_deg": 5.0,
        "coarse_spinup_days": 25,
        "fine_spinup_days": 3,
        "full_spinup_days": 1,
        "ensemble": {"members": MEMBERS, "resolution_deg": 10.0},
    }
    return Toy.parse(values | changes)


def analyses(variables: dict[str, Any] = TARGETS, period: dict[str, str] = PERIOD) -> DataRequest:
    return DataRequest.parse({"variables": variables, "period": period, "step_hours": 12})


def forecasts(
    variables: dict[str, Any] = INPUTS, period: dict[str, str] = PERIOD, members: int = MEMBERS
) -> DataRequest:
    numbers = list(range(1, members + 1))
    return DataRequest.parse({"variables": variables, "period": period, "members": numbers, "lead_hours": 48})


def test_a_planet_makes_forecasts_where_it_has_an_ensemble() -> None:
    assert planet().makes_forecasts is True
    assert planet(ensemble=None).makes_forecasts is False


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    planet().fetch(analyses(), folder, folder / "work")
    return folder


@pytest.fixture(scope="module")
def ensembles(raw: Path) -> xr.Dataset:
    return planet().decode(forecasts(), raw).load()


@pytest.fixture(scope="module")
def truth(raw: Path, ensembles: xr.Dataset) -> xr.Dataset:
    """At the forecasts' valid times and points."""
    found = planet().decode(analyses(), raw)
    return found.sel(time=ensembles.time, latitude=ensembles.latitude, longitude=ensembles.longitude).load()


def test_headers_are_those_of_an_operational_ensemble(raw: Path) -> None:
    keys = ("class", "stream", "type", "edition", "dataTime", "numberOfForecastsInEnsemble")
    found = set()
    with (raw / "forecast_single_levels.grib").open("rb") as stream:
        while (message := eccodes.codes_grib_new_from_file(stream)) is not None:
            assert [eccodes.codes_get(message, key) for key in keys] == ["od", "enfo", "pf", 1, 0, MEMBERS]
            names = ("dataDate", "number", "shortName", "stepRange", "stepType")
            found.add(tuple(eccodes.codes_get(message, key) for key in names))
            eccodes.codes_release(message)
    for start in range(20010115, 20010121):
        for number in range(1, MEMBERS + 1):
            assert (start, number, "2t", "48", "instant") in found
            assert (start, number, "tp", "0-48", "accum") in found
    assert len(found) == 6 * MEMBERS * 8


def test_decoding_agrees_with_cfgrib(raw: Path, ensembles: xr.Dataset) -> None:
    for file, key, name in (
        ("single", "t2m", "2m_temperature"),
        ("single", "tp", "total_precipitation_48hr"),
        ("pressure", "w", "vertical_velocity"),
    ):
        settings = {"indexpath": "", "filter_by_keys": {"cfVarName": key}}
        path = raw / f"forecast_{file}_levels.grib"
        oracle = xr.open_dataset(path, engine="cfgrib", backend_kwargs=settings)[key]
        if "isobaricInhPa" in oracle.dims:
            oracle = oracle.sel(isobaricInhPa=[500, 850])
        np.testing.assert_array_equal(ensembles[name].values, oracle.values)
        np.testing.assert_array_equal(ensembles["time"].values, oracle["valid_time"].values)
        np.testing.assert_array_equal(ensembles["init_time"].values, oracle["time"].values)
        np.testing.assert_array_equal(ensembles["member"].values, oracle["number"].values)


def test_times_are_valid_times_within_the_period(ensembles: xr.Dataset) -> None:
    days = np.arange("2001-01-17", "2001-01-23", dtype="datetime64[D]")
    np.testing.assert_array_equal(ensembles["time"], days.astype("datetime64[ns]"))
    np.testing.assert_array_equal(ensembles["time"] - ensembles["init_time"], np.timedelta64(48, "h"))


def test_analyses_are_the_same_with_and_without_an_ensemble(raw: Path, tmp_path: Path) -> None:
    planet(ensemble=None).fetch(analyses(), tmp_path, tmp_path / "work")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["pressure_levels.grib", "single_levels.grib"]
    for name in names:
        assert (tmp_path / name).read_bytes() == (raw / name).read_bytes()
    with pytest.raises(ValueError, match="only with the option ensemble"):
        planet(ensemble=None).decode(forecasts(), raw)


def scores(ensembles: xr.Dataset, truth: xr.Dataset, name: str, level: int | None) -> dict[str, float]:
    forecast, target = ensembles[name], truth[name]
    if level is not None:
        forecast, target = forecast.sel(level=level), target.sel(level=level)
    weights = np.cos(np.deg2rad(target.latitude))

    def size(error: xr.DataArray) -> float:
        return float(np.sqrt((error**2).weighted(weights).mean()))

    error = forecast.mean("member") - target
    return {
        "error": size(error),
        "bias": size(error.mean("time")),
        "spread": float(np.sqrt(forecast.var("member", ddof=1).weighted(weights).mean())),
        # The mean of the other days.
        "climatology": size(target - target.mean("time")) * target.sizes["time"] / (target.sizes["time"] - 1),
        "persistence": size(target.diff("time", n=1)),
    }


@pytest.mark.parametrize(
    ("name", "level", "biased"),  # the model's jets, drag and surface are wrong
    [
        ("2m_temperature", None, True),
        ("10m_u_component_of_wind", None, True),
        ("10m_v_component_of_wind", None, False),
        ("geopotential", 500, True),
        ("temperature", 850, False),
    ],
)
def test_forecasts_are_skilful_biased_and_too_confident(
    ensembles: xr.Dataset, truth: xr.Dataset, name: str, level: int | None, biased: bool
) -> None:
    found = scores(ensembles, truth, name, level)
    assert found["error"] < 0.9 * min(found["climatology"], found["persistence"])
    assert 0.3 < found["spread"] / found["error"] < 0.9
    if biased:  # the mean of six errors that are not systematic would be error / √6
        assert found["bias"] > 1.3 * found["error"] / np.sqrt(ensembles.sizes["time"])


PERFECT = {"truncation": 21, "ensemble": {"members": 2, "truncation": 21, "resolution_deg": 5.0}}


@pytest.fixture
def no_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_ANALYSIS_ERROR", "_PERTURBATION", "_HUMIDITY_PERTURBATION"):
        monkeypatch.setattr(ensemble, name, 0.0)
    monkeypatch.setattr(ensemble, "WRONG", Physics())
    monkeypatch.setattr(ensemble, "_STEP_HOURS", 1)


def test_moisture_starts_from_the_planets(no_errors: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ensemble, "LEAD_HOURS", 2)
    own, start = planet(**PERFECT), datetime(2001, 1, 15)
    assert own.ensemble
    forecaster, true = ensemble.Forecaster(own, own.ensemble), spin_up(own, start)
    true.advance()
    forecaster.watch(true)
    forecaster.watch(true)  # two states, whose difference would be the perturbation
    before = true.humidity
    for _ in range(2):
        true.advance()
    forecaster._forecast(start, 1)
    error = np.abs(forecaster._atmosphere.humidity - true.humidity).mean()
    assert error < 0.02 * before.std()


def test_one_long_step_does_what_short_ones_do() -> None:
    ends = []
    for step_hours in (1, 3):
        model = QuasiGeostrophicModel(21, 7)
        own = Atmosphere(model, 5.0, 7, step_hours=step_hours)
        generator = np.random.default_rng(0)
        own.start(model.initial_state(15, generator), datetime(2001, 1, 15), generator)
        dry, own.temperature = 0.5 * own.humidity, own.temperature + 10
        own.humidity = dry
        for _ in range(3 // step_hours):
            own.advance()
        ends.append((own.now, own.temperature_anomaly.mean(), (own.humidity - dry).mean() / dry.mean()))
    (now, warmth, moisture), (same, long_warmth, long_moisture) = ends
    assert now == same == datetime(2001, 1, 15, 3)
    # A tenth an hour is lost: 10 K · 0.908³ = 7.5 K, and 10 K · (1 - 3 · 0.092) = 7.2 K in one step.
    assert long_warmth == pytest.approx(warmth, abs=0.6)
    assert long_moisture == pytest.approx(moisture, rel=0.2)


def test_a_perfect_model_from_a_perfect_analysis_follows_the_planet(tmp_path: Path, no_errors: None) -> None:
    period = {"start": "2001-01-15", "end": "2001-01-17"}
    own = planet(spans=[period], **PERFECT)
    rainy = INPUTS | {"accumulated": ["total_precipitation"]}
    rainy["surface"] = [name for name in INPUTS["surface"] if name != "total_precipitation_48hr"]
    own.fetch(analyses(rainy, period), tmp_path, tmp_path / "work")
    found = own.decode(forecasts(INPUTS, period, members=2), tmp_path).load().isel(time=0)
    target = own.decode(analyses(rainy, period), tmp_path).load()
    for name, share in (
        ("2m_temperature", 0.05),
        ("temperature", 0.005),
        ("geopotential", 0.005),
    ):
        now = target[name].sel(time="2001-01-17T00")
        scale = float((target[name].isel(time=0) - now).std())
        error = float((found[name] - now).std())
        assert error < share * scale, f"{name}: {error / scale}"
    hourly = target["total_precipitation"].sel(hourly_time=slice("2001-01-15T01", "2001-01-17T00"))
    rain = hourly.sum("hourly_time").values.ravel()
    own_rain = found["total_precipitation_48hr"].isel(member=0).values.ravel()
    assert np.corrcoef(rain, own_rain)[0, 1] > 0.8  # the weather's noise is another
    assert own_rain.mean() == pytest.approx(rain.mean(), rel=0.2)


def test_a_member_is_a_function_of_seed_start_and_number(tmp_path: Path) -> None:
    period = {"start": "2001-01-15", "end": "2001-01-18"}  # two starts: no run remembers the one before
    found = {}
    for label, members, changes in (("two", 2, {}), ("three", 3, {}), ("seed", 2, {"seed": 8})):
        (tmp_path / label).mkdir()
        surface = {"surface": TARGETS["surface"]}
        settings = {"truncation": 21, "coarse_spinup_days": 5, "fine_spinup_days": 0} | changes
        own = planet(spans=[period], ensemble={"members": members, "resolution_deg": 10.0}, **settings)
        own.fetch(analyses(surface, period), tmp_path / label, tmp_path / "work")
        found[label] = own.decode(forecasts(surface, period, members=2), tmp_path / label).load()
    assert not (tmp_path / "two" / "forecast_pressure_levels.grib").exists(), "no levels"
    xr.testing.assert_identical(found["two"], found["three"])
    winds = {label: dataset["10m_u_component_of_wind"] for label, dataset in found.items()}
    assert np.abs(winds["two"].sel(member=1) - winds["two"].sel(member=2)).max() > 0.5
    assert np.abs(winds["seed"] - winds["two"]).max() > 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resolution_deg": 7.5}, "a multiple of resolution_deg 5.0 and divide 180 degrees, found 7.5"),
        ({"members": 1}, "greater than or equal to 2"),
        ({"every_hours": 6}, "12 or 24"),
    ],
)
def test_impossible_ensembles_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        planet(ensemble=changes)


def test_what_the_forecasts_have_not_is_named(raw: Path) -> None:
    with pytest.raises(ValueError, match="member 7 is missing"):
        planet().decode(forecasts(members=7), raw)
    with pytest.raises(ValueError, match="no level 925"):
        planet().decode(forecasts({"atmospheric": ["temperature"], "levels_hpa": [925]}), raw)
    with pytest.raises(ValueError, match="too short for a forecast of 48 h"):
        planet().decode(forecasts(period={"start": "2001-01-15", "end": "2001-01-16"}), raw)
    with pytest.raises(ValueError, match="come with its analyses"):
        planet().fetch(forecasts(TARGETS), raw, raw / "work")
