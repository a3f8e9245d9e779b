from pathlib import Path

import numpy as np
import pytest
import scores.categorical
import xarray as xr

from tests.real_samples import precipitation_6h
from weatherpeft.fields.grid import Grid, Region
from weatherpeft.verification.metrics import area_weighted_mean
from weatherpeft.verification.precipitation import (
    contingency_table,
    forecast_given_observed,
    latitude_weighted_seeps,
    precipitation_category,
    seeps,
    seeps_matrix,
    seeps_points,
)

DRY_M = 1e-4
RANDOM = np.random.default_rng(0)


def shares(dry_fraction: np.ndarray) -> np.ndarray:
    """Of dry, light and heavy in the climatology, ``(category, ...)``."""
    return np.stack([dry_fraction, (1 - dry_fraction) * 2 / 3, (1 - dry_fraction) / 3])


def by_scores(forecast, observed, dry_fraction, wet_threshold, **arguments) -> xr.DataArray:
    """SEEPS of the package scores, to which what equals a threshold belongs to the drier category."""

    def array(values: np.ndarray) -> xr.DataArray:
        return xr.DataArray(values, dims=("time", "latitude", "longitude")[-values.ndim :])

    return scores.categorical.seeps(
        array(forecast),
        array(observed),
        array(dry_fraction),
        array(np.nextafter(wet_threshold, np.float32(0))),
        dry_light_threshold=np.nextafter(np.float32(DRY_M), np.float32(0)),
        **arguments,
    )


def check_against_scores(forecast, observed, dry_fraction, wet_threshold, weights) -> np.ndarray:
    """SEEPS of every point and time is that of the package; its mean over the area is returned."""
    fields = forecast, observed, dry_fraction, wet_threshold
    expected = by_scores(*fields, preserve_dims="all")
    np.testing.assert_allclose(seeps(*fields, DRY_M), expected.values, rtol=1e-6)
    area = xr.DataArray(weights, dims="latitude")
    by_time = by_scores(*fields, preserve_dims="time", weights=area)
    averaged = latitude_weighted_seeps(*fields, DRY_M, weights)
    np.testing.assert_allclose(averaged, by_time.values, rtol=1e-6)
    return averaged


def test_the_matrix_is_that_of_rodwell():
    """Their equation 15, in the shares of all three categories."""
    dry = np.array([0.11, 0.5, 0.84])
    heavy = (1 - dry) / 3
    expected = 0.5 * np.array(
        [
            [0 * dry, 1 / (1 - dry), 1 / heavy + 1 / (1 - dry)],
            [1 / dry, 0 * dry, 1 / heavy],
            [1 / dry + 1 / (1 - heavy), 1 / (1 - heavy), 0 * dry],
        ]
    )
    np.testing.assert_allclose(seeps_matrix(dry), expected, rtol=1e-12)


def test_what_knows_nothing_has_an_expected_error_of_one():
    dry = np.linspace(0.1, 0.85, 76)
    matrix, observed = seeps_matrix(dry), shares(dry)
    np.testing.assert_allclose(np.einsum("fop,op->fp", matrix, observed), 1, rtol=1e-12)  # always the same
    np.testing.assert_allclose(np.einsum("fop,op,fp->p", matrix, observed, observed), 1, rtol=1e-12)
    assert (np.einsum("ccp->cp", matrix) == 0).all()


def test_a_threshold_belongs_to_the_wetter_category():
    dry, wet = np.float32(DRY_M), np.float32(0.004)
    values = np.array([-1e-5, 0, np.nextafter(dry, 0), dry, np.nextafter(wet, 0), wet, 1], np.float32)
    for precipitation in (values, values.astype(np.float64)):
        found = precipitation_category(precipitation, np.full(7, wet), DRY_M)
        assert found.tolist() == [0, 0, 0, 1, 1, 2, 2]
    # In float64, what float32 rounds to a threshold is on it.
    near = np.array([dry, wet], np.float64) * (1 - 1e-9)
    assert precipitation_category(near, np.full(2, wet), DRY_M).tolist() == [1, 2]
    with pytest.raises(ValueError, match="precipitation: expected no NaN, found 1"):
        precipitation_category(np.array([np.nan, 1]), np.full(2, wet), DRY_M)


def test_seeps_is_undefined_where_it_rains_always_or_never():
    dry_fraction = np.array([[0, 0.1, 0.11, 0.84, 0.85, 1, np.nan, 0.5]])
    wet = np.where(np.arange(8) == 7, np.nan, 0.004)[None]
    expected = [False, False, True, True, False, False, False, False]
    assert seeps_points(dry_fraction, wet)[0].tolist() == expected
    forecast, observed = np.zeros((1, 8)), np.full((1, 8), 0.001)
    field = seeps(forecast, observed, dry_fraction, wet, DRY_M)
    assert np.isfinite(field)[0].tolist() == expected
    perfect = latitude_weighted_seeps(observed, observed, dry_fraction, wet, DRY_M, np.ones(1))
    assert perfect == 0
    with pytest.raises(ValueError, match="found none"):
        latitude_weighted_seeps(forecast, observed, 0 * dry_fraction, wet, DRY_M, np.ones(1))
    with pytest.raises(ValueError, match=r"\(1, 8\), target \(1, 7\)"):
        seeps(forecast, observed[:, :7], dry_fraction, wet, DRY_M)


