"""Noise as a function of (seed, step, entry), independent of the chunks, the device and the rank.

For every block of consecutive entries, the largest noise is drawn first, then its place, and then the
others below it. These are independent uniform numbers, as if each had been drawn by itself. A search for
large numbers needs one number of every block, and all numbers of only a few blocks.
"""

from functools import lru_cache
from typing import Protocol

import torch

BLOCK = 32
"""Entries per block, 2⁵."""
_HALVINGS = 5
_GOLDEN = 0x9E3779B97F4A7C15
_ROUNDS_64 = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_LAST_SHIFT_64 = 31
_ROUNDS_32 = ((16, 0x85EBCA6B), (13, 0xC2B2AE35))


class Noise(Protocol):
    """One number from [0, 1) for each of some consecutive entries."""

    @property
    def largest(self) -> torch.Tensor:
        """An upper bound of each block's numbers, float32 ``(block,)``."""
        ...

    def at(self, position: torch.Tensor) -> torch.Tensor:
        """The numbers, float32 ``(n,)``, of the entries at some positions, int64 ``(n,)``."""
        ...

    def values(self) -> torch.Tensor:
        """The numbers of all entries, float32 ``(entry,)``."""
        ...


class UniformNoise:
    """Independent numbers from the uniform distribution on [0, 1), for consecutive entries of a parameter.

    Every block of 32 entries has two independent uniform numbers, and every entry has one. The largest number
    of a block is the 32nd root of the block's first number: five correctly rounded square roots. The block's
    second number is the place of the largest. Every other entry gets its own number times the largest.

    Each number comes from a counter-based generator on 32-bit words: the finalizer of MurmurHash3 (Appleby,
    public domain) of the index of the entry or block. Its key has 64 bits: half of them enter before the
    first round and half before the second. The last fold of the finalizer is left out, because it changes
    the lower half of a word and only the upper 24 bits are used. The key is the SplitMix64 finalizer
    (Steele, Lea and Flood, 2014, doi:10.1145/2660193.2660195) of the seed, the step, the parameter and which
    of the three numbers it is.

    Args:
        seed: seed of the run.
        step: step of the run.
        parameter: number of the parameter.
        first: index of the first entry within the parameter, a multiple of ``BLOCK``.
        count: number of entries.
        device: device that makes the numbers; their values do not depend on it.
    """

    def __init__(
        self, seed: int, step: int, parameter: int, first: int, count: int, device: torch.device
    ) -> None:
        if first % BLOCK or first + count > 1 << 32:
            raise ValueError(
                f"found {count} entries from {first}, expected a multiple of {BLOCK} and 32 bits"
            )
        self._first, self._count, self._device = first, count, device
        self._blocks = -(-count // BLOCK)
        key = _mix(_mix(_mix(seed) + step * _GOLDEN) + parameter * _GOLDEN)
        self._key, largest, self._place_key = (_mix(key + number * _GOLDEN) for number in range(3))
        self._largest = _uniform(_words(_counter(self._blocks, device), first // BLOCK, largest))
        for _ in range(_HALVINGS):
            self._largest = _sqrt(self._largest)

    @property
    def largest(self) -> torch.Tensor:
        """The largest number of every block, ``(block,)``; the last block may reach beyond the entries."""
        return self._largest

    def at(self, position: torch.Tensor) -> torch.Tensor:
        """See ``Noise.at``."""
        block = position // BLOCK
        largest = self._largest[block]
        own = _uniform(_words(position.to(torch.int32), self._first, self._key)).mul_(largest)
        return torch.where(position % BLOCK == self._places(block.to(torch.int32)), largest, own)

    def values(self) -> torch.Tensor:
        """See ``Noise.values``."""
        entries = _counter(self._blocks * BLOCK, self._device)
        blocks = _uniform(_words(entries, self._first, self._key)).view(-1, BLOCK)
        largest, places = self._largest[:, None], self._places(_counter(self._blocks, self._device))
        blocks.mul_(largest).scatter_(1, places[:, None].to(torch.int64), largest)
        return blocks.view(-1)[: self._count]

    def _places(self, block: torch.Tensor) -> torch.Tensor:
        """Places of the largest numbers within their blocks, int32 ``(n,)``."""
        return (_words(block, self._first // BLOCK, self._place_key) >> 27).add_(BLOCK // 2)


def reached_level(k: int, size: int) -> float | None:
    """A level that the noise of at least k of ``size`` entries reaches, or None if it is not above 0.

    The expected number of entries at the level is k plus 8 standard deviations, plus some more for a small k.
    So fewer than k entries reach it with a probability below 10⁻¹⁴.
    """
    level = 1 - (k + 8 * k**0.5 + 32) / size
    return level if level > 0 else None


def _words(counter: torch.Tensor, start: int, key: int) -> torch.Tensor:
    """Random int32 of ``start`` + ``counter`` modulo 2³². Only their upper 24 bits are to be used."""
    state = counter + _signed(start + key)
    scratch = torch.empty_like(state)
    (first_shift, first_factor), (second_shift, second_factor) = _ROUNDS_32
    _fold(state, first_shift, scratch).mul_(_signed(first_factor)).add_(_signed(key >> 32))
    return _fold(state, second_shift, scratch).mul_(_signed(second_factor))


def _uniform(words: torch.Tensor) -> torch.Tensor:
    """Multiples of 2⁻²⁴ from [0, 1), float32. The words are overwritten."""
    return words.bitwise_right_shift_(8).to(torch.float32).mul_(2.0**-24).add_(0.5)


def _sqrt(values: torch.Tensor) -> torch.Tensor:
    """Correctly rounded square roots of float32, on every device.

    PyTorch's own roots are not correctly rounded on every processor: its vector library may be off by one
    unit in the last place. A root of 24 bits lies at least 2⁻⁵¹ away from every point where the rounding to
    float32 changes, because the square of such a point has 50 bits and is no float32. A root in float64 is
    closer than that.
    """
    return values.double().sqrt_().float()


def _counter(count: int, device: torch.device) -> torch.Tensor:
    """The numbers from 0 upward, int32 ``(count,)``."""
    return _numbers(1 << max(12, (count - 1).bit_length()), device)[:count]


@lru_cache(maxsize=2)
def _numbers(size: int, device: torch.device) -> torch.Tensor:
    """The same numbers, kept for the next calls."""
    return torch.arange(size, dtype=torch.int32, device=device)


def _fold(state: torch.Tensor, bits: int, scratch: torch.Tensor) -> torch.Tensor:
    """Exclusive or of the state and itself shifted to the right, in place, as if int32 were unsigned."""
    torch.bitwise_right_shift(state, bits, out=scratch)
    return state.bitwise_xor_(scratch.bitwise_and_((1 << (32 - bits)) - 1))


def _signed(word: int) -> int:
    """The int32 with the lower 32 bits of an integer."""
    return (word + (1 << 31)) % (1 << 32) - (1 << 31)


def _mix(state: int) -> int:
    """SplitMix64's finalizer, modulo 2⁶⁴."""
    modulus = 1 << 64
    state %= modulus
    for shift, factor in _ROUNDS_64:
        state = (state ^ (state >> shift)) * factor % modulus
    return state ^ (state >> _LAST_SHIFT_64)
