from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import norm

from tests.real_samples import ensemble_members
from weatherpeft.baselines import emos
from weatherpeft.baselines.emos import Emos
from weatherpeft.verification.probabilistic import crps_gaussian, ensemble_variance

RANDOM = np.random.default_rng(0)


def crps(mean: np.ndarray, spread: np.ndarray, target: np.ndarray) -> np.ndarray:
    return crps_gaussian(mean.astype(np.float64), spread, target).mean(axis=0)


def test_known_coefficients_are_recovered(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    """Every mean with every spread and every quantile: the population itself rather than a sample of it."""
    noise = norm.ppf((np.arange(200) + 0.5) / 200)
    means, spreads = 270 + 3 * np.linspace(-2, 2, 7), np.linspace(0.2, 3, 7)
    mean, spread, noise = (each.ravel()[:, None] for each in np.meshgrid(means, spreads, noise))
    intercept, slope = np.array([0, 20, -300, 5.0]), np.array([1, 0.9, 2, 0])
    constant, factor = np.array([0, 1.5, 0.2, 4]), np.array([2, 0.4, 3, 0])
    target = intercept + slope * mean + np.sqrt(constant + factor * spread**2) * noise
    monkeypatch.setattr(emos, "MAX_STEPS", 12)
    found = Emos.fit(np.tile(mean, 4), np.tile(spread, 4), target)
    for name, expected in (
        ("intercept", intercept),
        ("slope", slope),
        ("constant", constant),
        ("factor", factor),
    ):
        np.testing.assert_allclose(getattr(found, name), expected, atol=2e-3, err_msg=name)
    assert caplog.text == ""


def test_no_other_optimizer_finds_better():
    mean = 5e4 + 1e3 * RANDOM.normal(size=(80, 12))
    spread = RANDOM.gamma(3, 20, mean.shape)
    target = 100 + mean + (1.5 * spread + 30) * RANDOM.standard_t(4, mean.shape)
    coefficients = Emos.fit(mean, spread, target)
    found = crps(*coefficients.predict(mean, spread), target)
    for cell in range(12):
        x, variance, true = mean[:, cell] - 5e4, spread[:, cell] ** 2, target[:, cell] - 5e4

        def score(at: np.ndarray, x=x, variance=variance, true=true) -> float:
            sigma = np.sqrt(np.maximum(1e4 * at[2] + at[3] * variance, 1e-12))
            return crps_gaussian(100 * at[0] + at[1] * x, sigma, true).mean()

        bounds = [(None, None), (None, None), (0, None), (0, None)]
        least = min(
            minimize(score, start, bounds=bounds, method="L-BFGS-B", options={"ftol": 1e-13}).fun
            for start in ([0, 1, 0.1, 1], [0, 1, 1, 0.1])
        )
        assert found[cell] <= least * (1 + 1e-7)


COEFFICIENTS = ("intercept", "slope", "constant", "factor")
SHAPE = (60, 40)
MEAN, SPREAD, NOISE = RANDOM.normal(size=SHAPE), RANDOM.gamma(4, 0.25, SHAPE), RANDOM.normal(size=SHAPE)
FAR = 5e4 + MEAN
ODD: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {
    "reliable": (MEAN, SPREAD, MEAN + SPREAD * NOISE),
    "five samples": (MEAN[:5], SPREAD[:5], (MEAN + SPREAD * NOISE)[:5]),
    "float32": (FAR.astype(np.float32), SPREAD.astype(np.float32), (FAR + SPREAD * NOISE).astype(np.float32)),
    "no spread": (MEAN, 0 * SPREAD, MEAN + NOISE),
    "far too little spread": (MEAN, 1e-4 * SPREAD, MEAN + NOISE),
    "a constant mean": (0 * MEAN + 3, SPREAD, MEAN + NOISE),
    "a perfect mean": (MEAN, SPREAD, MEAN),
    "a constant target": (MEAN, SPREAD, 0 * MEAN + 7),
    "nothing changes": (0 * MEAN, 0 * SPREAD, 0 * MEAN),
    "heavy tails": (MEAN, SPREAD, MEAN + SPREAD * RANDOM.standard_t(1.5, SHAPE)),
    "mostly perfect": (MEAN, SPREAD, MEAN + 10 * NOISE * (RANDOM.random(SHAPE) < 0.03)),
    "more spread, less error": (MEAN, SPREAD, MEAN + NOISE / SPREAD),
    "tiny units": (1e-9 * MEAN, 1e-9 * SPREAD, 1e-9 * (MEAN + NOISE)),
}


@pytest.mark.parametrize("case", ODD)
def test_never_worse_than_the_raw_ensemble(case: str):
    mean, spread, target = ODD[case]
    with np.errstate(all="raise", under="ignore"):
        found = Emos.fit(mean, spread, target)
        center, sigma = found.predict(mean, spread)
    coefficients = np.stack([found.intercept, found.slope, found.constant, found.factor])
    assert np.isfinite(coefficients).all() and (coefficients[2:] >= 0).all()
    unit = np.abs(target).max() or 1
    assert (crps(center, sigma, target) <= crps(mean, spread, target) + 1e-12 * unit).all()


def test_the_gain_over_an_ensemble_that_is_wrong():
    """Bias 2 and a third of the spread: the CRPS of the truth, 1 / √π for a spread of 1, remains."""
    mean, noise = RANDOM.normal(size=(2, 4000, 3))
    spread = np.full_like(mean, 1 / 3)
    found = Emos.fit(mean, spread, mean + 2 + noise)
    assert crps(*found.predict(mean, spread), mean + 2 + noise) == pytest.approx(1 / np.sqrt(np.pi), rel=0.05)
    assert (crps(mean, spread, mean + 2 + noise) > 1.5).all()


def test_cells_are_fitted_each_on_its_own(monkeypatch: pytest.MonkeyPatch):
    mean, spread, target = (each.reshape(60, 5, 8) for each in ODD["reliable"])
    whole = Emos.fit(mean, spread, target)
    assert whole.slope.shape == (5, 8)
    one = Emos.fit(mean[:, 2:3, 4:5], spread[:, 2:3, 4:5], target[:, 2:3, 4:5])
    for name in COEFFICIENTS:
        np.testing.assert_allclose(getattr(one, name), getattr(whole, name)[2:3, 4:5], rtol=1e-6, atol=1e-7)
    for cells in (3, 0.5):  # a block holds one cell at least, however many its samples
        monkeypatch.setattr(emos, "BLOCK_VALUES", int(60 * cells))
        blocks = Emos.fit(mean, spread, target)
        for name in COEFFICIENTS:
            np.testing.assert_allclose(getattr(blocks, name), getattr(whole, name), rtol=1e-6, atol=1e-7)
    center, sigma = whole.predict(mean[7], spread[7])
    np.testing.assert_array_equal(center, whole.predict(mean, spread)[0][7])
    np.testing.assert_allclose(
        sigma[1, 2], np.sqrt(whole.constant[1, 2] + whole.factor[1, 2] * spread[7, 1, 2] ** 2)
    )


def test_single_precision_is_computed_in_double():
    single = ODD["float32"]
    mean, spread, target = (each.astype(np.float64) for each in single)
    found, expected = Emos.fit(*single), Emos.fit(mean, spread, target)
    for name in COEFFICIENTS:
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    for ours, theirs in zip(found.predict(*single[:2]), expected.predict(mean, spread), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_what_cannot_be_fitted_is_refused():
    with pytest.raises(ValueError, match=r"\(60, 40\), spread \(60, 39\)"):
        Emos.fit(MEAN, SPREAD[:, 1:], MEAN)
    with pytest.raises(ValueError, match=r"spread \(60, 40\), target \(1, 40\)"):
        Emos.fit(MEAN, SPREAD, MEAN[:1])
    with pytest.raises(ValueError, match="4 coefficients, found 4"):
        Emos.fit(MEAN[:4], SPREAD[:4], MEAN[:4])
    for place, name in enumerate(("mean", "spread", "target")):
        mean, spread, target = (each.copy() for each in ODD["reliable"])
        (mean, spread, target)[place][0, 0] = np.nan
        with pytest.raises(ValueError, match=f"1 values of {name} are not finite"):
            Emos.fit(mean, spread, target)


def test_a_search_ends_at_a_bound(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    monkeypatch.setattr(emos, "MAX_STEPS", 15)
    found = Emos.fit(*ODD["more spread, less error"])
    assert (found.factor == 0).all() and caplog.text == ""


def test_a_search_that_is_cut_off_says_so(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    monkeypatch.setattr(emos, "MAX_STEPS", 1)
    Emos.fit(*ODD["heavy tails"])
    assert "40 of 40 cells are not at a minimum after 1 steps" in caplog.text


@pytest.mark.shared
def test_real_members(shared_data: Path):
    """Each member once as the truth of the other nine, at four times."""
    fields = ensemble_members(shared_data)["t"][:, :, 0, ::5, ::4]
    samples = []
    for left_out in range(10):
        others = np.delete(fields, left_out, axis=0)
        samples.append((others.mean(axis=0), np.sqrt(ensemble_variance(others)), fields[left_out]))
    mean, spread, target = (np.concatenate(each) for each in zip(*samples, strict=True))
    assert mean.shape == (40, 13, 30)
    found = crps(*Emos.fit(mean, spread, target).predict(mean, spread), target)
    raw = crps(mean, spread, target)
    assert (found <= raw + 1e-9).all() and found.mean() < 0.99 * raw.mean()
