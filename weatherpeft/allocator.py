"""What the C library does with memory that is freed."""

import ctypes

_M_MMAP_THRESHOLD = -3
"""Of glibc's mallopt."""


def give_freed_memory_back(smallest: int) -> None:
    """Have glibc give blocks back to the system when they are freed; of another C library nothing is asked.

    By itself glibc raises the size from which it does so to that of what it has given back, at most 32 MiB,
    and keeps smaller gaps where something that is in use lies behind them.

    Args:
        smallest: bytes from which on a block is given back; each takes a call of the system.

    Reference: ``M_MMAP_THRESHOLD`` in mallopt(3).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(_M_MMAP_THRESHOLD, smallest)
