"""A copy of the requested part of a Zarr store on the disk, with one chunk for each time."""

import logging
import shutil
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from weatherpeft.sources.formats.files import HOURLY_TIME
from weatherpeft.sources.formats.zarr import GRID, Selected, cause, open_zarr, time_name

if TYPE_CHECKING:
    import xarray as xr

_BLOCK_BYTES = 256 * 2**20
"""Bytes of values that a copy holds in memory: whole chunks of the store, at least one along time."""
_log = logging.getLogger(__name__)


def copy_fields(selected: Sequence[Selected], label: str, target: Path) -> None:
    """Copy fields into a Zarr store, with one chunk for each time. Chunks of an earlier call are kept.

    Args:
        selected: fields to copy.
        label: URL of the source, for messages.
        target: store to write, with the names, units and order of dimensions of the source.

    Raises:
        ValueError: values cannot be read or are not finite. The message names variable and time.
    """
    import zarr

    if not target.exists():
        fresh = target.with_name(f".{target.name}")
        shutil.rmtree(fresh, ignore_errors=True)
        _create(fresh, selected)
        fresh.rename(target)
    group = zarr.open_group(target, mode="r+")
    for each in selected:
        stored: Any = group[str(each.array.name)]
        for block in _blocks(each):
            files = [_chunk(target, stored, each.array.dims, number) for number in block]
            if all(file.is_file() for file in files):
                continue
            _log.info("reading %s (%d of %d)", each.key(block[0]), block[0] + 1, each.wanted.size)
            place = tuple(
                slice(block[0], block[-1] + 1) if name == each.time else slice(None)
                for name in each.array.dims
            )
            stored[place] = _read(each, block, label)


def _create(path: Path, selected: Sequence[Selected]) -> None:
    """Write the metadata and coordinates of a store, without its fields."""
    import zarr
    from zarr.codecs import BloscCodec

    from weatherpeft.artifacts.chunks import CODECS, with_checksum

    group = zarr.create_group(path, zarr_format=3)
    compressor = BloscCodec(cname="zstd", clevel=3, shuffle="shuffle", typesize=4)
    for each in selected:
        axes: dict[str, tuple[NDArray[Any], dict[str, str]]] = {}
        for name in map(str, each.array.dims):
            values = each.array[name].values
            if name == each.time:
                minutes = values[each.wanted].astype("datetime64[m]").astype(np.int64)
                attributes = {"units": "minutes since 1970-01-01", "calendar": "proleptic_gregorian"}
                axes[HOURLY_TIME if each.row.kind == "accumulated" else "time"] = minutes, attributes
            else:
                axes[name] = values, {}
        for name, (values, attributes) in axes.items():
            if name not in group:
                group.create_array(
                    name,
                    data=values,
                    compressors=CODECS,
                    dimension_names=[name],
                    attributes={**attributes},
                )
        known = ("units", "long_name", "short_name")
        group.create_array(
            str(each.array.name),
            shape=[values.size for values, _ in axes.values()],
            chunks=tuple(1 if name.endswith("time") else values.size for name, (values, _) in axes.items()),
            dtype="float32",
            fill_value=np.nan,
            compressors=with_checksum(compressor),
            dimension_names=list(axes),
            attributes={name: str(each.array.attrs[name]) for name in known if name in each.array.attrs},
        )


def _blocks(each: Selected) -> list[NDArray[np.intp]]:
    """Numbers of the wanted times, grouped so that whole chunks of the store are read together."""
    if each.time is None:
        return [each.wanted]
    array = each.array
    chunks = dict(zip(array.dims, array.encoding["chunks"], strict=True))
    stored = each.wanted // chunks[each.time]
    others = (max(array.sizes[name], chunks[name]) for name in array.dims if name != each.time)
    chunk_bytes = 4 * chunks[each.time] * prod(others)
    together = np.unique(stored, return_inverse=True)[1] // max(1, _BLOCK_BYTES // chunk_bytes)
    return np.split(np.arange(stored.size), np.flatnonzero(np.diff(together)) + 1)


def _read(each: Selected, block: NDArray[np.intp], label: str) -> NDArray[np.float32]:
    """Fields at some times, in the store's order of dimensions.

    Raises:
        ValueError: a field cannot be read, was never written, or has NaN. The message names the first one.
    """
    array = each.at(block)
    try:
        array = array.astype(np.float32).load()
    except Exception as error:  # depends on file system and codec
        raise ValueError(f"{label}: {each.key(block[0])}: cannot read the values ({cause(error)})") from error
    fill = _fill_value(each.array)
    if np.isfinite(fill) and fill != 0:
        array = array.where(array != np.float32(fill))
    holes = array.isnull()
    empty = ((array == 0) if fill == 0 else holes).all(GRID)
    faulty = empty if each.row.partial else empty | holes.any(GRID)
    if faulty.any():
        first = np.argwhere(faulty.values)[0]
        place = {str(name): int(index) for name, index in zip(faulty.dims, first, strict=True)}
        level = int(array["level"][place["level"]]) if "level" in place else None
        key = each.key(int(block[place.get(each.time or "", 0)]), level)
        found = "no value at all" if empty[place] else f"{int(holes[place].sum())} NaN"
        raise ValueError(f"{label}: {key}: expected finite values, found {found}")
    return array.values


def _fill_value(array: "xr.DataArray") -> float:
    """The value that stands for chunks that were never written; format 2 has it among the attributes."""
    return float(array.attrs.get("_FillValue", array.encoding.get("fill_value", 0.0)))


def open_copy(path: Path) -> "xr.Dataset":
    """Open a store that ``copy_fields`` wrote.

    Raises:
        ValueError: the store cannot be opened or lacks a chunk. The message names it.
    """
    import zarr
    from zarr.storage import LocalStore

    from weatherpeft.artifacts import chunks  # noqa: F401  names the chunk in errors

    try:
        group = zarr.open_group(path, mode="r")
        dataset = open_zarr(LocalStore(path, read_only=True), False)
    except Exception as error:  # raised by zarr, xarray or json
        raise ValueError(f"{path}: cannot open the copied store ({cause(error)})") from error
    for name, array in dataset.data_vars.items():
        time = time_name(array)
        for number in range(array.sizes[time] if time else 1):
            file = _chunk(path, group[str(name)], array.dims, number)
            if not file.is_file():
                raise ValueError(f"{file}: missing; the copied store is not complete")
    return dataset


def _chunk(path: Path, stored: Any, dims: Sequence[Any], number: int) -> Path:
    """Path of the chunk that holds a time."""
    place = tuple(number if str(name).endswith("time") else 0 for name in dims)
    return path / str(stored.basename) / str(stored.metadata.encode_chunk_key(place))
