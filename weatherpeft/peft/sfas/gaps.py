"""Sets of entries in few bytes: the gaps between them, in as many bytes as each gap needs.

The code is LEB128, the variable-length integers of DWARF and WebAssembly: seven bits a byte, the lowest
first. All bytes of a number but the last one have the highest bit set.
"""

import torch

_LENGTHS = 9
"""Most bytes of a number below 2⁶³."""


def coded(index: torch.Tensor) -> torch.Tensor:
    """Ascending indices as bytes.

    Args:
        index: ``(entry,)`` int64, from 0 on, ascending without repeats.

    Returns:
        ``(byte,)`` uint8: the first index, then each one's distance to the one before.

    >>> coded(torch.tensor([3, 4, 200])).tolist()
    [3, 1, 196, 1]
    """
    gaps = index.diff(prepend=index.new_zeros(1))
    if index.numel() and (int(index[0]) < 0 or bool((gaps[1:] <= 0).any())):
        raise ValueError("expected indices from 0 on, ascending without repeats")
    lengths = torch.ones_like(gaps)
    for more in range(1, _LENGTHS):
        lengths += gaps >= 1 << 7 * more
    ends = lengths.cumsum(0)
    codes = torch.empty(int(ends[-1]) if len(ends) else 0, dtype=torch.uint8, device=index.device)
    for place in range(int(lengths.max()) if len(lengths) else 0):
        longer = lengths > place
        part = (gaps[longer] >> 7 * place) & 127
        going_on = (lengths[longer] > place + 1).to(part.dtype) << 7
        codes[(ends - lengths)[longer] + place] = (part | going_on).to(torch.uint8)
    return codes


def decoded(codes: torch.Tensor) -> torch.Tensor:
    """The indices that ``coded`` made bytes of.

    Args:
        codes: ``(byte,)`` uint8.

    Returns:
        ``(entry,)`` int64.

    Raises:
        ValueError: the bytes are none of ``coded``.

    >>> decoded(torch.tensor([3, 1, 196, 1], dtype=torch.uint8)).tolist()
    [3, 4, 200]
    """
    if codes.dtype != torch.uint8 or codes.ndim != 1:
        raise ValueError(f"expected bytes, found {codes.dtype} of shape {tuple(codes.shape)}")
    ends = (codes < 128).nonzero().squeeze(1)
    starts = torch.cat([ends.new_zeros(min(len(ends), 1)), ends[:-1] + 1])
    lengths = ends - starts + 1
    broken_off = len(codes) > 0 and (not len(ends) or int(ends[-1]) != len(codes) - 1)
    if broken_off or bool((lengths > _LENGTHS).any()):
        raise ValueError("expected whole numbers of up to 63 bits, found other bytes")
    gaps = torch.zeros_like(ends)
    for place in range(int(lengths.max()) if len(lengths) else 0):
        longer = lengths > place
        gaps[longer] |= (codes[starts[longer] + place].to(torch.int64) & 127) << 7 * place
    return gaps.cumsum(0)
