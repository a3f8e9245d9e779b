import statistics
from pathlib import Path

import numpy as np
import pytest
import scores.probability
import scoringrules
import xarray as xr
from scipy.integrate import quad
from scipy.stats import norm

from tests.real_samples import ensemble_members
from weatherpeft.fields.grid import Grid
from weatherpeft.verification.metrics import area_weighted_mean
from weatherpeft.verification.probabilistic import (
    EfiForm,
    crps_ensemble,
    crps_gaussian,
    ensemble_variance,
    extreme_event_weighted_crps,
    extreme_forecast_index,
    fair_crps_ensemble,
    pit_histogram,
    rank_histogram,
    spread_skill_ratio,
)

GRID = Grid(resolution_deg=11.25)
WEIGHTS = GRID.area_weights()
REAL_WEIGHTS = Grid(resolution_deg=3, poles=True).area_weights()
LARGEST_ENS10 = 2 / np.pi * sum(0.05 * np.sqrt(p / (1 - p)) for p in np.arange(1, 20) / 20)


def test_gaussian_crps_is_its_integral():
    def squared(x: float, mean: float, sigma: float, target: float) -> float:
        return (norm.cdf(x, mean, sigma) - (x >= target)) ** 2

    for case in ((0.0, 1.0, 0.3), (2.0, 0.5, 4.5), (-1.0, 3.0, -1.0)):
        mean, sigma, target = case
        below, above = min(mean, target) - 12 * sigma, max(mean, target) + 12 * sigma
        expected = quad(squared, below, target, case)[0] + quad(squared, target, above, case)[0]
        found = crps_gaussian(*(np.array(each) for each in case))
        assert found == pytest.approx(expected, rel=1e-6)


def test_gaussian_crps_against_scoringrules():
    random = np.random.default_rng(0)
    mean, target = 280 + 5 * random.normal(size=(2, 1000))
    sigma = random.gamma(2, 1, 1000)
    found = crps_gaussian(mean, sigma, target)
    np.testing.assert_allclose(found, scoringrules.crps_normal(target, mean, sigma), rtol=1e-6)


def test_a_gaussian_without_spread_has_the_absolute_error():
    mean, target = np.array([1.0, 2.0, 3.0]), np.array([1.0, 5.0, -1.0])
    for sigma in (0.0, 1e-320, 1e-12):
        np.testing.assert_allclose(crps_gaussian(mean, np.full(3, sigma), target), [0, 3, 4], atol=1e-12)
    for wrong in (-0.5, np.nan):
        with pytest.raises(ValueError, match=f"sigma: expected values of 0 or more, found {wrong}"):
            crps_gaussian(mean, np.array([1, wrong, 1]), target)


@pytest.mark.parametrize("count", [2, 3, 10])
def test_ensemble_crps_by_brute_force_and_scoringrules(count):
    random = np.random.default_rng(1)
    members, target = np.round(random.normal(size=(count, 50)), 1), np.round(random.normal(size=50), 1)
    single = members.astype(np.float32), target.astype(np.float32)
    members, target = (each.astype(np.float64) for each in single)
    distance = np.abs(members[:, None] - members[None]).sum(axis=(0, 1))
    error = np.abs(members - target).mean(axis=0)
    plain, fair = crps_ensemble(*single), fair_crps_ensemble(*single)
    np.testing.assert_allclose(plain, error - distance / (2 * count**2), atol=1e-12)
    np.testing.assert_allclose(fair, error - distance / (2 * count * (count - 1)), atol=1e-12)
    for found, estimator in ((plain, "nrg"), (plain, "qd"), (fair, "fair")):
        expected = scoringrules.crps_ensemble(target, members, m_axis=0, estimator=estimator)
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_ensembles_and_targets_must_fit():
    for score in (crps_ensemble, fair_crps_ensemble):
        with pytest.raises(ValueError, match=r"members have shape \(3, 4\), target \(1,\)"):
            score(np.zeros((3, 4)), np.zeros(1))


