"""The streamed selection against a sort of the whole vector, and the noise against its distribution."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.peft.sfas.dense import normalized
from weatherpeft.peft.sfas import noise
from weatherpeft.peft.sfas.candidates import reaching
from weatherpeft.peft.sfas.noise import BLOCK, Noise, UniformNoise, _sqrt, reached_level
from weatherpeft.peft.sfas.normalizer import new_normalizer
from weatherpeft.peft.sfas.pool import EntrySet, Pool
from weatherpeft.peft.sfas.selection import Selection
from weatherpeft.peft.sfas.skyband import _SAMPLE, Skyband
from weatherpeft.peft.sfas.spec import NormalizerName

CPU = torch.device("cpu")
QUANTILE = 0.9
NORMALIZERS: tuple[NormalizerName, ...] = ("max", "mean", "quantile", "rank")


class Given:
    """Noise of known values."""

    def __init__(self, uniform: Tensor) -> None:
        self._values = uniform

    @property
    def largest(self) -> Tensor:
        blocks = self._values.split(BLOCK)
        return torch.stack([block.max() for block in blocks])

    def at(self, position: Tensor) -> Tensor:
        return self._values[position]

    def values(self) -> Tensor:
        return self._values


def uniform_noise(seed: int, step: int, size: int) -> Tensor:
    return UniformNoise(seed, step, 0, 0, size, CPU).values()


Arguments = tuple[Tensor, Tensor, int, float, NormalizerName]


def stream(
    fisher: Tensor,
    uniform: Tensor,
    k: int,
    weight: float,
    normalizer: NormalizerName,
    cuts: list[int],
    known: Tensor | None = None,
    new: int | None = None,
    level: float | None = None,
) -> tuple[Tensor, Selection]:
    """Selected entries when the vector arrives in pieces, the last first."""
    size = len(fisher)
    selection = Selection(k, size, weight, new_normalizer(normalizer, size, QUANTILE), new, level)
    bounds = sorted({0, size, *(cut % size for cut in cuts)})
    for start, end in reversed(list(zip(bounds, bounds[1:], strict=False))):
        piece = slice(start, end)
        mask = None if known is None else known[piece]
        noise: Noise = Given(uniform[piece])
        selection.offer(start, fisher[piece], torch.arange(start, end).float(), noise, mask)
    entries, gradient = selection.finish()
    assert torch.equal(gradient, entries.float())
    return entries, selection


def oracle(fisher: Tensor, uniform: Tensor, k: int, weight: float, normalizer: NormalizerName) -> Tensor:
    """The k best by (−score, index) of the whole vector."""
    score = normalized(fisher, normalizer, QUANTILE) + weight * uniform.double()
    return torch.from_numpy(np.sort(np.lexsort((np.arange(len(score)), -score.numpy()))[:k]))


def draw_arguments(data: st.DataObject, seed: int, size: int) -> Arguments:
    """Fisher information over many orders of magnitude, sorted or not, with ties or without."""
    random = np.random.default_rng(seed)
    fisher = 10.0 ** random.uniform(-30, data.draw(st.sampled_from([-29.0, 0.0, 5.0])), size)
    ties = data.draw(st.sampled_from(["none", "zeros", "all zero", "few values"]))
    if ties == "zeros":
        fisher[random.random(size) < 0.7] = 0
    elif ties == "all zero":
        fisher[:] = 0
    elif ties == "few values":
        fisher = random.integers(0, 4, size).astype(float)
    fisher = np.sort(fisher)[:: data.draw(st.sampled_from([1, -1]))] if data.draw(st.booleans()) else fisher
    uniform = random.random(size)
    if data.draw(st.booleans()):
        uniform = np.round(uniform, 1)
    return (
        torch.from_numpy(fisher.astype(np.float32)),
        torch.from_numpy(uniform.astype(np.float32)),
        data.draw(st.integers(1, size)),
        data.draw(st.sampled_from([0.0, 1e-8, 1e-3, 0.2, 10.0])),
        data.draw(st.sampled_from(NORMALIZERS)),
    )


cuts = st.lists(st.integers(0, 400), max_size=30)


@settings(max_examples=400, deadline=None)
@given(st.data(), st.integers(0, 2**32), st.integers(1, 400), cuts)
def test_the_stream_selects_what_a_sort_selects(
    data: st.DataObject, seed: int, size: int, cuts: list[int]
) -> None:
    arguments = draw_arguments(data, seed, size)
    assert torch.equal(stream(*arguments, cuts)[0], oracle(*arguments))


@settings(max_examples=150, deadline=None)
@given(st.data(), st.integers(0, 2**32), st.integers(100, 400), cuts)
def test_a_level_of_the_noise_never_changes_the_selection(
    data: st.DataObject, seed: int, size: int, cuts: list[int]
) -> None:
    """The k-th largest noise is the highest level that k entries reach."""
    fisher, uniform, k, weight, normalizer = draw_arguments(data, seed, size)
    level = float(uniform.sort(descending=True).values[k - 1])
    found, _ = stream(fisher, uniform, k, weight, normalizer, cuts, level=level)
    assert torch.equal(found, oracle(fisher, uniform, k, weight, normalizer))


def test_what_a_level_of_the_noise_drops_is_never_among_the_best() -> None:
    """With so little information, many entries score about what the level's own entries score."""
    for seed in range(20):
        fisher, uniform = torch.rand(2, 2000, generator=torch.Generator().manual_seed(seed))
        fisher *= 0.02
        fisher[-1] = 1.0  # the first to arrive
        level = float(uniform.topk(200).values.min())
        arguments: Arguments = (fisher, uniform, 200, 1.0, "max")
        found, _ = stream(*arguments, list(range(0, 2000, 90)), level=level)
        assert torch.equal(found, oracle(*arguments))


