"""The checksum that ECMWF's data stores state for a file.

It is the ETag of the file in their object store, read as a number and written in hexadecimal without
leading zeros: the MD5 of a file that was stored in one piece, and of a file that was stored in
parts the MD5 of its parts' MD5s, where only the full ETag, ``<MD5>-<number of parts>``, has the number.
"""

import hashlib
import re
from pathlib import Path
from typing import BinaryIO

_BLOCK = 2**20
_USUAL_PART = 50 * _BLOCK
"""Of the library that the data stores write with, where no ETag tells the number."""


def has_checksum(path: Path, checksum: str, etag: str = "") -> bool:
    """Whether a file has the stated checksum, stored in one piece or in parts of whole MiB.

    Args:
        path: of the file.
        checksum: hexadecimal, as the data store states it.
        etag: of the download, quotes included; empty where there was none.
    """
    stated = int(checksum, 16)
    if _md5_of_file(path) == stated:
        return True
    return any(_md5_of_parts(path, part) == stated for part in _part_sizes(path.stat().st_size, etag))


def _part_sizes(size: int, etag: str) -> list[int]:
    """Bytes of a part that would give the number of parts in an ETag, the likely ones first."""
    match = re.search(r"-(\d+)\"?$", etag)
    if match is None:
        return [_USUAL_PART]
    sizes = range(_BLOCK, size + _BLOCK, _BLOCK)
    return sorted(
        (part for part in sizes if -(-size // part) == int(match[1])),
        key=lambda part: abs(part - _USUAL_PART),
    )


def _md5_of_file(path: Path) -> int:
    with path.open("rb") as stream:
        return int.from_bytes(_md5(stream, path.stat().st_size))


def _md5_of_parts(path: Path, part: int) -> int:
    with path.open("rb") as stream:
        digests = [_md5(stream, part) for _ in range(0, path.stat().st_size, part)]
    return int.from_bytes(hashlib.md5(b"".join(digests), usedforsecurity=False).digest())


def _md5(stream: BinaryIO, size: int) -> bytes:
    """Of the next ``size`` bytes."""
    digest = hashlib.md5(usedforsecurity=False)
    while size > 0 and (block := stream.read(min(size, _BLOCK))):
        digest.update(block)
        size -= len(block)
    return digest.digest()
