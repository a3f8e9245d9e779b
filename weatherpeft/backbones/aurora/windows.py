"""Which grids of tokens upstream can split into windows; light, since the spec asks."""

from collections.abc import Sequence
from math import prod

Sizes = tuple[int, int, int]
"""Levels, rows and columns."""


def splits(tokens: Sizes, window: Sizes) -> bool:
    """Whether upstream can split one sample's tokens into windows.

    It orders them by windows and takes the result for contiguous. That holds if they had to be copied, or if
    the windows lay one behind the other from the start. It does not hold where the order is that of a view,
    such as of windows in one row that each hold all levels.

    >>> splits((2, 4, 8), (2, 2, 4)), splits((4, 2, 8), (2, 2, 4)), splits((2, 2, 8), (2, 2, 4))
    (True, True, False)
    """
    own = [min(size, count) for size, count in zip(window, tokens, strict=True)]
    counts = [-(-count // size) for size, count in zip(own, tokens, strict=True)]
    strides = [prod(own[axis + 1 :]) * prod(counts[axis + 1 :]) for axis in range(3)]
    inside = list(zip(own, strides, strict=True))
    windows = [(count, size * stride) for count, (size, stride) in zip(counts, inside, strict=True)]
    return _is_one_axis(inside) or not _is_one_axis(windows)


def _is_one_axis(axes: Sequence[tuple[int, int]]) -> bool:
    """Whether axes, each a length and a stride, are one axis without a copy."""
    long = [axis for axis in axes if axis[0] > 1]
    return all(stride == length * inner for (_, stride), (length, inner) in zip(long, long[1:], strict=False))
