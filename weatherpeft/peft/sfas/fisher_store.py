"""The Fisher warm-up's Zarr store: one float32 array for each backbone parameter."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
import zarr

_CHUNK_ENTRIES = 2**22


def write_fisher(directory: Path, fisher: Iterable[tuple[str, torch.Tensor]], samples: int) -> None:
    """Write a new store. The same values give the same bytes.

    Args:
        directory: directory of the store; it must not exist.
        fisher: pairs of a parameter's name and its diagonal Fisher information, in the parameter's shape.
        samples: number of calibration samples, which the store keeps as an attribute.
    """
    group = zarr.create_group(directory, zarr_format=3, attributes={"samples": samples})
    for name, values in fisher:
        row = max(1, values[0].numel()) if values.dim() else 1
        rows = max(1, min(_CHUNK_ENTRIES // row, len(values))) if values.dim() else 1
        chunks = (rows, *values.shape[1:]) if values.dim() else ()
        array = group.create_array(name, shape=tuple(values.shape), chunks=chunks, dtype="float32")
        array[...] = values.detach().to("cpu", torch.float32).numpy()


def read_fisher(directory: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Read a store parameter by parameter.

    Args:
        directory: directory of the store.

    Yields:
        Name and diagonal Fisher information, float32 in the parameter's shape, in the order of the names.

    Raises:
        ValueError: there is no such store.
    """
    try:
        group = zarr.open_group(directory, mode="r")
    except FileNotFoundError as error:
        raise ValueError(f"found no Fisher store at {directory}") from error
    for name, array in sorted(group.arrays()):
        yield name, torch.from_numpy(np.asarray(array[...]))
