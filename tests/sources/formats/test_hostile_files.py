"""Headers that lie: each ends in one line that names the file, in bounded memory."""

import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
import zarr

from tests.sources.formats.test_files import TEMPERATURE, grib, surface
from weatherpeft.sources.formats.files import open_canonical
from weatherpeft.sources.formats.stores import open_store
from weatherpeft.sources.formats.zarr import select

LATITUDE, LONGITUDE = np.linspace(90, -90, 13), np.arange(24) * 15.0
Patch = Callable[[bytearray, int], None]
"""Changes the message that starts at a byte of a file."""


@pytest.fixture(autouse=True)
def memory_is_bounded() -> Iterator[None]:
    """What a test adds to the address space, virtual memory too, is below 4 GiB."""
    import resource

    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size + 2**32, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)


def put(content: bytearray, place: int, size: int, value: int) -> None:
    content[place : place + size] = value.to_bytes(size, "big")


def edition_1(section: int, *fields: tuple[int, int, int]) -> Patch:
    """Changes (offset, size, value) in section 1 (product), 2 (grid) or 4 (values) of GRIB 1."""

    def patch(content: bytearray, start: int) -> None:
        place = start + 8
        for _ in range({1: 0, 2: 1, 4: 2}[section]):
            place += int.from_bytes(content[place : place + 3], "big")
        for offset, size, value in fields:
            put(content, place + offset, size, value)

    return patch


def edition_2(section: int, *fields: tuple[int, int, int]) -> Patch:
    """Changes (offset, size, value) in a section of GRIB 2."""

    def patch(content: bytearray, start: int) -> None:
        place = start + 16
        while content[place + 4] != section:
            place += int.from_bytes(content[place : place + 4], "big")
        for offset, size, value in fields:
            put(content, place + offset, size, value)

    return patch


def length(edition: int, value: int) -> Patch:
    """Another length of the whole message."""
    place, size = (4, 3) if edition == 1 else (8, 8)
    return lambda content, start: put(content, start + place, size, value)


GRIB: dict[str, tuple[int, Patch, str]] = {
    "65,535 x 65,535 points": (1, edition_1(2, (6, 2, 65535), (8, 2, 65535)), "expected a field of 1 to"),
    "65,534 x 65,534 points": (1, edition_1(2, (6, 2, 65534), (8, 2, 65534)), "found 65534 x 65534"),
    "more columns than values": (1, edition_1(2, (6, 2, 60000)), "has room for 314 values, expected 13 x"),
    "more rows than values": (1, edition_1(2, (8, 2, 60000)), "has room for 314 values"),
    "no row": (1, edition_1(2, (8, 2, 0)), "found 0 x 24"),
    "no column": (1, edition_1(2, (6, 2, 0)), "found 13 x 0"),
    "a century of 255": (1, edition_1(1, (24, 1, 255)), "cannot read the header"),
    "a step of 65,535": (1, edition_1(1, (18, 2, 65535)), "2001-01-01T00:00 UTC is missing"),
    "255 bits a value": (1, edition_1(4, (10, 1, 255)), "expected the values of the grid 13×24"),
    "12 bits a value": (1, edition_1(4, (10, 1, 12)), "found 416 values"),
    "long section 1": (1, edition_1(1, (0, 3, 2**24 - 1)), "cannot read the header"),
    "empty section 1": (1, edition_1(1, (0, 3, 0)), "cannot read the header"),
    "long section 2": (1, edition_1(2, (0, 3, 2**24 - 1)), "cannot read the header"),
    "long message": (1, length(1, 2**23 - 1), "truncated"),
    "2^31 - 1 rows and columns": (2, edition_2(3, (30, 4, 2**31 - 1), (34, 4, 2**31 - 1)), "a field of 1 to"),
    "2^31 points": (2, edition_2(3, (6, 4, 2**31), (30, 4, 2**16), (34, 4, 2**15)), "found 32768 x 65536"),
    "2^31 values": (2, edition_2(5, (5, 4, 2**31)), "expected the values of the grid 13×24"),
    "2^32 - 1 columns": (2, edition_2(3, (30, 4, 2**32 - 1)), "expected a field of 1 to"),
    "255 bits a value, edition 2": (2, edition_2(5, (19, 1, 255)), "cannot decode the message"),
    "a section of 4 GiB": (2, edition_2(3, (0, 4, 2**32 - 1)), "cannot read the header"),
    "a message of 8 GiB": (2, length(2, 2**33), "truncated"),
    "a message of 2^62 bytes": (2, length(2, 2**62), "truncated"),
}


def one_line(error: Exception, path: Path) -> str:
    message = str(error)
    assert str(path) in message and "\n" not in message and len(message) < 600
    return message


