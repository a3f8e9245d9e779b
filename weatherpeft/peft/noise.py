"""Noise as a function of (seed, step, entry), whatever the chunks, the device or the rank."""

import torch

_GOLDEN = 0x9E3779B97F4A7C15
_ROUNDS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_LAST_SHIFT = 31


def uniform_noise(seed: int, step: int, start: int, count: int, device: torch.device) -> torch.Tensor:
    """Numbers from the uniform distribution on [0, 1), one for each of ``count`` consecutive entries.

    A counter-based generator: the SplitMix64 finalizer (Steele, Lea and Flood, 2014,
    doi:10.1145/2660193.2660195) of the entry's index, keyed by the seed and the step.

    Args:
        seed: of the run.
        step: of the run.
        start: index of the first entry.
        count: number of entries.
        device: where the numbers are made; their values do not depend on it.

    Returns:
        float32 ``(count,)``, multiples of 2⁻²⁴.
    """
    key = _mix(_mix(seed) + step * _GOLDEN)
    state = torch.arange(start, start + count, dtype=torch.int64, device=device)
    state.mul_(_signed(_GOLDEN)).add_(_signed(key))
    for shift, factor in _ROUNDS:
        state.bitwise_xor_(_shift_right(state, shift)).mul_(_signed(factor))
    state.bitwise_xor_(_shift_right(state, _LAST_SHIFT))
    return _shift_right(state, 40).to(torch.float32).mul_(2.0**-24)


def _mix(state: int) -> int:
    """The same finalizer on a Python integer, modulo 2⁶⁴."""
    modulus = 1 << 64
    state %= modulus
    for shift, factor in _ROUNDS:
        state = (state ^ (state >> shift)) * factor % modulus
    return state ^ (state >> _LAST_SHIFT)


def _shift_right(state: torch.Tensor, bits: int) -> torch.Tensor:
    """Shift as if int64 were unsigned."""
    return (state >> bits) & ((1 << (64 - bits)) - 1)


def _signed(value: int) -> int:
    """The int64 with the bits of an unsigned 64-bit integer."""
    return value - (1 << 64) if value >> 63 else value
