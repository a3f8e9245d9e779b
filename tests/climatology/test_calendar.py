"""Climatology against xarray's rolling windows and quantiles, and closed forms."""

import numpy as np
import pytest
import xarray as xr

from tests.climatology.rolling_climatology import by_windows, expected_thresholds, triangle
from weatherpeft.climatology.calendar import DRY_THRESHOLD_M, Calendar, weighted_quantile, window_weights

DRY = DRY_THRESHOLD_M[6]
RANDOM = np.random.default_rng(0)


def days(first: str, last: str, hour: int = 6) -> np.ndarray:
    """One hour of every day, both ends included."""
    return np.arange(first, np.datetime64(last) + 1, dtype="datetime64[D]").astype("datetime64[ns]") + (
        np.timedelta64(hour, "h")
    )


def rain(*shape: int) -> np.ndarray:
    """Half of the values dry, many of them equal, some exactly on the threshold."""
    amounts = np.round(RANDOM.gamma(0.5, 4e-3, shape), 4)
    return np.where(RANDOM.random(shape) < 0.4, 0, amounts).astype(np.float32)


def test_the_window_is_a_triangle_of_mean_one() -> None:
    weights = window_weights(61)
    assert weights.size == 61 and weights.mean() == pytest.approx(1, abs=1e-15)
    assert weights[[0, 60]].tolist() == [0, 0] and weights.argmax() == 30
    np.testing.assert_allclose(np.diff(weights)[:30], np.diff(weights)[0])
    for wrong in (1, 60, 367):
        with pytest.raises(ValueError, match=f"odd number from 3 to 365, found {wrong}"):
            window_weights(wrong)


@pytest.mark.parametrize("window", [61, 9])
@pytest.mark.parametrize("span", [("2003-01-01", "2005-12-31"), ("2003-12-01", "2004-02-10")])
def test_moments_are_xarrays_weighted_ones(window: int, span: tuple[str, str]) -> None:
    times = days(*span)
    values = RANDOM.normal(280, 10, (times.size, 3)).astype(np.float32)
    values[RANDOM.random(values.shape) < 0.1] = np.nan
    windows = by_windows(values.astype(np.float64), times, window).weighted(triangle(window))
    found = Calendar(times, window).moments(values)
    for ours, theirs in ((found.mean, windows.mean), (found.standard_deviation, windows.std)):
        expected = theirs(("year", "window")).transpose("dayofyear", "point").values
        np.testing.assert_allclose(ours, expected, rtol=1e-11, atol=1e-9)
    assert np.isnan(found.mean).any() == (span[0] == "2003-12-01")


def test_days_without_data_in_their_window_are_nan() -> None:
    times = days("2001-01-15", "2001-02-23")
    values = np.ones((times.size, 1), np.float32)
    found = np.flatnonzero(~np.isnan(Calendar(times).moments(values).mean[:, 0])) + 1
    # 29 days to both sides of 15 January to 23 February; the window's ends have no weight.
    assert set(found) == {*range(1, 54 + 30), *range(352, 367)}
    assert np.isnan(Calendar(times).wet_threshold(values * 0, DRY)).all()


def test_the_last_day_of_a_common_year_is_its_leap_day_too() -> None:
    for year, last in ((2003, 1.0), (2004, 0.0)):
        times = days(f"{year}-01-01", f"{year}-12-31")
        values = np.zeros((times.size, 1), np.float32)
        values[364] = 1
        mean = Calendar(times, 3).moments(values).mean[:, 0]
        assert mean[365] == last and mean[364] == 1 and mean[0] == 0


def test_a_cycle_keeps_its_phase_and_loses_what_the_triangle_takes() -> None:
    """A triangle is two boxes: of a cosine it leaves the square of a Dirichlet kernel."""
    times = days("2004-01-01", "2004-12-31")
    frequency = 2 * np.pi / 366
    cycle = np.cos(frequency * np.arange(366) - 0.4)
    found = Calendar(times).moments((10 * cycle[:, None] + 280).astype(np.float32)).mean[:, 0]
    left = (np.sin(30 * frequency / 2) / (30 * np.sin(frequency / 2))) ** 2
    np.testing.assert_allclose(found, 280 + 10 * left * cycle, atol=2e-5)
    assert left == pytest.approx(0.978, abs=1e-3)


@pytest.mark.parametrize("share", [0, 0.25, 2 / 3, 1])
def test_quantiles_are_xarrays(share: float) -> None:
    values = np.round(RANDOM.gamma(0.7, 3.0, (5, 40)), 1).astype(np.float32)
    values[RANDOM.random(values.shape) < 0.3] = np.nan
    values[3], values[4, 1:] = np.nan, np.nan
    weights = RANDOM.integers(1, 31, 40).astype(float)
    array = xr.DataArray(values.astype(np.float64), dims=("point", "sample"))
    expected = array.weighted(xr.DataArray(weights, dims="sample")).quantile(share, dim="sample")
    np.testing.assert_allclose(weighted_quantile(values, weights, share), expected, rtol=1e-12)


def test_quantiles_of_equal_weights_are_numpys() -> None:
    values = RANDOM.random((4, 31), np.float32)
    found = weighted_quantile(values, np.full(31, 0.3), 2 / 3)
    np.testing.assert_allclose(found, np.quantile(values.astype(np.float64), 2 / 3, axis=1), rtol=1e-12)


def test_seeps_thresholds_are_weatherbenchs() -> None:
    times = days("2003-01-01", "2004-12-31")
    values = rain(times.size, 2)
    assert (values == np.float32(DRY)).any()
    threshold, share = expected_thresholds(values, times, DRY)
    calendar = Calendar(times)
    np.testing.assert_allclose(calendar.wet_threshold(values, DRY), threshold, rtol=1e-10)
    np.testing.assert_allclose(calendar.dry_fraction(values, DRY), share, rtol=1e-12)


@pytest.mark.parametrize(("hours", "threshold_mm"), [(6, 0.1), (24, 0.25)])
def test_dry_thresholds_are_weatherbenchs_and_are_light_themselves(hours: int, threshold_mm: float) -> None:
    """Of WeatherBench 2's ``scripts/compute_climatology.py``: 0.1 mm in 6 hours, 0.25 mm in 24."""
    times = days("2004-01-01", "2004-12-31")
    threshold = np.float32(threshold_mm / 1000)
    below = np.nextafter(threshold, np.float32(0))
    for value, dry in ((threshold, 0), (below, 1)):
        values = np.full((times.size, 1), value, np.float32)
        calendar, limit = Calendar(times), DRY_THRESHOLD_M[hours]
        np.testing.assert_array_equal(calendar.dry_fraction(values, limit), dry)
        assert np.isnan(calendar.wet_threshold(values, limit)).all() == dry


def test_light_is_twice_as_likely_as_heavy() -> None:
    times = days("1996-01-01", "2025-12-31")
    values = np.where(RANDOM.random((times.size, 1)) < 0.5, 0, RANDOM.gamma(0.6, 5e-3, (times.size, 1)))
    values = values.astype(np.float32)
    threshold = Calendar(times).wet_threshold(values, DRY)
    day = (times.astype("datetime64[D]") - times.astype("datetime64[Y]")).astype(int)
    wet = values >= np.float32(DRY)
    heavy = wet & (values >= threshold[day])
    assert heavy.sum() / wet.sum() == pytest.approx(1 / 3, abs=0.01)
