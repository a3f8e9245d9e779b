"""Inventories of raw files: what the readers find, once, and again when a file changes."""

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from weatherpeft.fields.variables import VariableSet
from weatherpeft.sources.formats import grib_header, inventory_cache, netcdf_header
from weatherpeft.sources.formats import inventory as module
from weatherpeft.sources.formats.fields import to_minutes
from weatherpeft.sources.formats.files import open_canonical, sniff
from weatherpeft.sources.formats.grib import grib_fields
from weatherpeft.sources.formats.inventory import Contents, Inventory
from weatherpeft.sources.formats.netcdf import netcdf_fields
from weatherpeft.sources.formats.netcdf_header import header

VARIABLES = VariableSet(surface=("2m_temperature",), atmospheric=("temperature",), levels_hpa=(500, 850))


def dataset(day: int, member: bool = False) -> xr.Dataset:
    """A day of temperature on two levels and at 2 m."""
    times = (
        np.datetime64("2020-03-01", "ns")
        + np.timedelta64(day, "D")
        + np.arange(0, 24, 6) * np.timedelta64(1, "h")
    )
    axes: dict[str, np.ndarray] = {
        "time": times,
        "level": np.array([500, 850]),
        "latitude": np.arange(50.0, 45, -1),
        "longitude": np.arange(8.0),
    }
    values = np.full([len(axis) for axis in axes.values()], 280, "f4")
    found = xr.Dataset(
        {
            "t": (tuple(axes), values, {"units": "K"}),
            "t2m": (("time", *tuple(axes)[2:]), values[:, 0], {"units": "K"}),
        },
        axes,
    )
    found["level"].attrs["units"] = "hPa"
    return found.expand_dims(number=[3, 5]) if member else found


def write_grib(path: Path, *fields: tuple[int, str, int]) -> None:
    """Fields of temperature (level, date, hour), on a small grid."""
    import eccodes

    with path.open("wb") as stream:
        for level, date, hour in fields:
            handle = eccodes.codes_grib_new_from_samples("regular_ll_pl_grib2")
            keys = {
                "Ni": 8,
                "Nj": 5,
                "level": level,
                "paramId": 130,
                "dataDate": int(date),
                "dataTime": 100 * hour,
            }
            ends = {"latitudeOfFirst": 50, "latitudeOfLast": 46, "longitudeOfFirst": 0, "longitudeOfLast": 7}
            keys |= {f"{end}GridPointInDegrees": degrees for end, degrees in ends.items()}
            keys |= {"iDirectionIncrementInDegrees": 1, "jDirectionIncrementInDegrees": 1}
            for key, number in keys.items():
                eccodes.codes_set(handle, key, number)
            eccodes.codes_set_values(handle, np.full(40, 280.0))
            eccodes.codes_write(handle, stream)
            eccodes.codes_release(handle)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files whose headers are read."""
    return spied(monkeypatch, (grib_header, "header"), (netcdf_header, "header"))


@pytest.fixture
def looked_into(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files in whose headers a reader looks for fields."""
    return spied(monkeypatch, (module, "found_fields"), (module, "dataset_fields"))


def spied(monkeypatch: pytest.MonkeyPatch, *readers: tuple[object, str]) -> list[str]:
    """The files that some readers are called for, by name."""
    names: list[str] = []

    def spy(reader: Callable[..., object]) -> Callable[..., object]:
        def read(path: Path, *arguments: object) -> object:
            names.append(path.name)
            return reader(path, *arguments)

        return read

    for place, name in readers:
        monkeypatch.setattr(place, name, spy(getattr(place, name)))
    return names


def plain(contents: Contents) -> list[tuple[object, ...]]:
    return sorted(
        (each.variable, each.level or 0, each.member or 0, tuple(each.times.tolist()), str(each.layout))
        for each in contents.held
    )


def test_netcdf_files_that_differ_in_time_alone_are_looked_into_once(
    tmp_path: Path, looked_into: list[str]
) -> None:
    files = [tmp_path / f"{day}.nc" for day in range(4)]
    for day, file in enumerate(files):
        dataset(day).to_netcdf(file)
    found = Inventory(VARIABLES, cache=tmp_path / "cache").read(files)
    assert len(looked_into) == 1, "the others have the same header"
    for file, contents in zip(files, found, strict=True):
        alone = Inventory(VARIABLES, cache=tmp_path / file.stem).read([file])
        assert contents.file == file and plain(contents) == plain(alone[0])
        keys = {key for key, _ in netcdf_fields(file, sniff(file), VARIABLES, {})}
        times = {(each.variable, each.level, time) for each in contents.held for time in each.times}
        assert times == {(key.variable, key.level, key.time) for key in keys}


