"""Real hourly rain over India, from NetCDF to the scores of persistence, against the package ``scores``."""

from pathlib import Path

import numpy as np
import pytest
import scores.categorical
import scores.continuous
import xarray as xr

from tests.real_samples import precipitation_6h
from weatherpeft.artifacts import store
from weatherpeft.config import Experiment
from weatherpeft.jobs import Jobs
from weatherpeft.stages.baseline import baseline
from weatherpeft.stages.climatology import climatology
from weatherpeft.stages.download import download
from weatherpeft.stages.evaluate import evaluate
from weatherpeft.stages.regrid import regrid
from weatherpeft.stages.series import series

RAIN = "total_precipitation_6hr"
SPAN = {"start": "2023-07-15", "end": "2023-08-31"}
LEADS = (12, 24, 36)


def beside(path: Path) -> Path:
    """A field at a time, from which samples have their times: the rain's file has none."""
    times = np.arange("2023-07-15T00", "2023-09-01T00", 6, dtype="datetime64[h]").astype("datetime64[ns]")
    axes = {"latitude": np.arange(20, 14.9, -0.25), "longitude": np.arange(77, 82.1, 0.25)}
    pressure = np.broadcast_to(1e5 + np.arange(21, dtype=np.float32), (times.size, 21, 21))
    dims = ("valid_time", *axes)
    xr.Dataset({"msl": (dims, pressure, {"units": "Pa"})}, {"valid_time": times, **axes}).to_netcdf(path)
    return path


def experiment(files: list[Path]) -> Experiment:
    """The last week of August from the weeks before it; the model is never made."""
    return Experiment.parse(
        {
            "name": "india",
            "data": "data",
            "source": {"name": "local", "paths": list(map(str, files)), "span": SPAN},
            "variables": {
                "surface": ["mean_sea_level_pressure", RAIN],
                "accumulated": ["total_precipitation"],
            },
            "placeholders": {"temperature": 290.0, "land_sea_mask": 1.0},
            "splits": {
                "train": {"periods": [{"start": "2023-07-15", "end": "2023-08-20"}]},
                "validation": {"periods": [{"start": "2023-08-21", "end": "2023-08-23"}]},
                "test": {"periods": [{"start": "2023-08-24", "end": "2023-08-31"}]},
            },
            "task": {
                "name": "precipitation",
                "grid": {
                    **{"resolution_deg": 0.25, "poles": True},
                    "region": {"north": 19, "south": 16.25, "west": 78, "east": 80.75},
                },
                "lead_times_hours": LEADS,
            },
            "backbone": {"name": "aurora", "patch_size": 3},
            "training": {"steps": 1, "learning_rate": 1e-3},
            "baselines": ["persistence", "climatology"],
            "runs": {"full": {"methods": [{"name": "full"}], "start": "random"}},
        }
    )


@pytest.mark.shared
@pytest.mark.slow
def test_real_rain_from_netcdf_to_scores(shared_data: Path, tmp_path: Path) -> None:
    file = shared_data / "era5_tp_hourly_india_2023.nc"
    planned = experiment([file, beside(tmp_path / "pressure.nc")])
    jobs = Jobs(planned)
    (label,) = jobs.periods()
    raw, data, made = tmp_path / "raw", tmp_path / "regridded", tmp_path / "usual"
    download(jobs.download(label), raw, tmp_path / "shared/raw", tmp_path / "work")
    regrid(jobs.regrid(label), raw, data, tmp_path / "shared/regridded")
    series(jobs.series(label), [data], tmp_path / "series")
    climatology(jobs.climatology(), [tmp_path / "series"], made)
    found = {}
    for name in jobs.baseline_labels():
        baseline(jobs.baseline(name), [data], tmp_path / name, made)
        evaluate(jobs.evaluate(name), [data], tmp_path / name, tmp_path / f"{name}-scores", made)
        found[name] = store.open_dataset(tmp_path / f"{name}-scores" / "scores.zarr").load()

    # Sums of the file itself, by the time that they end at.
    sums = precipitation_6h(shared_data)
    ends = np.datetime64("2023-06-01T06", "ns") + np.arange(len(sums)) * np.timedelta64(6, "h")
    rows, columns = np.arange(20, 14.9, -0.25), np.arange(77, 82.1, 0.25)
    rain = xr.DataArray(
        sums.astype(np.float64),
        {"time": ends, "latitude": rows, "longitude": columns},
        ("time", "latitude", "longitude"),
    ).isel(latitude=slice(4, 16), longitude=slice(4, 16))
    rows, columns = rain["latitude"].values, rain["longitude"].values
    edge = np.deg2rad(0.125)
    area = xr.DataArray(
        np.sin(np.deg2rad(rows) + edge) - np.sin(np.deg2rad(rows) - edge), {"latitude": rows}, ("latitude",)
    )
    usual = (
        store.open_dataset(made / "climatology.zarr").load().assign_coords(latitude=rows, longitude=columns)
    )

    # A week less its first sum, the first frame and the last target.
    starts = found["persistence"]["time"].values
    assert starts[0] == np.datetime64("2023-08-24T18") and starts[-1] == np.datetime64("2023-08-30T06")
    assert starts.size == 23
    for lead in LEADS:
        step = np.timedelta64(lead, "h")
        forecast, observed = rain.sel(time=starts), rain.sel(time=starts + step)
        day = observed["time"].dt
        place = {"hour": day.hour, "dayofyear": day.dayofyear}
        mean, wet = (
            usual[name].sel(place).drop_vars(["hour", "dayofyear"])
            for name in (RAIN, f"{RAIN}_seeps_threshold")
        )
        observed, mean, wet = (each.assign_coords(time=starts) for each in (observed, mean, wet))
        dry = usual[f"{RAIN}_seeps_dry_fraction"].mean(("hour", "dayofyear"), dtype=np.float64)
        ours = found["persistence"].sel(prediction_timedelta=step)
        by_time = {"preserve_dims": "time", "weights": area}

        rmse = scores.continuous.rmse(forecast, observed, **by_time)
        np.testing.assert_allclose(ours["rmse"].sel(channel="tp"), rmse, rtol=1e-6)
        error = scores.continuous.additive_bias(forecast, observed, **by_time)
        np.testing.assert_allclose(ours["bias"].sel(channel="tp"), error, atol=1e-6 * float(rmse.min()))
        # A product's mean from means of squares: 2ab = a² + b² - (a - b)².
        anomalies = [forecast - mean, observed - mean]
        powers = [scores.continuous.mse(each, 0 * each, **by_time) for each in anomalies]
        product = (powers[0] + powers[1] - scores.continuous.mse(*anomalies, **by_time)) / 2
        acc = product / np.sqrt(powers[0] * powers[1])
        np.testing.assert_allclose(ours["acc"].sel(channel="tp"), acc, atol=1e-6)
        assert 0 < float(acc.mean()) < 0.9
        # To that package what equals a threshold belongs to the drier category.
        seeps = scores.categorical.seeps(
            forecast.astype(np.float32),
            observed.astype(np.float32),
            dry,
            xr.apply_ufunc(np.nextafter, wet, np.float32(0)),
            dry_light_threshold=np.nextafter(np.float32(1e-4), np.float32(0)),
            **by_time,
        )
        np.testing.assert_allclose(ours["seeps"], seeps, rtol=1e-6)
        assert 0.3 < float(seeps.mean()) < 1.2
    assert np.isnan(found["climatology"]["acc"]).all()