def test_a_level_of_the_noise_spares_candidates() -> None:
    size, k = 400_000, 400
    fisher = torch.from_numpy(np.random.default_rng(0).lognormal(-20, 2, size)).float()
    fisher[-1] = 1.0  # the first to arrive
    arguments: Arguments = (fisher, uniform_noise(0, 0, size), k, 0.2, "max")
    pieces = list(range(0, size, 2_000))
    entries, selection = stream(*arguments, pieces, level=reached_level(k, size))
    assert torch.equal(entries, oracle(*arguments))
    assert selection.peak < 2 * k < 4 * k < stream(*arguments, pieces)[1].peak


def test_entries_whose_scores_differ_by_rounding_alone_are_kept() -> None:
    """F + w·norm·U and F/norm + w·U are the same number, but float64 rounds them in different ways."""
    size, norm, weight = 1000, 3.0, 0.4
    for seed in range(5):
        uniform = 5 * np.random.default_rng(seed).integers(1, 200, size) / 1024
        fisher = 1.5 - 1.2 * uniform  # exact in float32: all have the score 1.5 / norm
        fisher[-1], uniform[-1] = norm, 0.0  # the first to arrive
        one, other = (torch.from_numpy(values.astype(np.float32)) for values in (fisher, uniform))
        arguments: Arguments = (one, other, 20 + seed, weight, "max")
        found, _ = stream(*arguments, list(range(0, size, 20)))
        assert torch.equal(found, oracle(*arguments))


@pytest.mark.parametrize(("norm", "step"), [(1.0, 1e-7), (1e-41, 1e-2)], ids=["normal", "denormal"])
def test_entries_whose_scores_differ_by_rounding_to_float32_are_kept(norm: float, step: float) -> None:
    """An entry just below a level of the noise that its information just lifts above it."""
    weight, largest = 0.7, torch.tensor(norm)
    for number in range(300):
        level = torch.tensor(0.5 + number / 3000)
        below = level - step
        needed = weight * float(largest) * float(level - below)
        lift = torch.tensor(needed)
        if float(lift) <= needed:
            lift = lift.nextafter(torch.ones(()))
        zero = torch.zeros(())
        uniform = torch.stack([below, level, level, zero])
        fisher = torch.stack([lift, zero, zero, largest])  # the last is the first to arrive
        arguments: Arguments = (fisher, uniform, 2, weight, "max")
        found, _ = stream(*arguments, [3], level=float(level))
        assert found.tolist() == oracle(*arguments).tolist() == [0, 3]


