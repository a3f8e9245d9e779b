"""The store of one grid, with all instantaneous fields in one array.

``fields`` has dims ``([member,] time, channel, latitude, longitude)``. Its channels are in the order of
``VariableSet.channels``. A chunk is one time of one member, which training reads at once. A shard is many
times, which one process writes at once. Hourly sums and static fields are arrays of their own.
``store.open_dataset`` shows such a store by variable, and ``StoredFields`` reads it fast.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from weatherpeft.artifacts import store
from weatherpeft.artifacts.manifest import DamagedError, artifact_of
from weatherpeft.fields.grid import Grid
from weatherpeft.fields.variables import VariableSet, channel_label

if TYPE_CHECKING:
    import xarray as xr

_ENTRY, _CHECKSUM = 16, 4
"""Bytes of a chunk's offset and length in the table of a shard, and of its checksum."""
_SHARD_TIMES = 64
_SHARD_BYTES = 160 * 2**20


def shard_times(grids: Sequence[Grid], variables: VariableSet) -> int:
    """Number of times in a shard: up to 64, fewer if the fields of one member would not fit in memory.

    Args:
        grids: grids of the stores, which share the number.
        variables: variables of the stores.
    """
    cells = max(grid.shape[0] * grid.shape[1] for grid in grids)
    per_time = 4 * cells * max(len(variables.channels()), 1)
    return max(1, min(_SHARD_TIMES, _SHARD_BYTES // per_time))


class FieldWriter:
    """Creates a store and fills it, one shard at a time.

    Args:
        path: path of the new store.
        like: dataset with the dims, coordinates and attributes of the store, except latitude and longitude.
        grid: grid of the store.
        variables: names of the instantaneous fields.
        shard_times: number of times in a shard.
        attributes: attributes of the store, in addition to those of ``like``.
        packing: ``scale``, ``offset`` and further descriptions of int16 fields, ``(channel,)`` each, after
            the transformation of a variable that has one. Without it the fields are float32.
    """

    def __init__(
        self,
        path: Path,
        like: "xr.Dataset",
        grid: Grid,
        variables: VariableSet,
        shard_times: int,
        attributes: Mapping[str, Any],
        packing: Mapping[str, NDArray[np.float64]] | None = None,
    ) -> None:
        import dask.array
        import xarray as xr
        import zarr
        from zarr.codecs import BloscCodec

        channels = variables.channels()
        coordinates: dict[str, Any] = {str(name): array.variable for name, array in like.coords.items()}
        coordinates["latitude"] = ("latitude", grid.latitude, {"units": "degrees_north"})
        coordinates["longitude"] = ("longitude", grid.longitude, {"units": "degrees_east"})
        arrays: dict[str, Any] = {name: ("channel", values) for name, values in (packing or {}).items()}
        encoding: dict[str, Any] = {}

        def add(name: str, dims: tuple[str, ...], dtype: str, attrs: dict[str, Any]) -> None:
            shape = tuple(sizes[dim] for dim in dims)
            timed = [dim.endswith("time") for dim in dims]
            chunk = tuple(1 if dim == "member" or dim.endswith("time") else sizes[dim] for dim in dims)
            shard = tuple(
                min(shard_times, size) if is_time else length
                for is_time, size, length in zip(timed, shape, chunk, strict=True)
            )
            arrays[name] = (dims, dask.array.zeros(shape, dtype=dtype, chunks=shape), attrs)
            size = np.dtype(dtype).itemsize
            encoding[name] = {
                "chunks": chunk,
                "shards": shard if any(timed) else None,
                "compressors": BloscCodec(
                    cname="lz4", clevel=9, shuffle="shuffle" if size == 4 else "bitshuffle", typesize=size
                ),
                "_FillValue": None,
            }

        sizes = {
            **{str(dim): size for dim, size in like.sizes.items()},
            "channel": len(channels),
            "latitude": grid.shape[0],
            "longitude": grid.shape[1],
        }
        if channels:
            coordinates["channel"] = [channel_label(name, level) for name, level in channels]
            names = variables.model_dump(
                mode="json", include={"surface", "atmospheric", "levels_hpa", "define"}
            )
            members = ("member",) if "member" in like[channels[0][0]].dims else ()
            dims = (*members, "time", "channel", "latitude", "longitude")
            add(store.FIELDS, dims, "int16" if packing else "float32", names)
        for name, array in like.data_vars.items():
            if name not in (*variables.surface, *variables.atmospheric):
                add(str(name), tuple(map(str, array.dims)), "float32", array.attrs)
        dataset = xr.Dataset(arrays, coordinates, attrs={**like.attrs, **attributes})
        store.write_dataset(dataset, path, compute=False, encoding=encoding)
        self._group: Any = zarr.open_group(path, mode="r+")

    def blocks(self, name: str) -> Iterator[tuple[Any, ...]]:
        """The parts of an array that are written at once: one member and the times of one shard.

        Args:
            name: name of the array.

        Yields:
            Indices into the dims ``member`` (a number) and ``time`` or ``hourly_time`` (a slice), if the
            array has them.
        """
        array = self._group[name]
        axes: list[list[int | slice]] = []
        lengths = array.shards or array.shape
        for dim, size, length in zip(array.metadata.dimension_names, array.shape, lengths, strict=True):
            if dim == "member":
                axes.append(list(range(size)))
            elif dim.endswith("time"):
                axes.append([slice(first, min(first + length, size)) for first in range(0, size, length)])
        yield from product(*axes)

    def write(self, name: str, place: tuple[Any, ...], values: NDArray[Any]) -> None:
        """Fill a part of an array.

        Args:
            name: name of the array.
            place: one of its ``blocks``, or ``()`` for the whole array.
            values: values of that part, in its shape up to dims of length 1.
        """
        array = self._group[name]
        inner = array.shape[len(place) :]
        array[place] = values.reshape(-1, *inner) if place else values.reshape(inner)


class StoredFields:
    """Reads the fields of a store, at one time and for one member per call.

    Attributes:
        times: valid times, ``(time,)``.
        members: numbers of the ensemble members; empty if the data has no member dimension.

    Args:
        path: path of the store.
        names: names of time-dependent variables.

    Raises:
        ValueError: there is no store, a variable is not among its fields, or its layout is not that of
            ``FieldWriter``.
    """

    def __init__(self, path: Path, names: tuple[str, ...]) -> None:
        dataset = store.open_stored(path)
        self._places = store.channel_places(dataset)
        for name in names:
            if name not in self._places:
                found = ", ".join(map(str, store.canonical(dataset).data_vars))
                raise ValueError(f"{path}: variable {name} is missing; found {found}")
        self._names = names
        self.times: NDArray[np.datetime64] = dataset["time"].values
        self.members: list[int] = dataset["member"].values.tolist() if "member" in dataset.dims else []
        self._packing: tuple[NDArray[np.float32], ...] | None = None
        if "scale" in dataset:
            self._packing = tuple(dataset[name].values.astype(np.float32) for name in ("scale", "offset"))
            self._own = store.defined(dataset)
        self._chunks = _Chunks(path, dataset[store.FIELDS]) if names else None

    def read(self, time: int, member: int | None) -> dict[str, NDArray[np.float32]]:
        """Fields ``([level,] latitude, longitude)`` by name.

        Args:
            time: index into ``times``.
            member: index into ``members``; None if there are none.

        Raises:
            DamagedError: a chunk is missing or damaged. The message names the file.
        """
        if self._chunks is None:
            return {}
        values = self._chunks.read(time, member)
        if not self._packing:
            return {name: values[self._places[name]] for name in self._names}
        fields = unpack(values, *self._packing)
        return self._own.in_units({name: fields[self._places[name]] for name in self._names})


class StoredSums:
    """Reads the hourly sums of a store.

    Attributes:
        times: ends of the hours, ``(hourly_time,)``.

    Args:
        path: path of the store.
        name: name of the hourly variable.

    Raises:
        ValueError: there is no store, it lacks the variable, or its layout is not that of ``FieldWriter``.
    """

    def __init__(self, path: Path, name: str) -> None:
        dataset = store.open_stored(path)
        if name not in dataset:
            raise ValueError(f"{path}: variable {name} is missing; found {', '.join(map(str, dataset))}")
        self.times: NDArray[np.datetime64] = dataset["hourly_time"].values
        self._chunks = _Chunks(path, dataset[name])

    def read(self, time: int, member: int | None) -> NDArray[np.float32]:
        """One field, ``(latitude, longitude)``.

        Args:
            time: index into ``times``.
            member: index of the ensemble member; None if there are none.

        Raises:
            DamagedError: a chunk is missing or damaged. The message names the file.
        """
        return self._chunks.read(time, member)


class _Chunks:
    """Reads an array that ``FieldWriter`` wrote, one chunk at a time.

    A chunk is decompressed directly into the array that is returned. General readers of Zarr take half as
    long again, because they decompress into memory of their own and copy.
    """

    def __init__(self, path: Path, array: "xr.DataArray") -> None:
        self._path = path / str(array.name)
        dim = next(str(dim) for dim in array.dims if str(dim).endswith("time"))
        axis = array.dims.index(dim)
        self._times = array[dim].values
        self._dtype, self._shape = array.dtype, array.shape[axis + 1 :]
        metadata = json.loads((self._path / "zarr.json").read_text())
        self._shard_times: int = metadata["chunk_grid"]["configuration"]["chunk_shape"][axis]
        sharding = metadata["codecs"][0].get("configuration", {})
        names = [codec["name"] for codec in (*metadata["codecs"], *sharding.get("codecs", []))]
        chunk = sharding.get("chunk_shape")
        expected = ["sharding_indexed", "bytes", "blosc", "crc32c"]
        if names != expected or chunk != [1] * (axis + 1) + list(self._shape):
            raise ValueError(
                f"{self._path}: expected shards of chunks of one time in blosc with crc32c,"
                f" found {', '.join(names)} with chunks {chunk}; write it anew"
            )

    def read(self, time: int, member: int | None) -> NDArray[Any]:
        """One chunk. A shard ends in a table of its chunks' offsets and lengths and the table's checksum."""
        from numcodecs import blosc

        shard, row = divmod(time, self._shard_times)
        outer = () if member is None else (member,)
        path = self._path.joinpath("c", *map(str, (*outer, shard, *(0 for _ in self._shape))))
        result = np.empty(self._shape, self._dtype)
        try:
            with path.open("rb") as file:
                file.seek(-_ENTRY * self._shard_times - _CHECKSUM, os.SEEK_END)
                table = _verified(file, _ENTRY * self._shard_times)
                offset, length = np.frombuffer(table, "<u8", 2, _ENTRY * row).tolist()
                file.seek(offset)
                blosc.decompress(_verified(file, length - _CHECKSUM), result)
        except (OSError, OverflowError, ValueError, RuntimeError) as error:
            problem = f"cannot read time {self._times[time]}, inner chunk {row} ({error})"
            raise DamagedError(path, problem, artifact_of(path)) from error
        return result


def _verified(file: BinaryIO, length: int) -> bytes:
    """Read bytes that are followed by their checksum."""
    from fastcrc.crc32 import iscsi as crc32c

    content = file.read(max(length, 0))
    if crc32c(content).to_bytes(_CHECKSUM, "little") != file.read(_CHECKSUM):
        raise ValueError("its checksum is wrong")
    return content


def unpack(
    values: NDArray[np.int16], scale: NDArray[np.float32], offset: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Packed values × scale + offset in float32.

    The computation goes channel by channel, so that a channel stays in the cache.

    Args:
        values: packed values, ``(channel, latitude, longitude)``.
        scale: units of the field per integer, ``(channel,)``.
        offset: value of the integer 0 in units of the field, ``(channel,)``.

    Returns:
        ``(channel, latitude, longitude)``, in units of the field.
    """
    result = np.empty(values.shape, np.float32)
    for channel, field in enumerate(result):
        field[...] = values[channel]
        field *= scale[channel]
        field += offset[channel]
    return result
