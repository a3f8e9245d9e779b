"""Noise as a function of (seed, step, entry), whatever the chunks, the device or the rank."""

from functools import lru_cache

import torch

_GOLDEN = 0x9E3779B97F4A7C15
_ROUNDS_64 = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_LAST_SHIFT_64 = 31
_ROUNDS_32 = ((16, 0x85EBCA6B), (13, 0xC2B2AE35))


def uniform_noise(seed: int, step: int, start: int, count: int, device: torch.device) -> torch.Tensor:
    """Numbers from the uniform distribution on [0, 1), one for each of ``count`` consecutive entries.

    A counter-based generator on 32-bit words: the finalizer of MurmurHash3 (Appleby, public domain) of
    the entry's index, with 64 bits of key, half before its first round and half before its second. Its
    last fold, which changes the lower half of a word, is left out: the upper 24 bits are used.
    The key is the SplitMix64 finalizer (Steele, Lea and Flood, 2014, doi:10.1145/2660193.2660195) of
    the seed, the step and the upper word of the index.

    Args:
        seed: of the run.
        step: of the run.
        start: index of the first entry, of up to 64 bits.
        count: number of entries.
        device: where the numbers are made; their values do not depend on it.

    Returns:
        float32 ``(count,)``, multiples of 2⁻²⁴.
    """
    upper, lower = divmod(start, 1 << 32)
    if lower + count > 1 << 32:
        here = (1 << 32) - lower
        parts = ((start, here), (start + here, count - here))
        return torch.cat([uniform_noise(seed, step, first, size, device) for first, size in parts])
    key = _mix(_mix(_mix(seed) + step * _GOLDEN) + upper * _GOLDEN)
    state = _counter(1 << (count - 1).bit_length(), device)[:count] + _signed(lower + key)
    scratch = torch.empty_like(state)
    (first_shift, first_factor), (second_shift, second_factor) = _ROUNDS_32
    _fold(state, first_shift, scratch).mul_(_signed(first_factor)).add_(_signed(key >> 32))
    _fold(state, second_shift, scratch).mul_(_signed(second_factor))
    return state.bitwise_right_shift_(8).to(torch.float32).mul_(2.0**-24).add_(0.5)


def reached_level(k: int, size: int) -> float | None:
    """A level that the noise of at least k of ``size`` entries reaches, or None if it is not above 0.

    At the level the number of entries is expected to be k and a further 8 standard deviations, and some
    more for a small k, so that fewer than k are less likely than 1 in 10¹⁴.
    """
    level = 1 - (k + 8 * k**0.5 + 32) / size
    return level if level > 0 else None


@lru_cache(maxsize=1)
def _counter(size: int, device: torch.device) -> torch.Tensor:
    """The numbers from 0 in int32, kept for the calls to come."""
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