def test_information_close_to_the_largest_of_float32() -> None:
    generator = torch.Generator().manual_seed(0)
    fisher, uniform = 3e38 * torch.rand(2000, generator=generator), torch.rand(2000, generator=generator)
    fisher[-1], uniform[::7] = 3e38, 0.0
    for k in (20, 90, 160):
        arguments: Arguments = (fisher, uniform, k, 10.0, "max")
        found, _ = stream(*arguments, list(range(0, 2000, 50)))
        assert torch.equal(found, oracle(*arguments))


def test_a_level_that_is_not_reached_is_noticed() -> None:
    uniform = torch.tensor([0.9, 0.1, 0.2, 0.3])
    with pytest.raises(RuntimeError, match="the noise of fewer than 2 entries reaches 0.8"):
        stream(torch.zeros(4), uniform, 2, 0.2, "max", [], level=0.8)


@pytest.mark.parametrize(("k", "size"), [(1, 1000), (50, 1000), (400, 100_000)])
def test_a_level_is_reached_by_k_entries(k: int, size: int) -> None:
    level = reached_level(k, size)
    assert level and reached_level(size, size) is None
    for step in range(200):
        count = int((uniform_noise(0, step, size) >= level).sum())
        assert k <= count <= k + 16 * k**0.5 + 64


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 300), cuts)
def test_without_noise_it_is_torchs_topk(seed: int, k: int, cuts: list[int]) -> None:
    fisher = torch.rand(300, generator=torch.Generator().manual_seed(seed))
    found, _ = stream(fisher, torch.zeros(300), k, 0.0, "max", cuts)
    assert torch.equal(found, fisher.topk(k).indices.sort().values)


@settings(max_examples=200, deadline=None)
@given(st.data(), st.integers(0, 2**32), st.integers(1, 400), cuts)
def test_few_new_entries_are_the_best_of_the_new(
    data: st.DataObject, seed: int, size: int, cuts: list[int]
) -> None:
    """In the order of their scores, new entries are taken until there are enough of them."""
    arguments = draw_arguments(data, seed, size)
    fisher, uniform, _, weight, normalizer = arguments
    known = torch.from_numpy(np.random.default_rng(seed + 1).random(size) < data.draw(st.floats(0, 1)))
    new = data.draw(st.integers(0, size))
    k = data.draw(st.integers(0, size)) % (int(known.sum()) + min(new, int((~known).sum())) + 1)
    if k == 0:
        return
    score = normalized(fisher, normalizer, QUANTILE) + weight * uniform.double()
    chosen: list[int] = []
    left = new
    for entry in np.lexsort((np.arange(size), -score.numpy())):
        if len(chosen) < k and (known[entry] or left):
            chosen.append(int(entry))
            left -= not known[entry]
    found, _ = stream(fisher, uniform, k, weight, normalizer, cuts, known, new)
    assert found.tolist() == sorted(chosen)


@pytest.mark.parametrize("normalizer", NORMALIZERS)
@pytest.mark.parametrize("weight", [0.0, 1e-6, 1e-3, 0.2])
@pytest.mark.parametrize("order", ["random", "rising", "zero"])
@pytest.mark.parametrize("k", [400, 16_000])
def test_a_few_k_entries_are_held(weight: float, normalizer: NormalizerName, order: str, k: int) -> None:
    size, piece = 400_000, 2_000
    fisher = torch.from_numpy(np.random.default_rng(0).lognormal(-20, 4, size)).float()
    if order == "rising":  # in the order of arrival: every piece raises the norm
        fisher = fisher.sort(descending=True).values
    elif order == "zero":
        fisher.zero_()
    arguments = (fisher, uniform_noise(0, 0, size), k, weight, normalizer)
    entries, selection = stream(*arguments, list(range(0, size, piece)))
    assert torch.equal(entries, oracle(*arguments))
    # A skyband has k·(1 + ln(N/k)) entries, 8 k or 4 k; less than thrice that before a cut, and one piece.
    # Without noise a cut leaves k.
    most = 1.25 if weight == 0 else 24 if k == 400 else 11
    assert selection.peak <= most * k + piece


