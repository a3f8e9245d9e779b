import numpy as np
import pytest

from weatherpeft.fields.moments import Moments

RANDOM = np.random.default_rng(0)


def test_moments_are_numpy_weighted_averages():
    values = RANDOM.normal(5.0, 2.0, (3, 6, 8))
    weights = RANDOM.uniform(0.5, 1.5, (6, 1))
    found = Moments.of(values, weights, axis=(1, 2))
    full = np.broadcast_to(weights, (6, 8))
    for channel in range(3):
        mean = np.average(values[channel], weights=full)
        assert found.mean[channel] == pytest.approx(mean, rel=1e-14)
        variance = np.average((values[channel] - mean) ** 2, weights=full)
        assert found.standard_deviation[channel] == pytest.approx(np.sqrt(variance), rel=1e-13)


def test_parts_merge_to_the_whole():
    values = RANDOM.normal(2.5e5, 3.0, (10, 20))  # large mean, small spread: naive sums would lose digits
    weights = RANDOM.uniform(0.5, 1.5, 20)
    whole = Moments.of(values, weights, axis=(0, 1))
    parts = Moments.of(values, weights, axis=1)
    middle = Moments.stacked(
        [Moments.of(values[:3], weights, (0, 1)), Moments.of(values[3:], weights, (0, 1))]
    )
    for merged in (parts.merged(axis=0), middle.merged(axis=0)):
        assert merged.weight == pytest.approx(10 * weights.sum())
        assert merged.mean == pytest.approx(whole.mean, rel=1e-15)
        assert merged.standard_deviation == pytest.approx(whole.standard_deviation, rel=1e-9)
    assert whole.standard_deviation == pytest.approx(values.std(), rel=0.2)


def test_nan_has_no_weight():
    values = RANDOM.normal(5.0, 2.0, (4, 6))
    values[0, :3], values[1] = np.nan, np.nan
    found = Moments.of(values, np.ones(6), axis=1)
    assert found.weight.tolist() == [3, 0, 6, 6]
    assert np.isnan(found.mean).tolist() == [False, True, False, False]
    assert np.isnan(found.standard_deviation).tolist() == [False, True, False, False]
    merged = found.merged(axis=0)
    assert merged.mean == pytest.approx(np.nanmean(values), rel=1e-15)
    assert merged.standard_deviation == pytest.approx(np.nanstd(values), rel=1e-14)


@pytest.mark.parametrize("value", [280.0, -1e-7, 1 / 3, 2.5e5, 1e-30, 0.0])
@pytest.mark.parametrize("count", [1, 7, 1000])
def test_a_constant_has_no_spread(value, count):
    """Whatever its sums round to: a spread of 1e-14 would be the unit of all errors."""
    values = np.full((3, count), value, np.float32)
    weights = RANDOM.uniform(0.5, 1.5, count)
    parts = Moments.of(values, weights, axis=1)
    assert Moments.stacked([parts, parts]).merged(axis=(0, 1)).standard_deviation == 0


def test_the_smallest_spread_of_float32_counts():
    """Of two neighbors, and of humidity at 50 hPa."""
    pair = np.array([280.0, np.nextafter(np.float32(280), np.float32(300))], np.float32)
    found = Moments.of(pair, np.ones(()), axis=0).standard_deviation
    assert found == pytest.approx(np.diff(pair.astype(float))[0] / 2, rel=1e-9)
    humidity = (2.6e-6 + 4e-8 * RANDOM.normal(size=500)).astype(np.float32)
    found = Moments.of(humidity, np.ones(()), axis=0).standard_deviation
    assert found == pytest.approx(humidity.astype(float).std(), rel=1e-9)