def test_the_variance_of_members_is_that_of_a_sample_in_double():
    members = (5e4 + 30 * np.random.default_rng(7).normal(size=(3, 20))).astype(np.float32)
    for few in (members, members[:2]):
        expected = [statistics.variance(map(float, cell)) for cell in few.T]
        np.testing.assert_allclose(ensemble_variance(few), expected, rtol=1e-12)


def test_one_member_has_the_absolute_error_and_no_fair_crps():
    assert crps_ensemble(np.array([[3.0]]), np.array([1.0])) == 2
    for score in (lambda one: fair_crps_ensemble(one, one[0]), ensemble_variance):
        with pytest.raises(ValueError, match="2 members or more, found 1"):
            score(np.array([[3.0]]))


def test_a_fair_crps_does_not_depend_on_the_size_of_the_ensemble():
    random = np.random.default_rng(2)
    target = random.normal(size=200_000)
    infinite = crps_gaussian(np.zeros_like(target), np.ones_like(target), target).mean()
    for count in (2, 5):
        members = random.normal(size=(count, target.size))
        assert fair_crps_ensemble(members, target).mean() == pytest.approx(infinite, abs=5e-3)
        # Ferro 2014: E|X - X'| / 2 = 1 / √π is divided by the number of members.
        excess = crps_ensemble(members, target).mean() - infinite
        assert excess == pytest.approx(1 / np.sqrt(np.pi) / count, abs=5e-3)


def test_efi_of_an_ensemble_beyond_the_climate():
    climate = np.random.default_rng(3).normal(size=(40, 3))
    members = np.stack([climate.max(axis=0) + 1, climate.max(axis=0) + 2])
    assert LARGEST_ENS10 == pytest.approx(0.791, abs=5e-4)
    forms: tuple[tuple[EfiForm, float], ...] = (("exact", 1), ("ens10", LARGEST_ENS10))
    for form, largest in forms:
        np.testing.assert_allclose(extreme_forecast_index(members, climate, form), largest, rtol=1e-12)
        np.testing.assert_allclose(extreme_forecast_index(-members, -climate, form), -largest, rtol=1e-12)


def test_exact_efi_is_its_integral():
    random = np.random.default_rng(4)
    climate, members = random.normal(size=(30, 4)), 0.5 + random.normal(size=(10, 4))
    members[0, 0] = climate[7, 0]
    # p = sin² θ takes the singular ends away: dp / √(p (1 - p)) = 2 dθ
    p = np.sin((np.arange(200_000) + 0.5) / 200_000 * np.pi / 2) ** 2
    for cell, found in enumerate(extreme_forecast_index(members, climate, "exact")):
        quantiles = np.quantile(climate[:, cell], p, method="inverted_cdf")
        below = np.searchsorted(np.sort(members[:, cell]), quantiles) / 10
        assert found == pytest.approx(2 * (p - below).mean(), abs=2e-5)


def test_exact_efi_of_a_draw_from_the_climate_is_zero_on_average():
    climate = np.sort(np.random.default_rng(5).normal(size=19))
    gaps = np.concatenate([[climate[0] - 1], (climate[1:] + climate[:-1]) / 2, [climate[-1] + 1]])
    found = extreme_forecast_index(gaps[None], np.tile(climate[:, None], 20), "exact")
    assert found.mean() == pytest.approx(0, abs=1e-15) and found.std() > 0.4


def test_ens10_efi_by_the_benchmarks_recipe():
    random = np.random.default_rng(6)
    climate, members = random.normal(size=(400, 4000)), random.normal(size=(10, 4000))
    climate[:, :10], members[:, :10] = np.round(climate[:, :10]), np.round(members[:, :10])  # equal quantiles
    found = extreme_forecast_index(members, climate, "ens10")
    levels = np.linspace(0, 1, 21)
    for cell in range(20):
        normal, quantiles = np.quantile(climate[:, cell], levels), np.quantile(members[:, cell], levels)
        expected = 0.0
        for p, limit in zip(levels[1:-1], normal[1:-1], strict=True):
            expected += (p - levels[np.searchsorted(quantiles[:-1], limit)]) / np.sqrt(p - p**2) * 0.05
        assert found[cell] == pytest.approx(2 / np.pi * expected, abs=1e-12)
    assert -0.04 < found.mean() < -0.02
    assert abs(extreme_forecast_index(members, climate, "exact").mean()) < 5e-3


