"""The store of one grid, as others read it."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore
import xarray as xr
import zarr
from zarr.codecs import BloscCodec

from tests import small_data as small
from weatherpeft.artifacts import field_store, store
from weatherpeft.artifacts.field_store import FieldWriter, StoredFields, StoredSums
from weatherpeft.fields.grid import Grid
from weatherpeft.fields.variables import VariableSet

DAYS = small.period("2001-02-01", "2001-02-02")
NAMES = ("temperature", "2m_temperature")


@pytest.fixture(params=[1, 3, 8, 64], ids="shards of {}".format)
def shard_times(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(field_store, "_SHARD_TIMES", request.param)
    return request.param


def stores(folder: Path, members: tuple[int, ...] = ()) -> list[Path]:
    data = small.write_period(folder, DAYS, members=members)
    return [data / f"{grid.label}.zarr" for grid in (small.COARSE, small.FINE)]


@pytest.mark.parametrize("members", [(), (4, 2)])
def test_what_is_read_is_what_others_read(tmp_path: Path, members: tuple[int, ...], shard_times: int) -> None:
    for path in stores(tmp_path, members):
        stored = StoredFields(path, NAMES)
        array: Any = zarr.open_group(path, mode="r")["fields"]
        kvstore = {"driver": "file", "path": f"{path}/fields/"}
        other = tensorstore.open({"driver": "zarr3", "kvstore": kvstore}).result()
        assert stored.members == list(members)
        assert array.shards[-4:] == (min(shard_times, 8), *array.shape[-3:])
        assert array.chunks == (*(1 for _ in members[:1]), 1, *array.shape[-3:])
        for row in range(len(members) or 1):
            for time in (7, 0, 3, 2, 5):
                place = (row, time) if members else (time,)
                found = stored.read(time, row if members else None)
                assert list(found) == list(NAMES)
                for theirs in (array[place], other[place].read().result()):
                    np.testing.assert_array_equal(found["2m_temperature"], theirs[0])
                    np.testing.assert_array_equal(found["temperature"], theirs[1:])


@pytest.mark.parametrize("members", [0, 2])
def test_hourly_sums(tmp_path: Path, members: int, shard_times: int) -> None:
    random, grid = np.random.default_rng(5), small.COARSE
    dims: tuple[str, ...] = ("hourly_time", "latitude", "longitude")
    shape: tuple[int, ...] = (7, *grid.shape)
    if members:
        dims, shape = ("member", *dims), (members, *shape)
    times = np.datetime64("2001-01-01T00", "ns") + np.arange(7) * np.timedelta64(1, "h")
    values = random.random(shape).astype(np.float32)
    variables = VariableSet(accumulated=("total_precipitation",))
    dataset = xr.Dataset({"total_precipitation": (dims, values)}, {"hourly_time": times})
    small.write_store(dataset, grid, variables, tmp_path / "a.zarr")
    stored = StoredSums(tmp_path / "a.zarr", "total_precipitation")
    np.testing.assert_array_equal(stored.times, times)
    for time in (6, 0, 3):
        for row in range(members) if members else (None,):
            expected = values[time] if row is None else values[row, time]
            np.testing.assert_array_equal(stored.read(time, row), expected)
    with pytest.raises(ValueError, match="variable snowfall is missing; found total_precipitation"):
        StoredSums(tmp_path / "a.zarr", "snowfall")


def test_a_shard_is_64_times_or_160_mib() -> None:
    """Of the larger grid: 68 float32 fields of a time take 0.5, 8.5 and 269 MiB."""
    names = ("temperature", "geopotential", "specific_humidity", "u_component_of_wind", "v_component_of_wind")
    levels = (50, 100, 150, 200, 250, 300, 400, 500, 600, 700, 850, 925, 1000)
    surface = ("2m_temperature", "10m_u_component_of_wind", "10m_v_component_of_wind")
    fields = VariableSet(surface=surface, atmospheric=names, levels_hpa=levels)
    assert len(fields.channels()) == 68
    for resolution, expected in ((5.625, 64), (1.40625, 18), (0.25, 1)):
        grids = [Grid(resolution_deg=5.625), Grid(resolution_deg=resolution)]
        assert field_store.shard_times(grids, fields) == expected
        assert field_store.shard_times(grids[::-1], fields) == expected
    assert field_store.shard_times(grids, VariableSet(accumulated=("total_precipitation",))) == 40


@pytest.mark.parametrize("members", [(), (4, 2)])
def test_blocks_are_shards_and_hold_everything_once(tmp_path: Path, members: tuple[int, ...]) -> None:
    whole = stores(tmp_path, members)[1]
    like = store.open_dataset(whole).load()
    like.attrs = {"grid": "another", "source": "toy"}
    like["land_sea_mask"].attrs = {"units": "1"}
    path = tmp_path / "apart.zarr"
    writer = FieldWriter(path, like, small.FINE, small.VARIABLES, 3, {"grid": small.FINE.label})
    times = [slice(0, 3), slice(3, 6), slice(6, 8)]
    blocks = list(writer.blocks("fields"))
    assert blocks == [(*row, part) for row in ([(0,), (1,)] if members else [()]) for part in times]
    assert list(writer.blocks("land_sea_mask")) == [()]
    values = store.open_stored(whole)["fields"].values
    for place in reversed(blocks):
        writer.write("fields", place, values[place])
    writer.write("land_sea_mask", (), like["land_sea_mask"].values)
    found = store.open_dataset(path).load()
    xr.testing.assert_equal(found, like)
    assert found.attrs["grid"] == small.FINE.label and found.attrs["source"] == "toy"
    assert found["land_sea_mask"].attrs["units"] == "1"
    assert found["latitude"].attrs["units"] == "degrees_north"
    assert found["longitude"].attrs["units"] == "degrees_east"


def test_what_is_not_stored_is_named(tmp_path: Path) -> None:
    path, _ = stores(tmp_path)
    with pytest.raises(ValueError, match="variable snowfall is missing; found 2m_temperature, .*temperature"):
        StoredFields(path, ("2m_temperature", "snowfall"))
    assert StoredFields(path, ()).read(0, None) == {}


def test_a_field_of_zeros_is_there(tmp_path: Path) -> None:
    sizes = {"time": 2, "latitude": small.FINE.shape[0], "longitude": small.FINE.shape[1]}
    zeros = (tuple(sizes), np.zeros(tuple(sizes.values()), np.float32))
    times = np.array(["2001-01-01T00", "2001-01-01T06"], "datetime64[ns]")
    variables = small.VARIABLES.model_copy(update={"atmospheric": (), "levels_hpa": (), "static": ()})
    path = tmp_path / "a.zarr"
    small.write_store(xr.Dataset({"2m_temperature": zeros}, {"time": times}), small.FINE, variables, path)
    found = StoredFields(path, ("2m_temperature",)).read(1, None)["2m_temperature"]
    assert found.shape == small.FINE.shape and not found.any()


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    path, _ = stores(tmp_path)
    stored = StoredFields(path, NAMES)
    (shard,) = (file for file in (path / "fields" / "c").rglob("*") if file.is_file())
    content = shard.read_bytes()
    table = struct.pack("<QQ", 0, 2**64 - 1) * 8
    endless = content[: -len(table) - 4] + table + content[-4:]  # of chunks longer than any file
    for damaged in (content[:-300], b"\0" * len(content), b"\xff" * len(content), b"", endless):
        shard.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"fields/c/0/0/0/0: cannot read time 2001-02-01T18"):
            stored.read(3, None)
    shard.unlink()
    with pytest.raises(ValueError, match=r"fields/c/0/0/0/0: cannot read time 2001-02-01T18"):
        stored.read(3, None)


def test_another_layout_is_refused(tmp_path: Path) -> None:
    path, _ = stores(tmp_path)
    stored = store.open_stored(path).load()
    attributes = stored["fields"].attrs
    blosc = BloscCodec(cname="lz4")
    layouts: tuple[dict[str, Any], ...] = (
        {"chunks": (2, 3, 8, 16), "shards": (8, 3, 8, 16), "compressors": blosc},
        {"chunks": (1, 3, 8, 16), "shards": (8, 3, 8, 16)},
        {"chunks": (1, 3, 8, 16), "compressors": blosc},
    )
    for number, encoding in enumerate(layouts):
        changed = stored.drop_encoding()
        changed["fields"].attrs = attributes
        other = tmp_path / f"{number}.zarr"
        store.write_dataset(changed, other, encoding={"fields": encoding})
        with pytest.raises(ValueError, match="expected shards of chunks of one time in blosc with crc32c"):
            StoredFields(other, NAMES)