@pytest.mark.parametrize(
    "change",
    [
        lambda other: other.isel(latitude=slice(1, None)),
        lambda other: other.assign_coords(longitude=other.longitude + 1),
        lambda other: other.drop_vars("t"),
        lambda other: other.assign_coords(level=("level", [500, 700], {"units": "hPa"})),
        lambda other: other.rename(t="x"),
    ],
)
def test_another_header_is_another_file(
    change: Callable[[xr.Dataset], xr.Dataset], tmp_path: Path, looked_into: list[str]
) -> None:
    dataset(0).to_netcdf(tmp_path / "0.nc")
    change(dataset(1)).to_netcdf(tmp_path / "1.nc")
    one, other = Inventory(VARIABLES, cache=tmp_path / "cache").read([tmp_path / "0.nc", tmp_path / "1.nc"])
    assert sorted(looked_into) == ["0.nc", "1.nc"] and plain(one) != plain(other)


@pytest.mark.parametrize("kind", ["NetCDF", "members", "GRIB"])
def test_what_was_found_is_known_until_the_file_changes(kind: str, tmp_path: Path, opened: list[str]) -> None:
    file, cache = tmp_path / "file", tmp_path / "cache"
    if kind == "GRIB":
        write_grib(file, (500, "20200301", 0), (500, "20200301", 6), (850, "20200301", 0))
    else:
        dataset(0, member=kind == "members").to_netcdf(file)
    (first,) = Inventory(VARIABLES, cache=cache).read([file])
    (again,) = Inventory(VARIABLES, cache=cache).read([file])
    assert opened == ["file"] and plain(first) == plain(again) and first.held
    state = file.stat()
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    Inventory(VARIABLES, cache=cache).read([file])
    assert opened == ["file"] * 2


OTHER_SELECTIONS: dict[str, tuple[dict[str, tuple[Any, ...]], dict[str, str]]] = {
    "one variable less": ({"surface": ()}, {}),
    "one more level": ({"levels_hpa": (500, 700, 850)}, {}),
    "one more variable": ({"atmospheric": ("temperature", "geopotential")}, {}),
    "another name": ({"atmospheric": ("temperature", "geopotential")}, {"t": "geopotential"}),
}


@pytest.mark.parametrize("selection", OTHER_SELECTIONS)
@pytest.mark.parametrize("kind", ["NetCDF", "GRIB"])
def test_another_selection_is_answered_from_memory(
    kind: str, selection: str, tmp_path: Path, opened: list[str]
) -> None:
    """As the reader of the values answers it; what is wrong is known from memory too."""
    file, cache = tmp_path / "file", tmp_path / "cache"
    if kind == "GRIB":
        write_grib(file, (500, "20200301", 0), (500, "20200301", 6), (850, "20200301", 0))
    else:
        dataset(0).to_netcdf(file)
    Inventory(VARIABLES, cache=cache).read([file])
    change, rename = OTHER_SELECTIONS[selection]
    wanted = VARIABLES.model_copy(update=change)
    (found,) = Inventory(wanted, rename=rename, cache=cache).read([file])
    assert opened == ["file"], "the header is known"
    try:
        fields = (
            [*grib_fields(file, wanted, 0, rename)]
            if kind == "GRIB"
            else [*netcdf_fields(file, sniff(file), wanted, rename)]
        )
    except ValueError as error:
        assert found.fault == str(error)
        return
    keys = {(key.variable, key.level, key.time) for key, _ in fields}
    assert {(each.variable, each.level, time) for each in found.held for time in each.times} == keys
    assert not found.fault


def test_a_file_with_two_time_axes_has_the_times_of_the_right_one(tmp_path: Path) -> None:
    """The start of a forecast is the valid time in the first file, and not in the second."""
    files = [tmp_path / "0.nc", tmp_path / "1.nc"]
    for hours, file in enumerate(files):
        one = dataset(0)
        start = one["time"].values - np.timedelta64(hours, "h")
        one.assign_coords(forecast_reference_time=("time", start)).to_netcdf(file)
    for contents in Inventory(VARIABLES, cache=tmp_path / "cache").read(files):
        for each in contents.held:
            np.testing.assert_array_equal(each.times, to_minutes(dataset(0)["time"].values))


