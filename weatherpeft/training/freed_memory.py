"""How the C library handles freed memory."""

import ctypes

_M_MMAP_THRESHOLD = -3
"""The parameter of glibc's ``mallopt``."""


def give_freed_memory_back(smallest: int) -> None:
    """Make glibc return freed blocks to the system; with another C library, do nothing.

    By default glibc adapts the smallest size that it returns: whenever it returns a block, it raises that
    size to the size of the block, up to 32 MiB. It keeps smaller gaps that lie in front of memory in use.

    Args:
        smallest: size in bytes from which a freed block is returned. Each such block costs a system call.

    Reference: ``M_MMAP_THRESHOLD`` in mallopt(3).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(_M_MMAP_THRESHOLD, smallest)