@pytest.mark.parametrize("name", GRIB)
def test_grib(tmp_path: Path, name: str) -> None:
    edition, patch, message = GRIB[name]
    keys: dict[str, Any] = {"typeOfLevel": "heightAboveGround", "level": 2} if edition == 2 else {}
    path = grib(tmp_path / "data.grib", surface(**keys), edition=edition)
    content = bytearray(path.read_bytes())
    for start in [place for place in range(len(content)) if content[place : place + 4] == b"GRIB"]:
        patch(content, start)
    path.write_bytes(content)
    with pytest.raises(ValueError) as caught:
        open_canonical([path], TEMPERATURE).load()
    assert message in one_line(caught.value, path)


def netcdf(path: Path, kind: Any = "NETCDF4", chunks: tuple[int, ...] | None = None, **sizes: int) -> None:
    """A day of temperatures, or a file that claims to be larger and stores nothing of it."""
    counts = {"time": 4, "latitude": 13, "longitude": 24} | sizes
    packed: dict[str, Any] = {"zlib": True} if kind == "NETCDF4" else {}
    with netCDF4.Dataset(path, "w", format=kind) as opened:
        for name, count in counts.items():
            opened.createDimension(name, None if chunks and name == "time" else count)
        axes = {
            "time": np.arange(4) * 6,
            "latitude": np.linspace(90, -90, 13),
            "longitude": np.arange(24) * 15,
        }
        for name, values in axes.items():
            axis = opened.createVariable(name, "i4" if name == "time" else "f8", (name,), **packed)
            if name == "time":
                axis.units = "hours since 2001-01-01"
            if name not in sizes:
                axis[:] = values
        field = opened.createVariable("t2m", "f4", tuple(counts), chunksizes=chunks, **packed)
        field.units = "K"
        if not sizes and not chunks:
            field[:] = 280