def test_no_more_new_entries_are_held_than_may_be_selected() -> None:
    size, k = 100_000, 400
    fisher = torch.from_numpy(np.random.default_rng(0).lognormal(-20, 2, size)).float()
    arguments: Arguments = (fisher, torch.zeros(size), k, 0.0, "max")
    pieces = list(range(0, size, 1_000))
    entries, selection = stream(*arguments, pieces, torch.zeros(size, dtype=torch.bool), new=size // 2)
    assert torch.equal(entries, oracle(*arguments)) and selection.peak <= 1.25 * k + 1_000


def test_a_selection_of_float32_noise_in_large_numbers() -> None:
    """Cuts guess their thresholds from a part of the candidates; what they drop is never among the best."""
    size = 600_000
    generator = torch.Generator().manual_seed(0)
    for weight in (0.2, 1e-4):
        fisher = torch.randn(size, generator=generator).square() ** 3
        arguments: Arguments = (fisher, uniform_noise(1, 0, size), 20_000, weight, "max")
        entries, _ = stream(*arguments, list(range(0, size, 7_000)))
        assert torch.equal(entries, oracle(*arguments))


def test_thresholds_are_counted_on_all_candidates() -> None:
    """A part of them that is not like the rest misleads the guess, but not the count."""
    score, uniform = torch.rand(2, 40_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    score[::2], uniform[::2] = score[::2] + 1, uniform[::2] + 1
    for k in (100, 15_000, 25_000, 30_000):
        stairs = Skyband(k, 0.2)._stairs(score, uniform, 1.0)
        for level, reach in zip(stairs.score, stairs.uniform[1:].flip(0), strict=True):
            assert int(((score >= level) & (uniform >= reach)).sum()) >= k
        assert len(stairs.score) or k > 20_000


def test_a_threshold_is_reached_by_k_candidates_and_not_by_one_less() -> None:
    """Of 100 candidates, or 99, that stand out, 72 are in the part that thresholds are guessed from."""
    for count in (99, 100):
        uniform = torch.zeros(2 * _SAMPLE)
        uniform[: 2 * 72 : 2] = 1.0
        uniform[1 : 2 * (count - 72) : 2] = 1.0
        stairs = Skyband(100, 0.2)._stairs(uniform.double(), uniform, 1.0)
        assert bool(stairs.uniform.max() > 0.5) == (count == 100)


@given(st.lists(st.integers(0, 5), max_size=200), st.integers(0, 6))
def test_a_closer_look_at_some_blocks_misses_nothing(values: list[int], threshold: int) -> None:
    tensor = torch.tensor(values, dtype=torch.float32)
    assert torch.equal(reaching(tensor, threshold), (tensor >= threshold).nonzero().squeeze(1))


def test_equal_ranks_are_ties() -> None:
    fisher = torch.linspace(1.0, 1.003, 200)  # one value of bfloat16
    found, _ = stream(fisher, torch.zeros(200), 10, 0.0, "rank", list(range(0, 200, 10)))
    assert found.tolist() == list(range(10))


def test_an_incomplete_stream_is_an_error() -> None:
    selection = Selection(1, 3, 0.0, new_normalizer("max", 3, QUANTILE))
    selection.offer(0, torch.ones(2), torch.ones(2))
    with pytest.raises(ValueError, match="found 2 entries offered, expected the whole pool of 3"):
        selection.finish()


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_information_that_is_not_finite_is_an_error(value: float) -> None:
    selection = Selection(1, 3, 0.0, new_normalizer("max", 3, QUANTILE))
    with pytest.raises(FloatingPointError, match=f"found Fisher information of {value}"):
        selection.offer(0, torch.tensor([1.0, value, 1.0]), torch.ones(3))


class TestNoise:
    @pytest.mark.parametrize("first", [0, 2**31, 2**32 - 2**18])
    def test_is_uniform(self, first: int) -> None:
        noise = UniformNoise(3, 5, 7, first, 2**18, CPU).values()
        assert noise.dtype == torch.float32 and 0 <= noise.min() and noise.max() < 1
        assert scipy.stats.kstest(noise.numpy(), "uniform").pvalue > 1e-3
        for place in range(BLOCK):  # wherever it lies in its block
            assert scipy.stats.kstest(noise[place::BLOCK].numpy(), "uniform").pvalue > 1e-4
        assert scipy.stats.kstest(1e4 * (1 - noise[noise > 1 - 1e-4].numpy()), "uniform").pvalue > 1e-3

    def test_roots_are_correctly_rounded(self) -> None:
        """PyTorch's own are not on every processor, which would give every machine its own noise."""
        values = np.random.default_rng(0).random(2**18, dtype=np.float32)
        expected = [np.float32(math.sqrt(value)) for value in values.tolist()]  # IEEE 754
        np.testing.assert_array_equal(_sqrt(torch.from_numpy(values)).numpy(), expected)

    def test_entries_are_independent(self) -> None:
        """Of those beside and in the same block, of other steps, seeds and parameters."""
        size = 2**18
        noise = UniformNoise(3, 5, 0, 0, size, CPU).values()
        blocks = noise.view(-1, BLOCK)
        pairs = [(blocks[:, one], blocks[:, other]) for one, other in ((0, 1), (0, 31), (3, 17), (30, 31))]
        pairs += [
            (noise, UniformNoise(*arguments, size, CPU).values())
            for arguments in (
                (3, 6, 0, 0),
                (4, 5, 0, 0),
                (5, 3, 0, 0),
                (3, 5, 1, 0),
                (3, 5, 2**32, 0),
                (3, 5, 0, size),
            )
        ]
        pairs += [(noise[:-1], noise[1:]), (noise[:-BLOCK], noise[BLOCK:])]
        for one, other in pairs:
            table = np.histogram2d(one.numpy(), other.numpy(), bins=16, range=[[0, 1]] * 2)[0]
            assert scipy.stats.chisquare(table.ravel()).pvalue > 1e-3

    def test_blocks_are_those_of_independent_numbers(self) -> None:
        """How many of a block exceed a level is binomial, and their maximum is where chance puts it."""
        noise = UniformNoise(1, 2, 3, 0, 2**20, CPU).values().view(-1, BLOCK).numpy()
        for level in (0.5, 0.97):
            found = np.bincount((noise > level).sum(axis=1), minlength=BLOCK + 1)
            expected = scipy.stats.binom.pmf(np.arange(BLOCK + 1), BLOCK, 1 - level) * len(noise)
            often = expected > 5
            assert (
                scipy.stats.chisquare(
                    [*found[often], found[~often].sum()], [*expected[often], expected[~often].sum()]
                ).pvalue
                > 1e-3
            )
        assert scipy.stats.chisquare(np.bincount(noise.argmax(axis=1), minlength=BLOCK)).pvalue > 1e-3

    @given(st.integers(0, 30), st.lists(st.integers(1, 9), min_size=1, max_size=5), st.data())
    def test_does_not_depend_on_the_chunks(self, rest: int, sizes: list[int], data: st.DataObject) -> None:
        starts = np.cumsum([0, *sizes]) * BLOCK
        whole = UniformNoise(2**80 - 1, 0, 9, 0, int(starts[-1]) + rest, CPU)
        bounds = [*starts[:-1].tolist(), int(starts[-1]) + rest]
        parts = [
            UniformNoise(2**80 - 1, 0, 9, first, end - first, CPU)
            for first, end in zip(bounds, bounds[1:], strict=False)
        ]
        values = whole.values()
        assert torch.equal(values, torch.cat([part.values() for part in parts]))
        some = torch.tensor(data.draw(st.lists(st.integers(0, len(values) - 1))), dtype=torch.int64)
        assert torch.equal(whole.at(some), values[some])
        largest = torch.stack([block.max() for block in values.split(BLOCK)])
        full = len(values) // BLOCK
        assert torch.equal(whole.largest[:full], largest[:full]) and (whole.largest >= largest).all()

    def test_is_below_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Correctly rounded, the root of the largest number below 1 is this number."""
        last = 1 - 2.0**-24
        monkeypatch.setattr(noise, "_uniform", lambda words: torch.full(words.shape, last))
        assert UniformNoise(0, 0, 0, 0, 2 * BLOCK, CPU).values().max() == last

    def test_chunks_begin_with_a_block(self) -> None:
        with pytest.raises(ValueError, match="found 5 entries from 16, expected a multiple of 32"):
            UniformNoise(0, 0, 0, 16, 5, CPU)

    @pytest.mark.parametrize("first", [0, 2**31 - 32, 2**32 - 64])
    def test_values_are_fixed_for_good(self, first: int) -> None:
        """The published finalizers in Python integers, and correctly rounded square roots."""

        def splitmix(state: int) -> int:
            state %= 2**64
            state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
            state = (state ^ (state >> 27)) * 0x94D049BB133111EB % 2**64
            return state ^ (state >> 31)

        def murmur(state: int, late: int) -> int:
            """All but the last fold of 16 bits."""
            state = (state ^ (state >> 16)) * 0x85EBCA6B % 2**32
            state = (state + late) % 2**32
            return (state ^ (state >> 13)) * 0xC2B2AE35 % 2**32

        golden = 0x9E3779B97F4A7C15
        assert splitmix(golden) == 0xE220A8397B1DCDAF  # the reference implementation's first output, seed 0
        assert murmur(1, 0) ^ (murmur(1, 0) >> 16) == 0x514E28B7  # likewise
        parameter = splitmix(splitmix(splitmix(7) + 2 * golden) + 2**33 * golden)

        def word(index: int, which: int) -> int:
            key = splitmix(parameter + which * golden)
            return (murmur((index + key) % 2**32, key >> 32) + 2**31) % 2**32

        def uniform(index: int, which: int) -> np.float32:
            return np.float32((word(index, which) >> 8) / 2**24)

        expected = []
        for entry in range(first, first + 64):
            largest = uniform(entry // BLOCK, 1)
            for _ in range(5):
                largest = np.sqrt(largest)
            is_largest = entry % BLOCK == word(entry // BLOCK, 2) >> 27
            expected.append(largest if is_largest else uniform(entry, 0) * largest)
        assert UniformNoise(7, 2, 2**33, first, 64, CPU).values().tolist() == expected


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 4)), min_size=1, max_size=5), st.data())
def test_a_pool_distributes_its_entries(shapes: list[tuple[int, int]], data: st.DataObject) -> None:
    parameters = {str(i): torch.nn.Parameter(torch.zeros(shape)) for i, shape in enumerate(shapes)}
    pool = Pool(parameters)
    chosen = sorted(data.draw(st.sets(st.integers(0, pool.size - 1)))) if pool.size else []
    index = torch.tensor(chosen, dtype=torch.int64)
    flat = torch.zeros(pool.size)
    flat[index] = 1
    for name, own, local in pool.locate(index):
        parameters[name].data.view(-1)[local] = 1.0
        assert torch.equal(index[own], local + pool.start[name])
    assert torch.equal(torch.cat([p.detach().flatten() for p in parameters.values()]), flat)


@given(st.integers(1, 70), st.data())
def test_an_entry_set_is_a_set(size: int, data: st.DataObject) -> None:
    found, expected = EntrySet(size), set()
    for _ in range(3):
        new = data.draw(st.sets(st.integers(0, size - 1)))
        found.add(torch.tensor(sorted(new), dtype=torch.int64))
        expected |= new
    assert len(found) == len(expected)
    start = data.draw(st.integers(0, size))
    end = data.draw(st.integers(start, size))
    assert (found.between(start, end) + start).tolist() == sorted(e for e in expected if start <= e < end)
    assert found.mask(start, end).tolist() == [entry in expected for entry in range(start, end)]