def test_efi_refuses_what_it_cannot_rank():
    members, climate = np.zeros((10, 2)), np.zeros((30, 2))
    with pytest.raises(ValueError, match=r"\(10, 2\), climate \(30, 3\)"):
        extreme_forecast_index(members, np.zeros((30, 3)), "exact")
    members[0, 0] = np.nan
    with pytest.raises(ValueError, match="members: expected finite values, found 1 others"):
        extreme_forecast_index(members, climate, "exact")
    climate[3, 1] = np.inf
    with pytest.raises(ValueError, match="climate: expected finite values, found 1 others"):
        extreme_forecast_index(members[:, 1:], climate[:, 1:], "ens10")


def test_extreme_event_weighted_crps_by_hand():
    found = extreme_event_weighted_crps(np.array([2.0, 3.0]), np.array([-0.5, 1.0]))
    assert found.tolist() == [1, 3]
    with pytest.raises(ValueError, match=r"\(2,\), index \(3,\)"):
        extreme_event_weighted_crps(np.zeros(2), np.zeros(3))


def test_spread_skill_ratio_of_a_distribution():
    assert spread_skill_ratio(np.array(4.0), np.array(16.0)) == 0.5
    assert spread_skill_ratio(np.array(4.0), np.array(16.0), members=4) == pytest.approx(np.sqrt(5 / 16))


def test_ranks_by_hand():
    weights = np.array([3.0, 1.0])
    members = np.array([1.0, 2.0, 2.0])[:, None, None] * np.ones((3, 2, 1))
    for target, expected in (
        ((0, 3), [0.75, 0, 0, 0.25]),
        ((1.5, 1.5), [0, 1, 0, 0]),
        ((2, 1), [0.125, 0.375, 0.25, 0.25]),
    ):
        found = rank_histogram(members, np.array(target, float)[:, None], weights)
        np.testing.assert_allclose(found, expected, atol=1e-12)
    with pytest.raises(ValueError, match="finite"):
        rank_histogram(members, np.full((2, 1), np.nan), weights)


def test_pit_is_a_histogram_by_area():
    """The probability itself where it lies on the edge of two bins belongs to the upper one."""
    random = np.random.default_rng(8)
    mean, target = 280 + random.normal(size=(2, *GRID.shape))
    sigma = random.gamma(2, 0.5, GRID.shape)
    target[:, 0] = mean[:, 0]
    area = np.repeat(WEIGHTS, GRID.shape[1]).reshape(GRID.shape)
    expected = np.histogram(norm.cdf(target, mean, sigma), 20, (0, 1), weights=area)[0] / area.sum()
    np.testing.assert_allclose(pit_histogram(mean, sigma, target, WEIGHTS), expected, rtol=1e-12)


def test_pit_of_its_own_quantiles_is_flat_and_of_too_little_spread_is_not():
    count = GRID.shape[1] * 5
    quantiles = norm.ppf((np.arange(count) + 0.5) / count).reshape(GRID.shape[1], 5).T
    target = 280 + 2 * np.repeat(quantiles[:, None], GRID.shape[0], axis=1)
    mean, sigma = np.full_like(target, 280), np.full_like(target, 2)
    found = pit_histogram(mean, sigma, target, WEIGHTS, bins=10).mean(axis=0)
    np.testing.assert_allclose(found, 0.1, rtol=1e-12)
    sharp = pit_histogram(mean, sigma / 2, target, WEIGHTS, bins=10).mean(axis=0)
    assert sharp[0] > 0.2 and sharp[-1] > 0.2 and sharp.sum() == pytest.approx(1)
    certain = pit_histogram(mean, 0 * sigma, target, WEIGHTS, bins=10).mean(axis=0)
    assert certain[0] == pytest.approx(0.5) and certain[-1] == pytest.approx(0.5)
    with pytest.raises(ValueError, match="target: expected finite"):
        pit_histogram(mean, sigma, target + np.inf, WEIGHTS)
    with pytest.raises(ValueError, match="mean: expected finite"):
        pit_histogram(mean * np.nan, sigma, target, WEIGHTS)