def test_other_code_of_the_readers_reads_anew(
    tmp_path: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_grib(tmp_path / "file", (500, "20200301", 0))
    for made_by in ("one", "one", "another"):
        monkeypatch.setattr(inventory_cache, "_made_by", partial(str, made_by))
        assert Inventory(VARIABLES, cache=tmp_path / "cache").read([tmp_path / "file"])[0].held
    assert opened == ["file"] * 2


def test_a_file_without_fields_or_with_a_fault_stops_nothing(tmp_path: Path) -> None:
    names = ["whole", "empty", "text", "cut", "missing", "archive"]
    files = [tmp_path / name for name in names]
    write_grib(files[0], (500, "20200301", 0))
    files[1].touch()
    files[2].write_text("no data")
    files[3].write_bytes(files[0].read_bytes()[:-10])
    files[5].write_bytes(b"PK\x03\x04")
    found = dict(zip(names, Inventory(VARIABLES, cache=tmp_path / "cache").read(files), strict=True))
    assert found["whole"].held and not found["whole"].fault
    assert found["archive"].packed and not found["archive"].fault
    for name in ("empty", "text", "cut", "missing"):
        assert str(tmp_path / name) in found[name].fault and not found[name].held


def test_a_cache_that_cannot_be_used_is_no_error(tmp_path: Path) -> None:
    file = tmp_path / "file"
    write_grib(file, (500, "20200301", 0))
    cache = tmp_path / "cache"
    cache.touch()
    assert Inventory(VARIABLES, cache=cache).read([file])[0].held
    cache.unlink()
    Inventory(VARIABLES, cache=cache).read([file])
    (page,) = cache.iterdir()
    whole = page.read_text()
    emptied = json.dumps({**json.loads(whole), "structures": {}})
    for text in ("{", "[]", '{"files": {}}', emptied):
        page.write_text(text)
        assert Inventory(VARIABLES, cache=cache).read([file])[0].held


def test_it_is_what_the_reader_of_the_values_takes(tmp_path: Path) -> None:
    from datetime import date

    from weatherpeft.interfaces import DataRequest
    from weatherpeft.spec import Period

    dataset(0).to_netcdf(tmp_path / "0.nc")
    period = Period(start=date(2020, 3, 1), end=date(2020, 3, 1))
    values = open_canonical([tmp_path / "0.nc"], DataRequest(variables=VARIABLES, period=period))
    (found,) = Inventory(VARIABLES, cache=tmp_path / "cache").read([tmp_path / "0.nc"])
    for each in found.held:
        np.testing.assert_array_equal(each.times, to_minutes(values["time"].values))
        np.testing.assert_array_equal(each.layout.latitude, values["latitude"].values)
        np.testing.assert_array_equal(each.layout.longitude, values["longitude"].values)


@pytest.mark.parametrize("calendar", ["standard", "proleptic_gregorian"])
@pytest.mark.parametrize("dtype", ["i4", "i8", "f8"])
@pytest.mark.parametrize(
    "units",
    [
        "hours since 1900-01-01 00:00:00.0",
        "hours since 1900-01-01",
        "days since 2020-03-01T06:00",
        "seconds since 1970-01-01 00:00:00",
        "minutes since 2020-02-29 12:30:00",
        "hours since 1-1-1 00:00:00",
        "hours since 2020-03-01 00:00:00 +01:00",
    ],
)
def test_times_are_decoded_as_xarray_decodes_them(
    units: str, dtype: str, calendar: str, tmp_path: Path
) -> None:
    values = np.array([0, 6, 10_000], dtype) + (17_700_000 if " 1-1-1 " in units else 0)
    axis = xr.Dataset({}, {"time": ("time", values.astype(dtype), {"units": units, "calendar": calendar})})
    axis.to_netcdf(tmp_path / "file.nc")
    found = header(tmp_path / "file.nc", "NetCDF4")
    expected = to_minutes(xr.open_dataset(tmp_path / "file.nc")["time"].values)
    assert found
    np.testing.assert_array_equal(found.times[0], expected)
