"""A copy of the requested part of a Zarr store on the disk, with one chunk for each time."""

import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from weatherpeft.fields.variables import Variable
from weatherpeft.sources.formats.fields import to_minutes
from weatherpeft.sources.formats.files import HOURLY_TIME
from weatherpeft.sources.formats.stores import cause, open_zarr
from weatherpeft.sources.formats.zarr import GRID, Selected, time_name

if TYPE_CHECKING:
    import xarray as xr

_BLOCK_BYTES = 256 * 2**20
"""Bytes of values that a copy holds in memory: whole chunks of the store, at least one along time."""
_log = logging.getLogger(__name__)


def copy_fields(selected: Sequence[Selected], label: str, target: Path, together: bool = False) -> None:
    """Copy fields into a Zarr store, with one chunk for each time. Chunks of an earlier call are kept.

    Args:
        selected: fields to copy.
        label: URL of the source, for messages.
        target: store to write, with the names, units and order of dimensions of the source.
        together: whether a chunk of the source holds all variables, which are then copied chunk by chunk.

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
    parts = [(each, block) for each in selected for block in _blocks(each, 0 if together else _BLOCK_BYTES)]
    if together:
        parts.sort(key=lambda part: int(part[1][0]))
    for each, block in parts:
        stored: Any = group[str(each.array.name)]
        files = [_chunk(target, stored, each.array.dims, number) for number in block]
        if all(file.is_file() for file in files):
            continue
        _log.info("reading %s (%d of %d)", each.key(block[0]), block[0] + 1, each.wanted.size)
        place = tuple(
            slice(block[0], block[-1] + 1) if name == each.time else slice(None) for name in each.array.dims
        )
        with _values(each, block, label, target.parent) as values:
            stored[place] = values


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
                minutes = to_minutes(values[each.wanted]).astype(np.int64)
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


def _blocks(each: Selected, most: int) -> list[NDArray[np.intp]]:
    """Numbers of the wanted times, grouped so that whole chunks of the store are read together.

    Args:
        each: fields to copy.
        most: bytes that a block of several chunks may have.
    """
    if each.time is None:
        return [each.wanted]
    chunks = _chunks(each)
    stored = each.wanted // chunks[each.time]
    others = (max(each.array.sizes[name], chunks[name]) for name in each.array.dims if name != each.time)
    chunk_bytes = 4 * chunks[each.time] * prod(others)
    together = np.unique(stored, return_inverse=True)[1] // max(1, most // chunk_bytes)
    return np.split(np.arange(stored.size), np.flatnonzero(np.diff(together)) + 1)


def _chunks(each: Selected) -> dict[Any, int]:
    """Length of the store's chunks along each dimension; a store without chunks is read time by time."""
    known = each.array.encoding.get("preferred_chunks", {})
    default = {name: 1 if name == each.time else size for name, size in each.array.sizes.items()}
    return {name: int(known.get(name, size)) for name, size in default.items()}


@contextmanager
def _values(
    each: Selected, block: NDArray[np.intp], label: str, folder: Path
) -> Iterator[NDArray[np.float32]]:
    """Fields at some times, in the store's order of dimensions.

    Where chunks are long in time, the fields are more than memory should hold. They are then read a few
    chunks at a time and put together in a file, which is removed afterwards.

    Raises:
        ValueError: a field cannot be read, was never written, or has NaN. The message names the first one.
    """
    tiles = list(_tiles(_runs(each), _BLOCK_BYTES // (4 * block.size)))
    if len(tiles) == 1:
        array = _read(each, block, {}, label)
        _check(each, block, array, label)
        yield array.values
        return
    shape = tuple(block.size if name == each.time else size for name, size in each.array.sizes.items())
    with TemporaryFile(dir=folder) as scratch:
        values = np.memmap(scratch, np.float32, "w+", shape=shape)
        whole = each.at(block).copy(data=values)
        for tile in tiles:
            place = tuple(tile.get(str(name), slice(None)) for name in each.array.dims)
            values[place] = _read(each, block, tile, label).values
        for number in range(block.size):
            one = slice(number, number + 1)
            _check(each, block[one], whole.isel({each.time: one}) if each.time else whole, label)
        yield values


def _runs(each: Selected) -> dict[str, list[slice]]:
    """For each dimension but time, what of it lies in one chunk of the store after another."""
    chunks = _chunks(each)
    runs = {}
    for name, places in each.places.items():
        borders = np.flatnonzero(np.diff(places // chunks[name])) + 1
        ends = [0, *borders.tolist(), places.size]
        runs[name] = [slice(start, end) for start, end in zip(ends, ends[1:], strict=False)]
    return runs


def _tiles(runs: Mapping[str, list[slice]], most: int) -> Iterator[dict[str, slice]]:
    """Boxes of whole chunks with up to so many values, or of one chunk each.

    >>> list(_tiles({"latitude": [slice(0, 2), slice(2, 4)], "longitude": [slice(0, 3)]}, 6))
    [{'latitude': slice(0, 2, None), 'longitude': slice(0, 3, None)}, \
{'latitude': slice(2, 4, None), 'longitude': slice(0, 3, None)}]
    """
    box = {name: slice(parts[0].start, parts[-1].stop) for name, parts in runs.items()}
    longest = max(runs, key=lambda name: len(runs[name]))
    half = len(runs[longest]) // 2
    if half == 0 or prod(part.stop - part.start for part in box.values()) <= most:
        yield box
        return
    for parts in (runs[longest][:half], runs[longest][half:]):
        yield from _tiles({**runs, longest: parts}, most)


def _read(each: Selected, block: NDArray[np.intp], tile: Mapping[str, slice], label: str) -> "xr.DataArray":
    """A part of the fields at some times; what was never written is NaN where the store says so."""
    try:
        array = each.at(block).isel(tile).astype(np.float32).load()
    except Exception as error:  # depends on file system and codec
        raise ValueError(f"{label}: {each.key(block[0])}: cannot read the values ({cause(error)})") from error
    fill = _fill_value(each.array)
    return array.where(array != np.float32(fill)) if np.isfinite(fill) and fill != 0 else array


def _check(each: Selected, block: NDArray[np.intp], array: "xr.DataArray", label: str) -> None:
    """Refuse fields with NaN, or without any value."""
    holes = array.isnull()
    never_written = _fill_value(each.array) == 0 and not _may_be_zero(each.row)
    empty = ((array == 0) if never_written else holes).all(GRID)
    faulty = empty if each.row.partial else empty | holes.any(GRID)
    if faulty.any():
        first = np.argwhere(faulty.values)[0]
        place = {str(name): int(index) for name, index in zip(faulty.dims, first, strict=True)}
        level = int(array["level"][place["level"]]) if "level" in place else None
        key = each.key(int(block[place.get(each.time or "", 0)]), level)
        found = "no value at all" if empty[place] else f"{int(holes[place].sum())} NaN"
        raise ValueError(f"{label}: {key}: expected finite values, found {found}")


def _may_be_zero(row: Variable) -> bool:
    """Whether zero at every point of a field is weather: no rain, no cloud, no land."""
    return row.kind in ("accumulated", "static") or row.units in ("1", "m", "%")


def _fill_value(array: "xr.DataArray") -> float:
    """The value that stands for chunks that were never written; NaN where there are no such chunks.

    Format 2 has it among the attributes.
    """
    default = 0.0 if "chunks" in array.encoding else np.nan
    return float(array.attrs.get("_FillValue", array.encoding.get("fill_value", default)))


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
