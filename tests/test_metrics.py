import numpy as np
import pytest

from weatherpeft.grid import Grid
from weatherpeft.metrics import latitude_weighted_bias, latitude_weighted_rmse

GRID = Grid(resolution_deg=11.25)
WEIGHTS = GRID.area_weights()


def test_a_constant_error_is_its_own_bias_and_rmse():
    target = np.random.default_rng(0).normal(size=(2, *GRID.shape)).astype(np.float32)
    np.testing.assert_allclose(latitude_weighted_bias(target - 3, target, WEIGHTS), -3, rtol=1e-6)
    np.testing.assert_allclose(latitude_weighted_rmse(target - 3, target, WEIGHTS), 3, rtol=1e-6)


def test_rmse_of_a_known_function_of_latitude():
    # error sin(latitude): the mean of sin² over the sphere is 1/3; cell means differ by O(d²)
    target = np.zeros(GRID.shape, dtype=np.float32)
    error = np.sin(np.deg2rad(GRID.latitude))[:, None] * np.ones(GRID.shape[1])
    assert latitude_weighted_rmse(error, target, WEIGHTS) == pytest.approx(np.sqrt(1 / 3), rel=5e-3)
    assert latitude_weighted_bias(error, target, WEIGHTS) == pytest.approx(0, abs=1e-12)


def test_rmse_by_brute_force():
    random = np.random.default_rng(1)
    prediction, target = random.normal(size=(2, *GRID.shape))
    total = weight = 0.0
    for row, latitude in enumerate(GRID.latitude):
        half = GRID.resolution_deg / 2
        area = np.sin(np.deg2rad(latitude + half)) - np.sin(np.deg2rad(latitude - half))
        for column in range(GRID.shape[1]):
            total += area * (prediction[row, column] - target[row, column]) ** 2
            weight += area
    assert latitude_weighted_rmse(prediction, target, WEIGHTS) == pytest.approx(
        np.sqrt(total / weight), rel=1e-12
    )


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"\(16, 32\).*\(16, 31\)"):
        latitude_weighted_rmse(np.zeros((16, 32)), np.zeros((16, 31)), WEIGHTS)
