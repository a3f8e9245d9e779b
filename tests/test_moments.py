import numpy as np
import pytest

from weatherpeft.moments import Moments

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


def test_parts_merge_to_the_whole_in_any_order():
    values = RANDOM.normal(2.5e5, 3.0, (10, 20))  # large mean, small spread: naive sums would lose digits
    parts = [Moments.of(part[None], np.ones(20), axis=1) for part in values]
    forward, backward = parts[0], parts[-1]
    for part in parts[1:]:
        forward = forward + part
    for part in parts[-2::-1]:
        backward = part + backward
    for merged in (forward, backward):
        assert merged.weight[0] == 200
        assert merged.mean[0] == pytest.approx(values.mean(), rel=1e-14)
        assert merged.standard_deviation[0] == pytest.approx(values.std(), rel=1e-9)
