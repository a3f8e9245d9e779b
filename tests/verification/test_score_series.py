from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from weatherpeft.artifacts import store
from weatherpeft.verification.score_series import Runs, compare_series, main_score, read_series

TIMES = np.datetime64("2003-01-15", "ns") + np.arange(10).astype("timedelta64[D]")


def written(path: Path, **scores: xr.DataArray) -> Path:
    store.write_dataset(xr.Dataset(scores), path / "scores.zarr")
    return path


def test_channels_at_lead_times_are_fields_and_members_are_averaged(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(2, 10, 3, 2)).astype(np.float32)
    leads = np.array([12, 24, 36], "timedelta64[h]").astype("timedelta64[ns]")
    coordinates = {"time": TIMES[::-1], "prediction_timedelta": leads, "channel": ["tp", "2t"]}
    rmse = xr.DataArray(values, coordinates, ("member", "time", "prediction_timedelta", "channel"))
    path = written(tmp_path, rmse=rmse, seeps=rmse.isel(channel=0, drop=True))
    series = read_series(path, "rmse")
    assert series["field"].values.tolist() == ["tp+12h", "tp+24h", "tp+36h", "2t+12h", "2t+24h", "2t+36h"]
    assert series.dtype == np.float64 and series.dims == ("time", "field")
    np.testing.assert_array_equal(series["time"], TIMES)
    expected = values.astype(np.float64).mean(axis=0)[::-1]
    np.testing.assert_allclose(series.sel(field="2t+24h"), expected[:, 1, 1])
    assert read_series(path, "seeps")["field"].values.tolist() == ["seeps+12h", "seeps+24h", "seeps+36h"]
    with pytest.raises(ValueError, match="lacks acc"):
        read_series(path, "acc")


def test_the_main_score_is_the_crps_where_there_is_one(tmp_path: Path) -> None:
    rmse = xr.DataArray(np.ones((10, 1)), {"time": TIMES, "channel": ["2t"]}, ("time", "channel"))
    assert main_score(written(tmp_path / "fields", rmse=rmse)) == "rmse"
    assert main_score(written(tmp_path / "ensemble", rmse=rmse, crps=rmse)) == "crps"


def runs(*seeds: int | None, add: float = 0.0, field: str = "2t") -> Runs:
    """Scores that are 1, plus the seed, plus a term of the day."""
    days = np.linspace(0, 1, 10)[:, None]
    coordinates = {"time": TIMES, "field": [field]}
    return {
        seed: xr.DataArray(1 + (seed or 0) + add + days, coordinates, ("time", "field")) for seed in seeds
    }


def test_runs_are_compared_with_the_same_seeds_and_baselines_with_all() -> None:
    paired = compare_series(runs(0, 1, 2, add=0.5), runs(2, 1))
    assert paired.seeds == 2
    # Seed by seed and day by day the difference is the same, however far the seeds lie apart.
    np.testing.assert_allclose([paired.lower, paired.difference, paired.upper], 0.5)
    for one, other, sign in ((runs(0, 1, 2), runs(None), 1), (runs(None), runs(0, 1, 2), -1)):
        found = compare_series(one, other)
        assert found.seeds == 3 and found.difference == pytest.approx(sign)
        assert found.upper - found.lower > 2


def test_what_does_not_belong_together_is_refused() -> None:
    with pytest.raises(ValueError, match="seed in common, found .0. and .1, 2."):
        compare_series(runs(0), runs(1, 2))
    with pytest.raises(ValueError, match="the same fields"):
        compare_series(runs(0), runs(0, field="10u"))
    later = {seed: values.assign_coords(time=TIMES + 1) for seed, values in runs(0).items()}
    with pytest.raises(ValueError, match="the same times"):
        compare_series(runs(0), later)
