"""The checksum that ECMWF's data stores state for a file.

It is the ETag of the file in their object store, as a hexadecimal number without leading zeros. For a file
that was stored in one piece the ETag is the file's MD5. For a file that was stored in parts it is the MD5 of
the parts' MD5s; only the full ETag, ``<MD5>-<number of parts>``, tells the number of parts.
"""

import hashlib
import re
from pathlib import Path
from typing import BinaryIO

_BLOCK = 2**20
_USUAL_PART = 50 * _BLOCK
"""Bytes in a part by default in the data stores' library, for files whose ETag tells no number of parts."""


def has_checksum(path: Path, checksum: str, etag: str = "") -> bool:
    """Whether a file has the stated checksum, stored in one piece or in parts of whole MiB.

    Args:
        path: file to check.
        checksum: hexadecimal number that the data store states.
        etag: ETag of the download including quotes; empty where there was none.
    """
    stated = int(checksum, 16)
    if _md5_of_file(path) == stated:
        return True
    return any(_md5_of_parts(path, part) == stated for part in _part_sizes(path.stat().st_size, etag))


def _part_sizes(size: int, etag: str) -> list[int]:
    """Sizes of a part in bytes that give the number of parts in an ETag, the likely ones first."""
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
    """The MD5 of the next ``size`` bytes."""
    digest = hashlib.md5(usedforsecurity=False)
    while size > 0 and (block := stream.read(min(size, _BLOCK))):
        digest.update(block)
        size -= len(block)
    return digest.digest()