@pytest.fixture(scope="module")
def real(shared_data: Path) -> list[np.ndarray]:
    return list(ensemble_members(shared_data).values())


@pytest.mark.shared
def test_real_members_against_scoringrules_and_scores(real: list[np.ndarray]):
    for fields in real:
        members, target = fields[1:], fields[0]
        exact = members.astype(np.float64)
        mean, sigma = exact.mean(axis=0), exact.std(axis=0, ddof=1)
        np.testing.assert_allclose(
            crps_gaussian(mean, sigma, target), scoringrules.crps_normal(target, mean, sigma), rtol=1e-6
        )
        dims = ("member", "time", "level", "latitude", "longitude")
        array, truth = xr.DataArray(exact, dims=dims), xr.DataArray(target.astype(np.float64), dims=dims[1:])
        for ours, estimator, method in (
            (crps_ensemble, "qd", "ecdf"),
            (fair_crps_ensemble, "fair", "fair"),
        ):
            found = ours(members, target)
            by_rules = scoringrules.crps_ensemble(truth.values, exact, m_axis=0, estimator=estimator)
            np.testing.assert_allclose(found, by_rules, rtol=1e-6, atol=1e-9 * target.max())
            by_scores = scores.probability.crps_for_ensemble(
                array,
                truth,
                "member",
                method=method,
                preserve_dims=["time", "level"],
                weights=xr.DataArray(REAL_WEIGHTS, dims="latitude"),
            )
            np.testing.assert_allclose(area_weighted_mean(found, REAL_WEIGHTS), by_scores, rtol=1e-6)
        histogram = scores.probability.rank_histogram(
            array,
            truth,
            "member",
            preserve_dims=["time", "level"],
            weights=xr.DataArray(REAL_WEIGHTS, dims="latitude"),
        )
        np.testing.assert_allclose(
            rank_histogram(members, target, REAL_WEIGHTS),
            histogram.transpose("time", "level", "rank"),
            atol=1e-6,
        )
        pit = norm.cdf(target, mean, sigma)[0, 0]
        area = np.repeat(REAL_WEIGHTS, 120)
        expected = np.histogram(pit, 20, (0, 1), weights=area.reshape(pit.shape))[0] / area.sum()
        np.testing.assert_allclose(
            pit_histogram(mean, sigma, target, REAL_WEIGHTS)[0, 0], expected, atol=1e-12
        )


@pytest.mark.shared
def test_a_member_left_out_is_as_likely_as_the_others(real: list[np.ndarray]):
    """Identities, whatever the fields: with every member as the truth once, an ensemble is reliable."""
    for fields in real:
        variances, errors, ranks = [], [], []
        for left_out in range(10):
            members, target = np.delete(fields, left_out, axis=0), fields[left_out].astype(np.float64)
            variances.append(ensemble_variance(members))
            errors.append((members.mean(axis=0, dtype=np.float64) - target) ** 2)
            ranks.append(rank_histogram(members, fields[left_out], REAL_WEIGHTS))
        np.testing.assert_allclose(np.mean(ranks, axis=0), 0.1, atol=1e-12)
        found = spread_skill_ratio(np.mean(variances, axis=0).mean(), np.mean(errors, axis=0).mean(), 9)
        assert found == pytest.approx(1, abs=1e-9)


@pytest.mark.shared
def test_real_members_in_a_real_climate(real: list[np.ndarray]):
    """Members of one time against all members and times."""
    for fields in real:
        climate = fields.reshape(40, *fields.shape[2:])
        indices = [extreme_forecast_index(fields[:, time], climate, "exact") for time in range(4)]
        # The members of all times are the climate, each of rank k / 40 but for ties.
        share = np.arange(1, 41) / 40
        expected = 1 - 4 / np.pi * np.arccos(np.sqrt(share)).mean()
        assert np.median(np.mean(indices, axis=0)) == pytest.approx(expected, abs=1e-12)
        benchmark = extreme_forecast_index(fields[:, 0], climate, "ens10")
        assert np.abs(benchmark).max() <= LARGEST_ENS10 + 1e-12
        assert np.corrcoef(benchmark.ravel(), indices[0].ravel())[0, 1] > 0.98
