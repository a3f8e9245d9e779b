"""What checksums cost a training that reads samples at random.

    python benchmarks/checksums.py [--output table.json|table.csv]

The training's reader reads the same stores in the same random order as it is, and as it was before chunks had
checksums. The two take turns at every sample. *Chunk* is the reading of one time, *sample* a sample of a
six-hour forecast as the training gets it, on the grid of the stores, with nothing in the reader's cache.
Times are CPU milliseconds: for each sample the least of all rounds, and of these the mean. *Ratio* is that
with checksums over that without. The fields are those of ``era5_like``.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from data import START, _write_stores
from era5_like import FIELDS
from numcodecs import blosc
from table import machine, save, show

from weatherpeft.artifacts import fields
from weatherpeft.artifacts.field_store import _CHECKSUM, _ENTRY, StoredFields, _Chunks
from weatherpeft.fields.grid import Grid
from weatherpeft.fields.variables import FieldSet
from weatherpeft.samples.batch import Samples
from weatherpeft.samples.splits import Split
from weatherpeft.samples.window import Window
from weatherpeft.spec import Period

Read = Callable[[int], object]
NAMES = (*FIELDS.surface, *FIELDS.atmospheric)
STORES = {"float32": "ours", "int16": "ours, int16 to float32"}


def read_unchecked(chunks: _Chunks, time: int, member: int | None) -> np.ndarray:
    """A chunk of a store without members, as it was read before there were checksums."""
    shard, row = divmod(time, chunks._shard_times)
    path = chunks._path.joinpath("c", *map(str, (shard, *(0 for _ in chunks._shape))))
    result = np.empty(chunks._shape, chunks._dtype)
    with path.open("rb") as file:
        file.seek(_ENTRY * (row - chunks._shard_times) - _CHECKSUM, os.SEEK_END)
        offset, length = np.frombuffer(file.read(_ENTRY), "<u8").tolist()
        file.seek(offset)
        blosc.decompress(file.read(length - _CHECKSUM), result)
    return result


def without_checksums(stored: StoredFields) -> StoredFields:
    """The reader of a store, which no longer compares checksums."""
    chunks: Any = stored._chunks
    chunks.read = partial(read_unchecked, chunks)
    return stored


def chunks(path: Path) -> dict[str, Read]:
    """Read one time of a store, with and without checksums."""
    checked, unchecked = StoredFields(path, NAMES), without_checksums(StoredFields(path, NAMES))
    for name, field in checked.read(0, None).items():
        np.testing.assert_array_equal(field, unchecked.read(0, None)[name])
    return {"checked": partial(checked.read, member=None), "unchecked": partial(unchecked.read, member=None)}


def samples(path: Path, grid: Grid, count: int) -> dict[str, Read]:
    """Read one sample of a training, with and without checksums."""
    window = Window(input_grid=grid, target_grid=grid, input_hours=(-6, 0), target_hours=(6,))
    period = Period.parse({"start": START.date(), "end": START.date().replace(day=-(-count // 4))})
    split, measured = Split(periods=(period,)), FieldSet(measured=FIELDS)
    ways = ("checked", "unchecked")
    found = {way: Samples(window.frames(measured, [path.parent], split)) for way in ways}
    frames: Any = found["unchecked"].frames
    for reader in (frames._input, frames._target):
        for stored in (each for period in reader._stores for each in period.stores):
            without_checksums(stored)
    assert len(found["checked"]) >= count - 2

    def read(own: Samples, index: int) -> object:
        return own.batch([index])

    return {name: partial(read, own) for name, own in found.items()}


def take_turns(ways: Mapping[str, Read], order: list[int], rounds: int) -> dict[str, float]:
    """CPU milliseconds of each way for a sample."""
    least = {name: np.full(len(order), np.inf) for name in ways}
    for number in range(rounds + 1):  # the first to warm up
        for index in order:
            for name in sorted(ways, reverse=bool(number % 2)):
                begin = time.process_time()
                ways[name](index)
                least[name][index] = min(least[name][index], time.process_time() - begin)
    return {name: 1e3 * float(seconds.mean()) for name, seconds in least.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--resolution", type=float, default=1.40625, help="of the stores, in degrees")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--samples", type=int, default=16, help="times to read from, a multiple of 4")
    parser.add_argument("--output", type=Path, help="also write a .json or .csv file")
    arguments = parser.parse_args()
    fields._CACHE_BYTES = 0
    where = machine(["cpu"])
    print(where)
    grid, count = Grid(resolution_deg=arguments.resolution), arguments.samples
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        paths = _write_stores(Path(folder), grid, count)
        for label, way in STORES.items():
            read = {"chunk": chunks(paths[way]), "sample": samples(paths[way], grid, count)}
            for what, ways in read.items():
                size = count if what == "chunk" else count - 2
                order = np.random.default_rng(2).permutation(size).tolist()
                spent = take_turns(ways, order, arguments.rounds)
                times = {f"{name} CPU ms": milliseconds for name, milliseconds in spent.items()}
                ratio = spent["checked"] / spent["unchecked"]
                rows.append({"read": what, "store": label, **times, "ratio": ratio})
    show(f"{len(FIELDS.channels())} fields, {arguments.resolution} degrees", rows)
    if arguments.output:
        save(arguments.output, where, rows)


if __name__ == "__main__":
    main()