def claimed(dimension: str, count: int) -> Callable[[Path], None]:
    """A classic file whose header states another length of a dimension."""

    def write(path: Path) -> None:
        netcdf(path, "NETCDF3_64BIT_OFFSET")
        content = bytearray(path.read_bytes())
        name = dimension.encode()
        put(content, content.index(name) + -(-len(name) // 4) * 4, 4, count)
        path.write_bytes(content)

    return write


NETCDF: dict[str, tuple[Callable[[Path], None], str]] = {
    "2^40 rows": (lambda path: netcdf(path, latitude=2**40), "expected up to 4194304 values of latitude"),
    "2^40 columns": (lambda path: netcdf(path, longitude=2**40), "values of longitude, found shape"),
    "2^40 times": (lambda path: netcdf(path, time=2**40), "values of time, found shape"),
    "2^31 times": (lambda path: netcdf(path, time=2**31), "values of time, found shape"),
    "2^40 points": (
        lambda path: netcdf(path, latitude=2**20, longitude=2**20), "found 1048576 x 1048576"
    ),
    "an axis without coordinate": (lambda path: netcdf(path, other=2**40), "values along other, found"),
    "a chunk of 2.6 GB": (
        lambda path: netcdf(path, chunks=(2**21, 13, 24)), "expected chunks of up to 2147483648 bytes"
    ),
    "classic, 2^31 - 1 rows": (claimed("latitude", 2**31 - 1), "truncated or damaged NetCDF3"),
    "classic, 2^32 - 1 columns": (claimed("longitude", 2**32 - 1), "truncated or damaged NetCDF3"),
    "classic, 2^31 - 1 times": (claimed("time", 2**31 - 1), "truncated or damaged NetCDF3"),
}  # fmt: skip


@pytest.mark.parametrize("name", NETCDF)
def test_netcdf(tmp_path: Path, name: str) -> None:
    write, message = NETCDF[name]
    path = tmp_path / "data.nc"
    write(path)
    assert path.stat().st_size < 50_000
    with pytest.raises(ValueError) as caught:
        open_canonical([path], TEMPERATURE).load()
    assert message in one_line(caught.value, path)


class Evil:
    """Unpickled, it leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


def store(path: Path, changes: dict[str, dict[str, Any]], chunk: bytes | None = None) -> None:
    """A Zarr store of format 2 with changed metadata, and a chunk of the time axis of one's own."""
    sizes = {"time": 4, "latitude": 13, "longitude": 24}
    values = {
        "time": np.arange(4) * 6,
        "latitude": np.linspace(90, -90, 13),
        "longitude": np.arange(24) * 15.0,
    }
    metadata: dict[str, Any] = {".zgroup": {"zarr_format": 2}, ".zattrs": {}}
    for name in (*sizes, "2m_temperature"):
        dims = [name] if name in sizes else list(sizes)
        shape = [sizes[dim] for dim in dims]
        array = {
            "zarr_format": 2, "shape": shape, "chunks": shape, "dtype": "<i8" if name == "time" else "<f8",
            "compressor": None, "fill_value": 280.0 if len(dims) > 1 else 0, "order": "C", "filters": None,
        }  # fmt: skip
        metadata[f"{name}/.zarray"] = array | changes.get(name, {})
        attributes = {"_ARRAY_DIMENSIONS": dims}
        metadata[f"{name}/.zattrs"] = attributes | (
            {"units": "hours since 2001-01-01"} if name == "time" else {}
        )
        if name in sizes:
            (path / name).mkdir(parents=True)
            (path / name / "0").write_bytes(chunk if chunk and name == "time" else values[name].tobytes())
    for name, content in metadata.items():
        if name.count("/") < 2 and not name.startswith(".."):
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_text(json.dumps(content))
    whole = {"zarr_consolidated_format": 1, "metadata": metadata}
    (path / ".zmetadata").write_text(json.dumps(whole))


PICKLED = {"filters": [{"id": "pickle"}]}
ZARR: dict[str, tuple[dict[str, dict[str, Any]], str]] = {
    "pickle": ({"time": PICKLED}, "pickle"),
    "pickle of objects": ({"time": {**PICKLED, "dtype": "|O"}}, "data.zarr"),
    "pickle as compressor": ({"time": {"compressor": {"id": "pickle"}}}, "pickle"),
    "pickle of a field": ({"2m_temperature": PICKLED}, "pickle"),
    "a codec that is not listed": (
        {"time": {"compressor": {"id": "base64"}}}, "time: expected codecs that are known to be harmless"
    ),
    "json2": ({"time": {"filters": [{"id": "json2"}]}}, "data.zarr"),
    "an unknown codec": ({"time": {"compressor": {"id": "nonsense"}}}, "nonsense"),
    "an unknown type": ({"time": {"dtype": "<q99"}}, "data.zarr"),
    "2^40 times": ({"time": {"shape": [2**40], "chunks": [4]}}, "time: expected up to 4194304 values"),
    "2^40 rows": ({"latitude": {"shape": [2**40], "chunks": [4]}}, "latitude: expected up to 4194304"),
    "a chunk of 2^50 bytes": (
        {"2m_temperature": {"chunks": [2**20, 2**13, 2**14]}}, "expected chunks of up to 2147483648 bytes"
    ),
    "negative": ({"latitude": {"shape": [-4]}}, "data.zarr"),
    "another length": ({"latitude": {"shape": [7]}}, "data.zarr"),
}  # fmt: skip


@pytest.mark.parametrize("name", ZARR)
def test_zarr(tmp_path: Path, name: str) -> None:
    changes, message = ZARR[name]
    path, trace = tmp_path / "data.zarr", tmp_path / "trace"
    store(path, changes, pickle.dumps(Evil(trace)) if "pickle" in name else None)
    with pytest.raises(ValueError) as caught:
        select(open_store(str(path)).data_vars, str(path), TEMPERATURE, {})[0].array.load()
    assert message in one_line(caught.value, path)
    assert not trace.exists()


def test_the_store_is_good_without_changes(tmp_path: Path) -> None:
    store(tmp_path / "data.zarr", {})
    (found,) = select(open_store(str(tmp_path / "data.zarr")).data_vars, "store", TEMPERATURE, {})
    assert found.array.shape == (4, 13, 24) and float(found.array.max()) == 280


def test_an_array_outside_of_the_store(tmp_path: Path) -> None:
    path = tmp_path / "data.zarr"
    store(path, {})
    whole = json.loads((path / ".zmetadata").read_text())
    for name in (".zarray", ".zattrs"):
        whole["metadata"][f"../secret/{name}"] = whole["metadata"][f"latitude/{name}"]
    (path / ".zmetadata").write_text(json.dumps(whole))
    try:
        found = open_store(str(path))
    except ValueError as error:
        one_line(error, path)
    else:
        assert not [name for name in found.variables if "secret" in str(name)]


def test_a_codec_inside_a_shard(tmp_path: Path) -> None:
    path = tmp_path / "data.zarr"
    group = zarr.create_group(path, zarr_format=3)
    group.create_array("time", shape=(4,), chunks=(2,), shards=(4,), dtype="i8", dimension_names=["time"])
    zarr.consolidate_metadata(path)
    open_store(str(path))
    for file in (path / "zarr.json", path / "time/zarr.json"):
        text = file.read_text()
        assert '"zstd"' in text
        file.write_text(text.replace('"zstd"', '"numcodecs.pickle"'))
    with pytest.raises(ValueError) as caught:
        open_store(str(path))
    assert "pickle" in one_line(caught.value, path)
