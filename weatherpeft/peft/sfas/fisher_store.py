"""The Fisher warm-up's Zarr store: float32 arrays of each backbone parameter.

The root holds the diagonal Fisher information, the group ``gradient`` the mean gradient.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
import zarr

from weatherpeft.artifacts.chunks import CODECS
from weatherpeft.artifacts.manifest import check_store

_CHUNK_ENTRIES = 2**22


_Values = Iterable[tuple[str, torch.Tensor]]
_GRADIENT = "gradient"


def write_fisher(directory: Path, fisher: _Values, samples: int, gradient: _Values = ()) -> None:
    """Write a new store. The same values give the same bytes.

    Args:
        directory: directory of the store; it must not exist.
        fisher: pairs of a parameter's name and its diagonal Fisher information, in the parameter's shape.
        samples: number of calibration samples, which the store keeps as an attribute.
        gradient: pairs of a parameter's name and its mean gradient, likewise.
    """
    group = zarr.create_group(directory, zarr_format=3, attributes={"samples": samples})
    _write(group, fisher)
    _write(group.create_group(_GRADIENT), gradient)


def _write(group: zarr.Group, arrays: _Values) -> None:
    for name, values in arrays:
        row = max(1, values[0].numel()) if values.dim() else 1
        rows = max(1, min(_CHUNK_ENTRIES // row, len(values))) if values.dim() else 1
        chunks = (rows, *values.shape[1:]) if values.dim() else ()
        shape = tuple(values.shape)
        array = group.create_array(name, shape=shape, chunks=chunks, dtype="float32", compressors=CODECS)
        array[...] = values.detach().to("cpu", torch.float32).numpy()


def read_fisher(directory: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Read a store's diagonal Fisher information parameter by parameter.

    Args:
        directory: directory of the store.

    Yields:
        Name and diagonal Fisher information, float32 in the parameter's shape, in the order of the names.

    Raises:
        ValueError: there is no such store, or it is one of another version.
        DamagedError: a file is missing, foreign or damaged.
    """
    return _read(directory, "")


def read_mean_gradient(directory: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Read a store's mean gradient parameter by parameter, as ``read_fisher`` does."""
    return _read(directory, _GRADIENT)


def _read(directory: Path, path: str) -> Iterator[tuple[str, torch.Tensor]]:
    check_store(directory)
    try:
        group = zarr.open_group(directory, path=path, mode="r")
    except FileNotFoundError as error:
        raise ValueError(f"found no Fisher store at {directory}") from error
    for name, array in sorted(group.arrays()):
        yield name, torch.from_numpy(np.asarray(array[...]))
