from pathlib import Path

import numpy as np
import pytest
import scores.continuous
import xarray as xr
from scipy.spatial.distance import cosine

from tests.real_samples import ensemble_members
from weatherpeft.fields.grid import Grid
from weatherpeft.verification.metrics import (
    area_weighted_mean,
    latitude_weighted_acc,
    latitude_weighted_bias,
    latitude_weighted_mse,
    latitude_weighted_rmse,
    root_of_time_mean,
)

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


def test_rmse_of_single_precision_by_brute_force_in_double():
    random = np.random.default_rng(1)
    prediction, target = 280 + random.normal(size=(2, *GRID.shape)).astype(np.float32)
    total = weight = 0.0
    for row, latitude in enumerate(GRID.latitude):
        half = GRID.resolution_deg / 2
        area = np.sin(np.deg2rad(latitude + half)) - np.sin(np.deg2rad(latitude - half))
        for column in range(GRID.shape[1]):
            total += area * (float(prediction[row, column]) - float(target[row, column])) ** 2
            weight += area
    assert latitude_weighted_rmse(prediction, target, WEIGHTS) == pytest.approx(
        np.sqrt(total / weight), rel=1e-12
    )


@pytest.mark.parametrize(
    "score", [latitude_weighted_rmse, latitude_weighted_mse, latitude_weighted_bias, latitude_weighted_acc]
)
def test_shapes_must_agree(score):
    rest = [np.zeros((16, 32)), WEIGHTS] if score is latitude_weighted_acc else [WEIGHTS]
    with pytest.raises(ValueError, match=r"\(16, 32\).*\(16, 31\)|\(16, 31\).*\(16, 32\)"):
        score(np.zeros((16, 32)), np.zeros((16, 31)), *rest)


def test_the_root_before_and_after_the_time_mean():
    target = np.zeros((2, *GRID.shape))
    prediction = target + np.array([3, 4])[:, None, None]
    assert latitude_weighted_rmse(prediction, target, WEIGHTS).mean() == pytest.approx(3.5)
    after = root_of_time_mean(latitude_weighted_mse(prediction, target, WEIGHTS))
    assert after == pytest.approx(np.sqrt((9 + 16) / 2))


def test_the_root_of_a_long_period_is_taken_of_a_mean_in_double():
    """A field a column, most times with a small error; the running sum of float32 would be off by 1e-3."""
    times = np.full((300_000, 2), 0.1, np.float32)
    times[::3, 1] = 7
    small = float(np.float32(0.1))
    np.testing.assert_allclose(root_of_time_mean(times), np.sqrt([small, (7 + 2 * small) / 3]), rtol=1e-12)
    np.testing.assert_allclose(root_of_time_mean(times.T, axis=-1), root_of_time_mean(times), rtol=1e-12)


def test_a_mean_over_some_cells():
    random = np.random.default_rng(2)
    values, where = random.normal(size=(3, *GRID.shape)), random.random((3, *GRID.shape)) < 0.3
    found = area_weighted_mean(np.where(where, values, np.nan), WEIGHTS, where)
    for time in range(3):
        shares = (where[time] * WEIGHTS[:, None]).ravel()
        assert found[time] == pytest.approx(np.average(values[time].ravel(), weights=shares), rel=1e-12)
    np.testing.assert_allclose(
        area_weighted_mean(values, WEIGHTS, np.ones(GRID.shape, bool)),
        area_weighted_mean(values, 7 * WEIGHTS),  # of a region, whose mean is not 1
        rtol=1e-12,
    )
    where[1] = False
    with pytest.raises(ValueError, match=r"none of \(16, 32\)"):
        area_weighted_mean(values, WEIGHTS, where)


def test_acc_is_a_weighted_cosine():
    random = np.random.default_rng(3)
    prediction, target = 280 + random.normal(size=(2, 3, *GRID.shape))
    climatology = 280 + random.normal(size=(3, *GRID.shape))
    found = latitude_weighted_acc(prediction, target, climatology, WEIGHTS)
    area = np.repeat(WEIGHTS, GRID.shape[1])
    for time in range(3):
        angle = [(each[time] - climatology[time]).ravel() for each in (prediction, target)]
        assert found[time] == pytest.approx(1 - cosine(*angle, w=area), abs=1e-12)


def test_acc_at_its_ends():
    target, climatology = np.random.default_rng(4).normal(size=(2, *GRID.shape))
    for factor in (0.1, 1, -2):
        prediction = climatology + factor * (target - climatology)
        assert latitude_weighted_acc(prediction, target, climatology, WEIGHTS) == pytest.approx(
            np.sign(factor)
        )
    assert np.isnan(latitude_weighted_acc(climatology, target, climatology, WEIGHTS))


def test_an_anomaly_that_is_rounding_has_no_correlation():
    """The climatology itself in another precision, or cut off at zero; not a forecast that is nearly that."""
    random = np.random.default_rng(5)
    climatology = random.gamma(1, 1e-4, (2, *GRID.shape))  # of rain, in meters, at two times
    climatology[:, :8] = -1e-20  # what unpacking may leave of no rain
    target = random.gamma(0.3, 1e-3, climatology.shape)
    rounded = climatology.astype(np.float32)
    near = np.nextafter(rounded, np.float32(1))
    cut = np.maximum(rounded, 0)
    for same in (rounded, near, cut):
        assert np.isnan(latitude_weighted_acc(same, target, climatology, WEIGHTS)).all()
        assert np.isnan(latitude_weighted_acc(target, same, climatology, WEIGHTS)).all()
    ahead = climatology + 1e-6 * (target - climatology)
    ahead[1] = rounded[1]
    found = latitude_weighted_acc(ahead, target, climatology, WEIGHTS)
    assert found[0] == pytest.approx(1) and np.isnan(found[1])


@pytest.mark.shared
def test_real_fields_against_scores(shared_data: Path):
    """One member as the forecast of another."""
    weights = Grid(resolution_deg=3, poles=True).area_weights()
    area = xr.DataArray(weights, dims="latitude")
    for members in ensemble_members(shared_data).values():
        prediction, target = members[0, :, 0], members[1, :, 0]
        ours, theirs = (
            xr.DataArray(each.astype(np.float64), dims=("time", "latitude", "longitude"))
            for each in (prediction, target)
        )
        by_time = scores.continuous.rmse(ours, theirs, preserve_dims="time", weights=area)
        np.testing.assert_allclose(
            latitude_weighted_rmse(prediction, target, weights), by_time.values, rtol=1e-6
        )
        whole = root_of_time_mean(latitude_weighted_mse(prediction, target, weights))
        assert whole == pytest.approx(scores.continuous.rmse(ours, theirs, weights=area).item(), rel=1e-6)
        bias = scores.continuous.mean_error(ours, theirs, preserve_dims="time", weights=area)
        np.testing.assert_allclose(
            latitude_weighted_bias(prediction, target, weights), bias.values, rtol=1e-6, atol=1e-9
        )
        # Without weights and with anomalies of mean 0, ACC is Pearson's correlation.
        climatology = members[2:, :, 0].mean(axis=(0, 1), dtype=np.float64)
        centered = [each - (each - climatology).mean(("latitude", "longitude")) for each in (ours, theirs)]
        normal = np.broadcast_to(climatology, prediction.shape)
        found = latitude_weighted_acc(centered[0].values, centered[1].values, normal, np.ones(61))
        pearson = scores.continuous.correlation.pearsonr(
            *(each - climatology for each in centered), preserve_dims="time"
        )
        np.testing.assert_allclose(found, pearson.values, atol=1e-6)
        assert (found < 0.9999).all()
