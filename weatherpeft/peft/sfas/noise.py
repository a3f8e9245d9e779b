"""Noise as a function of (seed, step, entry), whatever the chunks, the device or the rank.

Of every block of consecutive entries the largest noise is drawn first, then where it lies, and the others
below it: independent uniform numbers, as if each had been drawn by itself. So whoever looks for large
ones needs one number of a block, and the others of few blocks.
"""

from functools import lru_cache
from typing import Protocol

import torch

BLOCK = 32
"""Entries of a block, 2⁵."""
_HALVINGS = 5
_BELOW_ONE = 1 - 2.0**-24
_GOLDEN = 0x9E3779B97F4A7C15
_ROUNDS_64 = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_LAST_SHIFT_64 = 31
_ROUNDS_32 = ((16, 0x85EBCA6B), (13, 0xC2B2AE35))


class Noise(Protocol):
    """Numbers from [0, 1), one for each of some consecutive entries."""

    @property
    def largest(self) -> torch.Tensor:
        """At least the largest of every ``BLOCK`` entries, ``(block,)`` float32."""
        ...

    def at(self, position: torch.Tensor) -> torch.Tensor:
        """Of some of the entries, int64 ``(n,)``, float32 ``(n,)``."""
        ...

    def values(self) -> torch.Tensor:
        """Of all of them, float32 ``(entry,)``."""
        ...


class UniformNoise:
    """Independent numbers from the uniform distribution on [0, 1), for consecutive entries of a parameter.

    Two independent uniform numbers are made for every block of 32 entries and one for every entry. The
    largest of a block is the 32nd root of the first, five correctly rounded square roots; the
    second says where it lies; the others are their own numbers times the largest.

    Each number comes from a counter-based generator on 32-bit words: the finalizer of MurmurHash3 (Appleby,
    public domain) of the entry's or block's index, with 64 bits of key, half before its first round and half
    before its second. Its last fold, which changes the lower half of a word, is left out: the upper 24 bits
    are used. The key is the SplitMix64 finalizer (Steele, Lea and Flood, 2014,
    doi:10.1145/2660193.2660195) of the seed, the step, the parameter and which of the three numbers it is.

    Args:
        seed: of the run.
        step: of the run.
        parameter: a number of its own.
        first: index of the first entry within the parameter, a multiple of ``BLOCK``.
        count: number of entries.
        device: where the numbers are made; their values do not depend on it.
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
        self._largest.clamp_(max=_BELOW_ONE)  # the root may round up to 1

    @property
    def largest(self) -> torch.Tensor:
        """Of every block, ``(block,)``; the last one may reach beyond the entries."""
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
        """Where in their blocks the largest lie, by number, int32 ``(n,)``."""
        return (_words(block, self._first // BLOCK, self._place_key) >> 27).add_(BLOCK // 2)


def reached_level(k: int, size: int) -> float | None:
    """A level that the noise of at least k of ``size`` entries reaches, or None if it is not above 0.

    At the level the number of entries is expected to be k and a further 8 standard deviations, and some
    more for a small k, so that fewer than k are less likely than 1 in 10¹⁴.
    """
    level = 1 - (k + 8 * k**0.5 + 32) / size
    return level if level > 0 else None


def _words(counter: torch.Tensor, start: int, key: int) -> torch.Tensor:
    """Random int32 of ``start`` + ``counter`` modulo 2³²; the upper bits are the good ones."""
    state = counter + _signed(start + key)
    scratch = torch.empty_like(state)
    (first_shift, first_factor), (second_shift, second_factor) = _ROUNDS_32
    _fold(state, first_shift, scratch).mul_(_signed(first_factor)).add_(_signed(key >> 32))
    return _fold(state, second_shift, scratch).mul_(_signed(second_factor))


def _uniform(words: torch.Tensor) -> torch.Tensor:
    """Multiples of 2⁻²⁴ from [0, 1), float32; the words are used up."""
    return words.bitwise_right_shift_(8).to(torch.float32).mul_(2.0**-24).add_(0.5)


def _sqrt(values: torch.Tensor) -> torch.Tensor:
    """Correctly rounded square roots of float32, on every device.

    PyTorch's own are not on every processor: its vector library may be off by one unit in the last place. A
    root of 24 bits lies at least 2⁻⁵¹ away from every point where the rounding to float32 changes, since the
    square of such a point has 50 bits and is no float32. A root in float64 is closer than that.
    """
    return values.double().sqrt_().float()


def _counter(count: int, device: torch.device) -> torch.Tensor:
    """The numbers from 0 in int32, ``(count,)``."""
    return _numbers(1 << max(12, (count - 1).bit_length()), device)[:count]


@lru_cache(maxsize=2)
def _numbers(size: int, device: torch.device) -> torch.Tensor:
    """The same, kept for the calls to come."""
    return torch.arange(size, dtype=torch.int32, device=device)


def _fold(state: torch.Tensor, bits: int, scratch: torch.Tensor) -> torch.Tensor:
    """Exclusive or with the state shifted to the right, in place, as if int32 were unsigned."""
    torch.bitwise_right_shift(state, bits, out=scratch)
    return state.bitwise_xor_(scratch.bitwise_and_((1 << (32 - bits)) - 1))


def _signed(word: int) -> int:
    """The int32 with the bits of an integer's lower 32."""
    return (word + (1 << 31)) % (1 << 32) - (1 << 31)


def _mix(state: int) -> int:
    """SplitMix64's finalizer, modulo 2⁶⁴."""
    modulus = 1 << 64
    state %= modulus
    for shift, factor in _ROUNDS_64:
        state = (state ^ (state >> shift)) * factor % modulus
    return state ^ (state >> _LAST_SHIFT_64)