def test_seeps_against_scores():
    """Rain of every category at points that are dry by different shares; a forecast that is often too wet."""
    random = np.random.default_rng(1)
    dry_fraction = random.permutation(np.linspace(0.02, 0.98, 42)).reshape(6, 7)
    wet_threshold = random.uniform(1e-3, 4e-3, (6, 7)).astype(np.float32)
    observed, forecast = random.gamma(0.4, [[[[5e-3]]], [[[9e-3]]]], (2, 30, 6, 7)).astype(np.float32)
    assert 0.7 < seeps_points(dry_fraction, wet_threshold).mean() < 0.8
    check_against_scores(forecast, observed, dry_fraction, wet_threshold, np.linspace(0.1, 1.9, 6))


def test_a_contingency_table_by_hand():
    forecast = np.array([[0, 0, 1], [2, 2, 1]])
    observed = np.array([[0, 1, 1], [2, 1, 0]])
    points = np.array([[True, True, True], [True, True, False]])
    table = contingency_table(forecast, observed, points, np.array([1.0, 3.0]))
    np.testing.assert_allclose(table * 9, [[1, 1, 0], [0, 1, 0], [0, 3, 3]], atol=1e-12)
    expected = [[1, 1 / 5, 0], [0, 1 / 5, 0], [0, 3 / 5, 1]]
    np.testing.assert_allclose(forecast_given_observed(table), expected, atol=1e-12)
    never = forecast_given_observed(np.array([[0.5, 0, 0], [0.5, 0, 0], [0, 0, 0]]))
    assert np.isnan(never[:, 1:]).all() and never[:, 0].tolist() == [0.5, 0.5, 0]
    with pytest.raises(ValueError, match=r"\(2, 3\), target \(1, 3\)"):
        contingency_table(forecast, observed[:1], points, np.array([1.0, 3.0]))


def test_tables_of_parts_of_a_period_go_together():
    forecast, observed = RANDOM.integers(0, 3, (2, 6, 4, 5))
    points, weights = RANDOM.random((4, 5)) < 0.7, np.array([1.0, 2, 3, 4])
    table = contingency_table(forecast, observed, points, weights)
    assert table.shape == (6, 3, 3)
    np.testing.assert_allclose(table.sum(axis=(-2, -1)), 1)
    whole = np.zeros((3, 3))
    for time, row, column in np.argwhere(np.broadcast_to(points, forecast.shape)):
        whole[forecast[time, row, column], observed[time, row, column]] += weights[row]
    np.testing.assert_allclose(table.mean(axis=0), whole / whole.sum(), rtol=1e-12)


@pytest.fixture(scope="module")
def real(shared_data: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Sums of 6 h, share of dry ones and 2/3 quantile of the others at every point; area weights."""
    precipitation = precipitation_6h(shared_data)
    wet = np.where(precipitation < np.float32(DRY_M), np.nan, precipitation)
    box = Region(north=20, south=15, west=77, east=82)
    weights = Grid(resolution_deg=0.25, poles=True, region=box).area_weights()
    assert precipitation.shape == (367, 21, 21) and weights.shape == (21,)
    return precipitation, np.isnan(wet).mean(axis=0), np.nanquantile(wet, 2 / 3, axis=0), weights


@pytest.mark.shared
def test_real_precipitation_against_scores(real):
    """Persistence of one day."""
    precipitation, dry_fraction, wet_threshold, weights = real
    forecast, observed = precipitation[:-4], precipitation[4:]
    wet_threshold = wet_threshold.astype(np.float32)
    inside = seeps_points(dry_fraction, wet_threshold)
    assert 0.2 < dry_fraction.min() and 0.5 < inside.mean()
    averaged = check_against_scores(forecast, observed, dry_fraction, wet_threshold, weights)
    assert 0.5 < averaged.mean() < 1
    perfect = latitude_weighted_seeps(observed, observed, dry_fraction, wet_threshold, DRY_M, weights)
    assert (perfect == 0).all()


@pytest.mark.shared
def test_real_precipitation_on_its_thresholds(real):
    """Fields that hold nothing but the thresholds themselves and their neighbors."""
    precipitation, dry_fraction, wet_threshold, weights = real
    wet_threshold = wet_threshold.astype(np.float32)
    dry = np.full_like(wet_threshold, DRY_M)
    edges = np.stack([dry, np.nextafter(dry, 0), wet_threshold, np.nextafter(wet_threshold, 0)])
    forecast, observed = (edges[RANDOM.integers(0, 4, 40)] for _ in range(2))
    check_against_scores(forecast, observed, dry_fraction, wet_threshold, weights)


@pytest.mark.shared
def test_real_precipitation_and_a_forecast_that_knows_nothing(real):
    """Thresholds of the period itself: always dry, light or heavy has an error of 1."""
    precipitation, dry_fraction, wet_threshold, weights = real
    for constant in (0, 2e-4, 1):
        forecast = np.full_like(precipitation, constant)
        found = latitude_weighted_seeps(forecast, precipitation, dry_fraction, wet_threshold, DRY_M, weights)
        assert found.mean() == pytest.approx(1, abs=0.01)


@pytest.mark.shared
def test_real_categories(real):
    precipitation, dry_fraction, wet_threshold, weights = real
    points = seeps_points(dry_fraction, wet_threshold)
    category = precipitation_category(precipitation, wet_threshold, DRY_M)
    table = contingency_table(category, category, points, weights).mean(axis=0)
    dry = area_weighted_mean(dry_fraction, weights, where=points)
    np.testing.assert_allclose(np.diag(table), shares(dry), atol=2e-3)
    assert (table - np.diag(np.diag(table)) == 0).all()
    np.testing.assert_allclose(forecast_given_observed(table), np.eye(3), atol=1e-12)
