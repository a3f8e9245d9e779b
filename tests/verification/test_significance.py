from functools import cache

import numpy as np
import pytest
from scipy.stats import t as student

from weatherpeft.verification import significance
from weatherpeft.verification.significance import Comparison, block_length, compare, drawn_days, stretches


def days(years: int, length: int) -> np.ndarray:
    """The first days of several years, ``(day,)``."""
    starts = [np.datetime64(f"{2001 + year}-01-10", "ns") for year in range(years)]
    return np.concatenate([start + np.arange(length).astype("timedelta64[D]") for start in starts])


def autoregressive(
    generator: np.random.Generator, years: int, length: int, fields: int, rho: float
) -> np.ndarray:
    """Stationary first-order autoregression with unit innovations, anew in each year, ``(day, field)``."""
    values = generator.normal(size=(years, length, fields))
    values[:, 0] /= np.sqrt(1 - rho**2)
    for day in range(1, length):
        values[:, day] += rho * values[:, day - 1]
    return values.reshape(-1, fields)


class TestExactCases:
    def test_differences_and_percent_are_of_the_means(self) -> None:
        generator = np.random.default_rng(0)
        scores, reference = generator.uniform(1, 2, size=(2, 3, 20, 4))
        found = compare(scores, reference, days(2, 10))
        ratio = scores.mean(axis=(0, 1)) / reference.mean(axis=(0, 1))
        np.testing.assert_allclose(found.difference, (scores - reference).mean(axis=(0, 1)))
        np.testing.assert_allclose(found.percent, 100 * (ratio - 1))
        assert found.mean_percent == pytest.approx(100 * (np.prod(ratio) ** 0.25 - 1))
        assert (found.seeds, found.days) == (3, 20)

    def test_a_difference_that_never_varies_is_certain(self) -> None:
        reference = np.random.default_rng(0).uniform(1, 2, size=(1, 20, 2))
        found = compare(np.repeat(reference, 3, axis=0) - [0.5, -0.25], reference, days(1, 20))
        np.testing.assert_allclose([found.lower, found.upper], [[-0.5, 0.25]] * 2)
        np.testing.assert_allclose(found.p, 1 / (1 + significance.REPLICATES))
        assert found.better.tolist() == [True, False] and found.worse.tolist() == [False, True]

    def test_equal_scores_are_not_different(self) -> None:
        scores = np.random.default_rng(0).uniform(1, 2, size=(3, 20, 2))
        found = compare(scores, scores, days(1, 20))
        assert found.p.tolist() == [1, 1] and found.mean_percent == 0 and found.mean_p == 1
        assert not (found.better.any() or found.worse.any())

    def test_seeds_alone_have_the_interval_of_student(self) -> None:
        """Days do not vary, so that the closed form holds; its quantile is drawn, hence the tolerance."""
        effects = np.array([0.1, -0.3, 0.4, 0.0, 0.6])
        scores = np.broadcast_to(2 + effects[:, None, None], (5, 40, 1))
        found = compare(scores, np.full((1, 40, 1), 2.0), days(1, 40))
        half = student.ppf(0.975, 4) * effects.std(ddof=1) / np.sqrt(5)
        assert found.upper[0] - found.difference[0] == pytest.approx(half, rel=0.05)
        expected = 2 * student.sf(effects.mean() / (effects.std(ddof=1) / np.sqrt(5)), 4)
        assert found.p[0] == pytest.approx(expected, rel=0.1)

    def test_independent_days_have_the_interval_of_student(self) -> None:
        scores = 5 + np.random.default_rng(1).normal(size=(1, 50, 1))
        found = compare(scores, np.full((1, 50, 1), 5.0), days(1, 50), block_days=1)
        half = student.ppf(0.975, 49) * scores.std(ddof=1) / np.sqrt(50)
        assert found.upper[0] - found.difference[0] == pytest.approx(half, rel=0.05)

    def test_intervals_and_p_values_say_the_same(self) -> None:
        generator = np.random.default_rng(2)
        reference = generator.uniform(1, 2, size=(1, 30, 200))
        scores = reference + 0.05 * generator.normal(size=200) + 0.2 * generator.normal(size=reference.shape)
        found = compare(scores, reference, days(1, 30))
        outside = (found.lower > 0) | (found.upper < 0)
        assert 20 < outside.sum() < 180
        np.testing.assert_array_equal(outside, found.p < 0.05 + 1e-3)

    def test_q_is_benjamini_and_hochbergs(self) -> None:
        generator = np.random.default_rng(3)
        scores = 5 + generator.normal(size=(1, 30, 12)) + np.linspace(0, 1, 12)
        found = compare(scores, np.full((1, 1, 1), 5.0).repeat(30, 1).repeat(12, 2), days(1, 30))
        ordered = np.sort(found.p)
        passing = np.flatnonzero(ordered <= 0.05 * np.arange(1, 13) / 12)
        assert 0 < passing[-1] + 1 < 12
        np.testing.assert_array_equal(found.q <= 0.05, found.p <= ordered[passing[-1]])

    def test_scores_without_a_ratio_have_differences_only(self) -> None:
        scores = np.random.default_rng(4).normal(size=(1, 30, 2)) + [-5, 5]
        found = compare(scores, np.ones((1, 30, 2)), days(1, 30))
        assert np.isnan(found.percent).tolist() == [True, False] and np.isnan(found.mean_percent)
        assert found.mean_p == 1
        assert np.isfinite([found.difference, found.lower, found.upper, found.p]).all()

    def test_of_a_single_day_nothing_is_known(self) -> None:
        times = np.datetime64("2001-01-01", "ns") + 6 * np.arange(4).astype("timedelta64[h]")
        scores = np.random.default_rng(5).uniform(1, 2, size=(3, 4, 2))
        found = compare(scores, 1 + scores, times)
        assert np.isinf([found.lower, found.upper]).all() and found.p.tolist() == [1, 1]
        assert found.mean_percent_lower == -100 and found.mean_percent_upper == np.inf

    def test_the_order_of_times_does_not_matter(self) -> None:
        generator = np.random.default_rng(6)
        times = (days(2, 10)[:, None] + np.array([0, 6, 12], "timedelta64[h]")).ravel()[1:-1]
        scores, reference = generator.uniform(1, 2, size=(2, 3, times.size, 4))
        one, order = compare(scores, reference, times), generator.permutation(times.size)
        other = compare(scores[:, order], reference[:, order], times[order])
        for name in Comparison.__dataclass_fields__:
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))

    @pytest.mark.parametrize(
        ("scores", "reference", "times", "message"),
        [
            (np.ones((2, 4, 1)), np.ones((3, 4, 1)), days(1, 4), "the same seeds and fields"),
            (np.ones((2, 4, 1)), np.ones((2, 4, 2)), days(1, 4), "the same seeds and fields"),
            (np.ones((2, 4, 1)), np.ones((2, 3, 1)), days(1, 4), "reference: expected .seed, 4 times, field"),
            (np.full((1, 4, 1), np.nan), np.ones((1, 4, 1)), days(1, 4), "scores: .* not finite"),
            (np.ones((1, 4, 1)), np.ones((1, 4, 1)), days(1, 2).repeat(2), "found 2 in 4"),
        ],
    )
    def test_what_cannot_be_compared_is_refused(
        self, scores: np.ndarray, reference: np.ndarray, times: np.ndarray, message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            compare(scores, reference, times)


class TestBlocks:
    def test_stretches_end_at_gaps(self) -> None:
        assert stretches(days(3, 40).astype("datetime64[D]")) == [40, 40, 40]
        month = np.datetime64("2001-01-01") + np.arange(30)
        assert stretches(np.delete(month, 12)) == [12, 17]
        assert stretches(month[[0]]) == [1] and stretches(month[[0, 9]]) == [2]
        twice_a_week = np.concatenate([month[::7], month[3::7]])
        assert stretches(np.sort(twice_a_week)) == [twice_a_week.size]

    def test_blocks_stay_in_their_stretch_and_are_contiguous(self) -> None:
        lengths = [40, 5, 30, 1]
        drawn = drawn_days(lengths, 7, 300, np.random.default_rng(0))
        assert drawn.shape == (300, 76)
        first = 0
        for length, block in zip(lengths, (7, 1, 7, 1), strict=True):
            places = drawn[:, first : first + length] - first
            assert places.min() == 0 and places.max() == length - 1
            for start in range(0, length, block):
                part = places[:, start : start + block]
                np.testing.assert_array_equal(part, (part[:, :1] + np.arange(part.shape[1])) % length)
            first += length

    @pytest.mark.parametrize(
        ("rho", "expected"), [(0.0, [0.7593, 0.9198, 0.5117]), (0.5, [5.2299, 5.2533, 5.7349])]
    )
    def test_length_is_that_of_another_implementation(self, rho: float, expected: list[float]) -> None:
        """``arch.bootstrap.optimal_block_length`` 8.0.0, column ``circular``, of the same series."""
        series = autoregressive(np.random.default_rng(11), 1, 120, 3, rho)
        for field, length in enumerate(expected):
            assert block_length(series[:, [field]], [120]) == int(np.ceil(2 * length))
        assert block_length(series, [120]) == int(np.ceil(2 * np.mean(expected)))

    def test_length_is_at_most_a_third_of_the_longest_stretch(self) -> None:
        series = np.cumsum(np.random.default_rng(0).normal(size=(60, 2)), axis=0)
        assert block_length(series, [24, 36]) == 12
        assert block_length(series[:2], [2]) == 1 and block_length(np.ones((60, 2)), [60]) == 1


@cache
def experiments(block_days: int | None, seeds: int = 5, effect: float = 0.1) -> list[Comparison]:
    """Comparisons of two methods that are equal in truth, on 120 days of three years.

    Days are autocorrelated (0.5). The mean over the days has a standard error of 0.18, that over the seeds
    ``effect`` divided by the root of their number.
    """
    found = []
    for number in range(300):
        generator = np.random.default_rng([number, seeds])
        weather = 50 + generator.normal(size=(1, 120, 8))
        own = autoregressive(generator, 3, 40, 8, 0.5) + effect * generator.normal(size=(seeds, 1, 8))
        noise = 0.1 * generator.normal(size=(seeds, 120, 8))
        reference = np.repeat(weather, seeds, axis=0)
        found.append(compare(reference + own + noise, reference, days(3, 40), block_days))
    return found


def coverage(found: list[Comparison]) -> tuple[float, float]:
    """Shares of intervals that hold the truth: of the fields, and of the means over the fields."""
    fields = np.mean([(each.lower <= 0) & (each.upper >= 0) for each in found])
    means = np.mean([each.mean_percent_lower <= 0 <= each.mean_percent_upper for each in found])
    return float(fields), float(means)


class TestCoverage:
    @pytest.fixture(autouse=True)
    def few_replicates(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(significance, "REPLICATES", 1000)

    @pytest.mark.parametrize(("seeds", "effect"), [(5, 0.3), (5, 0.0), (3, 0.3), (1, 0.0)])
    def test_intervals_hold_the_truth_as_often_as_they_say(self, seeds: int, effect: float) -> None:
        fields, means = coverage(experiments(None, seeds, effect))
        assert 0.92 < fields < 0.98
        assert 0.90 < means < 0.99

    def test_days_taken_as_independent_hold_it_less_often(self) -> None:
        fields, means = coverage(experiments(1))
        assert fields < 0.85 and means < 0.85

    def test_seldom_is_a_field_called_different_where_none_is(self) -> None:
        """The share of experiments with any such field, which is the false discovery rate if none differs."""
        blocks, independent = (
            np.mean([(each.better | each.worse).any() for each in experiments(block)]) for block in (None, 1)
        )
        assert blocks < 0.09 < 0.25 < independent
