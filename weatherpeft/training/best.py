"""The best weights of a running training so far, in a file that its SHA-256 names."""

import shutil
from collections.abc import Callable, Collection
from pathlib import Path

from weatherpeft.artifacts.manifest import DamagedError
from weatherpeft.training.checkpoint import DAMAGED, sha256, to_disk

Keep = Callable[[Path], None]
"""Writes the weights as they are to a path."""


def write_best(keep: Keep, work: Path) -> str:
    """Write the best weights so far, whole or not at all, and return their SHA-256."""
    work.mkdir(parents=True, exist_ok=True)
    partial = work / "best.partial"
    keep(partial)
    to_disk(partial)
    digest = sha256(partial)
    partial.replace(best_file(work, digest))
    return digest


def best_file(work: Path, digest: str) -> Path:
    """Path of the weights with a SHA-256."""
    return work / f"best-{digest}"


def check_best(work: Path, digest: str) -> None:
    """Check that a file holds the weights with a SHA-256; nothing if it is empty.

    Raises:
        DamagedError: it is missing or holds others.
    """
    path = best_file(work, digest)
    if digest and not path.is_file():
        raise DamagedError(path, "missing", None)
    if digest and sha256(path) != digest:
        raise DamagedError(path, DAMAGED, None)


def copy_best(work: Path, digest: str, path: Path) -> None:
    """Copy the weights with a SHA-256 to a new file.

    Raises:
        DamagedError: they have been damaged.
    """
    own = best_file(work, digest)
    shutil.copyfile(own, path)
    if sha256(path) != digest:
        raise DamagedError(own, f"{DAMAGED}; the same command goes on from before", None)


def remove_best(work: Path, others_than: Collection[str]) -> None:
    """Remove best weights that no checkpoint needs any longer.

    Args:
        work: work directory of the training.
        others_than: SHA-256 of those that stay.
    """
    stay = {best_file(work, digest) for digest in others_than}
    for path in work.glob(f"best-{'[0-9a-f]' * 64}"):
        if path not in stay:
            path.unlink()
