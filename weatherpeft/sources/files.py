"""Raw GRIB and NetCDF files as providers ship them, checked and read as the canonical dataset.

Every file becomes a list of two-dimensional fields, known by (variable, level, valid time, member)
from its headers alone. The list must hold what a request asks for before anything is decoded.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from weatherpeft.grid import SNAP_TOLERANCE_DEG, Axis, longitude_cells, snap_axis
from weatherpeft.interfaces import DataRequest
from weatherpeft.store import PROVENANCE
from weatherpeft.variables import VARIABLES, Variable, VariableSet

if TYPE_CHECKING:
    import xarray as xr

HOURLY_TIME = "hourly_time"
"""Dimension of accumulated fields: the end of the hour, 00 UTC of the first day to 23 UTC of the last."""
FileKind = Literal["GRIB", "NetCDF3", "NetCDF4", "ZIP archive", "HTML page", "empty", "unknown"]
_log = logging.getLogger(__name__)

_SIGNATURES: tuple[tuple[bytes, FileKind], ...] = (
    (b"\x89HDF\r\n\x1a\n", "NetCDF4"), (b"CDF\x01", "NetCDF3"), (b"CDF\x02", "NetCDF3"),
    (b"CDF\x05", "NetCDF3"), (b"PK\x03\x04", "ZIP archive"), (b"PK\x05\x06", "ZIP archive"),
)  # fmt: skip
_PRESSURE = "isobaricInhPa"
_SURFACES = ("surface", "heightAboveGround", "meanSea")
_MISSING = 3.4028234663852886e38
_ROLES = {  # names of coordinates in NetCDF files
    "valid_time": "time", "time": "time", "number": "member", "member": "member",
    "realization": "member", "pressure_level": "level", "level": "level", _PRESSURE: "level",
    "plev": "level", "latitude": "latitude", "lat": "latitude", "longitude": "longitude",
    "lon": "longitude", "expver": "expver",
}  # fmt: skip
_DIMENSIONLESS = ("(0 - 1)", "(0-1)", "0-1", "~", "Numeric", "numeric", "dimensionless", "Proportion", "")
_CONVERSIONS = {  # (found, expected): (factor, offset)
    ("degC", "K"): (1.0, 273.15), ("celsius", "K"): (1.0, 273.15), ("hPa", "Pa"): (100.0, 0.0),
    ("mbar", "Pa"): (100.0, 0.0), ("mm", "m"): (1e-3, 0.0), ("kg m-2", "m"): (1e-3, 0.0),
    ("%", "1"): (1e-2, 0.0), ("g kg-1", "kg kg-1"): (1e-3, 0.0), ("gpm", "m2 s-2"): (9.80665, 0.0),
}  # fmt: skip


class Key(NamedTuple):
    """What a field is; ``level``, ``time`` (to the minute) and ``member`` are None where it has none."""

    variable: str
    level: int | None = None
    time: np.datetime64 | None = None
    member: int | None = None

    def __str__(self) -> str:
        level = "" if self.level is None else f" at {self.level} hPa"
        time = "" if self.time is None else f", {self.time} UTC"
        return f"{self.variable}{level}{time}" + ("" if self.member is None else f", member {self.member}")


@dataclass(frozen=True, slots=True)
class Message:
    """A GRIB message, from its header.

    Attributes:
        offset: first byte in the file.
        length: bytes, the final 7777 included.
        param_id: ECMWF parameter id.
        type_of_level: as ecCodes names it, for example ``isobaricInhPa`` or ``surface``.
        level: in units of the type of level.
        valid_time: UTC, to the minute.
        interval_hours: length of the interval that the values stand for, 0 for an instant.
        member: ensemble member, None where the message has none.
        expver: ECMWF experiment version, ``0001`` for final and ``0005`` for preliminary ERA5.
        geometry: grid type, scanning flags, rows, columns, first and last latitude and longitude.
    """

    offset: int
    length: int
    param_id: int
    type_of_level: str
    level: int
    valid_time: np.datetime64
    interval_hours: int
    member: int | None
    expver: str
    geometry: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """The canonical axes of a file, and the index of their rows and columns in the file."""

    latitude: Axis
    longitude: Axis
    rows: NDArray[np.intp] | slice
    columns: NDArray[np.intp] | slice

    def arrange(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """A field ``(latitude, longitude)`` as it lies in the file, in canonical order."""
        return np.ascontiguousarray(values[self.rows][:, self.columns], dtype=np.float32)

    def matches(self, other: "Layout") -> bool:
        """Whether the canonical axes are the same to within millidegree rounding."""
        return all(
            mine.shape == its.shape and bool(np.abs(mine - its).max() <= SNAP_TOLERANCE_DEG)
            for mine, its in ((self.latitude, other.latitude), (self.longitude, other.longitude))
        )

    def __str__(self) -> str:
        axes = (f"{axis[0]:g} … {axis[-1]:g}" for axis in (self.latitude, self.longitude))
        return f"{self.latitude.size}×{self.longitude.size} ({', '.join(axes)})"


@dataclass(frozen=True, slots=True)
class RawField:
    """Where a field is, and how to read it: ``read()`` gives canonical float32 ``(latitude, longitude)``."""

    file: Path
    expver: str
    member: int | None
    layout: Layout
    read: Callable[[], NDArray[np.float32]]


def raw_files(directory: Path) -> list[Path]:
    """The raw files of a download in order of their names, bookkeeping files left out."""
    return sorted(
        path
        for path in directory.iterdir()
        if path.is_file() and path.name != PROVENANCE and not path.name.startswith(".")
    )


def sniff(path: Path) -> FileKind:
    """Kind of a file by its first bytes, whatever its name.

    Raises:
        ValueError: if there is no such file.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    with path.open("rb") as stream:
        head = stream.read(512)
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            return kind
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<head", b"<?xml")):
        return "HTML page"
    return "empty" if not head else "GRIB" if b"GRIB" in head else "unknown"


def open_canonical(paths: Sequence[Path], request: DataRequest) -> "xr.Dataset":
    """Check raw files against a request and read them lazily.

    Fields that are not asked for are passed over. Instantaneous fields have the dimension ``time``,
    from 00 UTC of the first day every ``step_hours``; accumulated fields have ``hourly_time``. The
    attribute ``expver`` counts the fields of each experiment version where the files state one.

    Args:
        paths: GRIB and NetCDF files in any mixture, whatever their names.
        request: what the files must hold.

    Returns:
        The canonical dataset of ``interfaces.Source.decode``, a dask chunk a time.

    Raises:
        ValueError: a file that is empty, truncated or no data; a field, level, time or member that is
            missing or there twice; fields on different grids; units that cannot be converted.
    """
    expected = dict.fromkeys(_expected(request))
    if not expected:
        raise ValueError("the request names no variable")
    fields: dict[Key, RawField] = {}
    seen: set[Key] = set()
    for path in paths:
        for key, field in _fields(path, request.variables):
            seen.add(key)
            key = key if request.members or key.member is None else key._replace(member=None)
            if key in expected:
                _add(fields, key, field)
    missing = [key for key in expected if key not in fields]
    if missing:
        raise ValueError(_missing(missing, len(expected), seen, paths))
    layout = next(iter(fields.values())).layout
    for key, field in fields.items():
        if field.layout is not layout and not field.layout.matches(layout):
            raise ValueError(f"{field.file}: {key}: expected the grid {layout}, found {field.layout}")
    return _assemble(fields, request, layout)


def valid_times(request: DataRequest, step_hours: int) -> NDArray[np.datetime64]:
    """UTC, to the minute, from 00 UTC of the first day to the end of the last, ``(time,)``.

    Raises:
        ValueError: if the step is less than an hour.
    """
    if step_hours < 1:
        raise ValueError(f"step_hours: expected 1 or more, found {step_hours}")
    start, stop = request.period.start, request.period.end + timedelta(days=1)
    return np.arange(np.datetime64(start, "m"), np.datetime64(stop, "m"), np.timedelta64(step_hours, "h"))


def _expected(request: DataRequest) -> Iterator[Key]:
    variables = request.variables
    members: tuple[int | None, ...] = request.members or (None,)
    groups = (
        (variables.surface, (None,), request.step_hours),
        (variables.atmospheric, variables.levels_hpa, request.step_hours),
        (variables.accumulated, (None,), 1),
    )
    yield from (Key(name) for name in variables.static)
    for names, levels, step_hours in groups:
        times = valid_times(request, step_hours)
        for name in names:
            yield from (Key(name, level, t, m) for level in levels for t in times for m in members)


def _add(fields: dict[Key, RawField], key: Key, field: RawField) -> None:
    """Take a field; of a static field, the first one."""
    other = fields.setdefault(key, field)
    if other is field or key.time is None:
        return
    if other.expver != field.expver:
        cause = f"with expver {other.expver} and {field.expver}, final and preliminary data; keep one of them"
    elif other.member != field.member:
        cause = f"as members {other.member} and {field.member}, and the request names no members"
    else:
        cause = "the same field"
    raise ValueError(f"{field.file}: {key}: found twice (before in {other.file.name}), {cause}")


def _missing(missing: Sequence[Key], total: int, seen: set[Key], paths: Sequence[Path]) -> str:
    """One line that names the first missing field and what of it is there."""
    first = missing[0]
    found = [key for key in seen if key.variable == first.variable]
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    names = (", ".join(str(path) for path in paths[:3]) or "no files") + more
    text = f"{names}: {first} is missing ({len(missing)} of {total} fields are)"
    levels = sorted({key.level for key in found if key.level is not None})
    members = sorted({key.member for key in found if key.member is not None})
    times = sorted({key.time for key in found if key.time is not None})
    if not found:
        row = VARIABLES[first.variable]
        return f"{text}; found none at all (short name {row.short_name}, param id {row.param_id})"
    if first.level is not None and first.level not in levels:
        return f"{text}; found no level {first.level}, only {', '.join(map(str, levels))} hPa"
    if first.member is not None and first.member not in members:
        return f"{text}; found no member {first.member}, only {', '.join(map(str, members)) or 'none'}"
    return f"{text}; found times from {times[0]} to {times[-1]}"


class _Stack:
    """Fields as one array ``([member,] time, [level,] latitude, longitude)`` that reads what is indexed."""

    dtype = np.dtype(np.float32)

    def __init__(self, fields: NDArray[np.object_], layout: Layout) -> None:
        self.fields: Any = fields
        self.shape = (*fields.shape, layout.latitude.size, layout.longitude.size)
        self.ndim = len(self.shape)

    def __getitem__(self, index: tuple[slice, ...]) -> NDArray[np.float32]:
        chosen = self.fields[(..., *index[:-2])]
        result = np.empty((*chosen.shape, *self.shape[-2:]), np.float32)
        for position in np.ndindex(chosen.shape):
            result[position] = cast(RawField, chosen[position]).read()
        return result[..., index[-2], index[-1]]


def _assemble(fields: Mapping[Key, RawField], request: DataRequest, layout: Layout) -> "xr.Dataset":
    import dask.array
    import xarray as xr

    variables = request.variables
    coordinates: dict[str, Any] = {"latitude": layout.latitude, "longitude": layout.longitude}
    arrays = {}
    for name in (*variables.surface, *variables.atmospheric, *variables.accumulated, *variables.static):
        row = VARIABLES[name]
        axes: dict[str, Sequence[Any]] = {}
        if row.kind != "static":
            if request.members:
                axes["member"] = request.members
            hourly = row.kind == "accumulated"
            times = valid_times(request, 1 if hourly else request.step_hours)
            axes[HOURLY_TIME if hourly else "time"] = list(times)
        if row.kind == "atmospheric":
            axes["level"] = variables.levels_hpa
        table = np.empty([len(values) for values in axes.values()], object)
        for position in np.ndindex(table.shape):
            part = {axis: values[i] for (axis, values), i in zip(axes.items(), position, strict=True)}
            time = part.get("time", part.get(HOURLY_TIME))
            table[position] = fields[Key(name, part.get("level"), time, part.get("member"))]
        for axis, values in axes.items():
            coordinates[axis] = np.array(values, "datetime64[ns]" if axis.endswith("time") else np.int64)
        stack = _Stack(table, layout)
        chunks = tuple(1 if axis.endswith("time") else -1 for axis in axes) + (-1, -1)
        data = dask.array.from_array(stack, chunks=chunks, name=False, asarray=False, fancy=False)
        attributes = {"units": row.units, "long_name": row.long_name, "short_name": row.short_name}
        arrays[name] = ((*axes, "latitude", "longitude"), data, attributes)
    return xr.Dataset(arrays, coordinates, attrs=_versions(fields))


def _versions(fields: Mapping[Key, RawField]) -> dict[str, str]:
    """How many fields each experiment version has, and from when to when."""
    spans: dict[str, list[np.datetime64]] = {}
    for key, field in fields.items():
        if field.expver and key.time is not None:
            spans.setdefault(field.expver, []).append(key.time)
    for version in spans:
        if version.endswith("5"):
            start = min(spans[version])
            _log.warning("expver %s from %s: preliminary ERA5T, which may still change", version, start)
    text = (f"{name}: {len(t)} fields, {min(t)} to {max(t)}" for name, t in sorted(spans.items()))
    return {"expver": "; ".join(text)} if spans else {}


def _fields(path: Path, variables: VariableSet) -> Iterable[tuple[Key, RawField]]:
    kind = sniff(path)
    if kind == "GRIB":
        return _grib_fields(path, variables)
    if kind in ("NetCDF3", "NetCDF4"):
        return _netcdf_fields(path, kind, variables)
    advice = {
        "ZIP archive": "is a ZIP archive; unpack it and give the files inside (CDS packs mixed requests)",
        "HTML page": "is an HTML page, not data; the server probably answered with an error or a login",
        "empty": "is empty; download it again",
    }
    raise ValueError(f"{path}: {advice.get(kind, 'is neither GRIB nor NetCDF')}")


def _layout(latitude: Axis, longitude: Axis) -> Layout:
    latitude = snap_axis(latitude, "latitude")
    rows = np.argsort(-latitude)
    west, width = longitude_cells(longitude)
    longitude = np.round(west + width / 2, 9) % 360
    columns = np.argsort(longitude)
    return Layout(latitude[rows], longitude[columns], _index(rows), _index(columns))


def _index(order: NDArray[np.intp]) -> NDArray[np.intp] | slice:
    """A slice, which copies nothing, where the order is the file's own."""
    return slice(None) if bool((np.diff(order) == 1).all()) else order


# GRIB


def inventory(path: Path) -> list[Message]:
    """Scan the headers of a GRIB file, in the order of the file.

    Raises:
        ValueError: a message that is cut off, does not end in 7777 or cannot be read, or bytes
            between messages that are not padding.
    """
    import eccodes

    messages: list[Message] = []
    size = path.stat().st_size
    end = 0
    with path.open("rb") as headers, path.open("rb") as stream:
        while True:
            where = f"{path}: message {len(messages) + 1}, after byte {end} of {size}"
            try:
                handle = eccodes.codes_grib_new_from_file(headers, headers_only=True)
            except eccodes.CodesInternalError as error:
                raise ValueError(f"{where}: truncated or damaged GRIB ({error})") from error
            if handle is None:
                _check_padding(stream, end, size, where)
                return messages
            try:
                message = _header(handle)
            except eccodes.CodesInternalError as error:
                raise ValueError(f"{where}: cannot read the header ({error})") from error
            finally:
                eccodes.codes_release(handle)
            _check_padding(stream, end, message.offset, where)
            end = message.offset + message.length
            stream.seek(end - 4)
            if stream.read(4) != b"7777":
                raise ValueError(f"{where}: truncated GRIB, it does not end in 7777 at byte {end}")
            messages.append(message)


def _check_padding(stream: BinaryIO, start: int, stop: int, where: str) -> None:
    """ECMWF pads messages with zeros; anything else is a message that ecCodes passed over."""
    stream.seek(start)
    while start < stop:
        part = stream.read(min(stop - start, 1 << 20))
        if part.strip(b"\0\r\n "):
            raise ValueError(f"{where}: truncated or damaged GRIB, {stop - start} bytes are no message")
        start += len(part)


def _header(handle: int) -> Message:
    import eccodes

    def get(key: str, kind: type | None = None) -> Any:
        return eccodes.codes_get(handle, key, kind)

    def optional(key: str) -> Any:
        return get(key) if eccodes.codes_is_defined(handle, key) else None

    digits = f"{get('validityDate', int):08d}{get('validityTime', int):04d}"
    valid_time = f"{digits[:4]}-{digits[4:6]}-{digits[6:8]}T{digits[8:10]}:{digits[10:]}"
    kind = get("gridType", str)
    geometry = [kind]
    if kind == "regular_ll":
        geometry += [
            get(key)
            for key in ("iScansNegatively", "jPointsAreConsecutive", "alternativeRowScanning", "Nj", "Ni")
        ] + [
            get(f"{axis}Of{end}GridPointInDegrees", float)
            for axis in ("latitude", "longitude")
            for end in ("First", "Last")
        ]
    return Message(
        offset=get("offset", int),
        length=get("totalLength", int),
        param_id=get("paramId", int),
        type_of_level=get("typeOfLevel", str),
        level=get("level", int),
        valid_time=np.datetime64(valid_time, "m"),
        interval_hours=get("endStep", int) - get("startStep", int),
        member=optional("number"),
        expver=str(optional("expver") or ""),
        geometry=tuple(geometry),
    )


def _grib_layout(geometry: tuple[Any, ...]) -> Layout:
    kind, *numbers = geometry
    if kind != "regular_ll":
        raise ValueError(f"expected a regular_ll grid, found {kind}")
    westward, by_column, alternating, rows, columns, north, south, west, east = numbers
    if by_column or alternating:
        raise ValueError("expected rows one after another in one direction, found another scanning mode")
    span = -((west - east) % 360) if westward else (east - west) % 360
    return _layout(np.linspace(north, south, rows), west + np.linspace(0, span, columns))


def _grib_fields(path: Path, variables: VariableSet) -> Iterator[tuple[Key, RawField]]:
    names = {(row.param_id, row.kind == "atmospheric"): row for row in _rows(variables)}
    layouts: dict[tuple[Any, ...], Layout] = {}
    for message in inventory(path):
        on_pressure = message.type_of_level == _PRESSURE
        row = names.get((message.param_id, on_pressure))
        if row is None or not (on_pressure or message.type_of_level in _SURFACES):
            continue
        static = row.kind == "static"
        key = Key(
            row.name,
            message.level if on_pressure else None,
            None if static else message.valid_time,
            None if static else message.member,
        )
        if row.kind == "accumulated" and message.interval_hours > 1:
            hours = message.interval_hours
            raise ValueError(f"{path}: {key}: expected a sum over 1 hour, found {hours} hours")
        try:
            layout = layouts.get(message.geometry) or _grib_layout(message.geometry)
        except ValueError as error:
            raise ValueError(f"{path}: {key}: {error}") from error
        layouts[message.geometry] = layout
        read = partial(_read_message, path, message.offset, message.length, layout)
        yield key, RawField(path, message.expver, message.member, layout, read)


def _rows(variables: VariableSet) -> list[Variable]:
    names = (*variables.surface, *variables.atmospheric, *variables.accumulated, *variables.static)
    return [VARIABLES[name] for name in names]


def _read_message(path: Path, offset: int, length: int, layout: Layout) -> NDArray[np.float32]:
    import eccodes

    with path.open("rb") as stream:
        stream.seek(offset)
        handle = eccodes.codes_new_from_message(stream.read(length))
    try:
        eccodes.codes_set(handle, "missingValue", _MISSING)
        values = eccodes.codes_get_values(handle)
        if eccodes.codes_get(handle, "bitmapPresent"):
            values[values == _MISSING] = np.nan
    except eccodes.CodesInternalError as error:
        raise ValueError(f"{path}: cannot decode the message at byte {offset} ({error})") from error
    finally:
        eccodes.codes_release(handle)
    return layout.arrange(values.reshape(layout.latitude.size, layout.longitude.size))


# NetCDF


def _netcdf_fields(path: Path, kind: FileKind, variables: VariableSet) -> Iterator[tuple[Key, RawField]]:
    import xarray as xr

    if kind == "NetCDF3":
        _check_classic(path)
    try:
        dataset = xr.open_dataset(path, engine="netcdf4", cache=False, decode_timedelta=False)
    except OSError as error:
        raise ValueError(f"{path}: truncated or damaged {kind} ({error})") from error
    except ValueError as error:  # xarray's messages have several lines
        raise ValueError(f"{path}: cannot decode {kind} ({' '.join(str(error).split())})") from error
    for array in dataset.data_vars.values():
        roles = _roles(array)
        for row in _rows(variables):
            known = array.name in (row.name, row.short_name, *row.aliases)
            known = known or array.attrs.get("GRIB_paramId") == row.param_id
            if known and ("level" in roles) == (row.kind == "atmospheric"):
                try:
                    yield from _netcdf_variable(path, array, roles, row)
                except ValueError as error:
                    raise ValueError(f"{path}: {row.name}: {error}") from error


def _check_classic(path: Path) -> None:
    """The NetCDF library reads zeros past the end of a classic file; SciPy's reader notices."""
    from scipy.io import netcdf_file

    with path.open("rb") as stream:
        if stream.read(4) == b"CDF\x05":
            return
    try:
        netcdf_file(path, mmap=True).close()
    except (ValueError, TypeError, IndexError) as error:
        raise ValueError(f"{path}: truncated or damaged NetCDF3 ({error})") from error


def _roles(array: "xr.DataArray") -> dict[str, str]:
    """Coordinate of each role; of a time and a valid time, the valid time."""
    roles: dict[str, str] = {}
    for name, role in _ROLES.items():
        if (name in array.coords or name in array.dims) and role not in roles:
            roles[role] = name
    return roles


def _netcdf_variable(
    path: Path, array: "xr.DataArray", roles: Mapping[str, str], row: Variable
) -> Iterator[tuple[Key, RawField]]:
    """The fields of one variable; of a static one, the first."""
    axes = {role: array[name] for role, name in roles.items()}
    static = row.kind == "static"
    for role in ("latitude", "longitude", *(() if static else ("time",))):
        if role not in axes:
            raise ValueError(f"expected a coordinate {role}, found {', '.join(map(str, array.coords))}")
    dimensions = {axis.dims[0]: role for role, axis in axes.items() if axis.ndim == 1 and role != "expver"}
    unknown = [name for name in array.dims if name not in dimensions and name != "expver"]
    if unknown:
        raise ValueError(f"unknown dimension {unknown[0]}")
    factor, offset = _conversion(str(array.attrs.get("units", "none")), row.units)
    layout = _layout(axes["latitude"].values, axes["longitude"].values)
    array = array.transpose(..., axes["latitude"].dims[0], axes["longitude"].dims[0])
    values: dict[str, list[Any]] = {
        "time": _times(axes["time"]) if "time" in axes and not static else [None],
        "level": _levels(axes["level"]) if "level" in axes else [None],
        "member": axes["member"].values.reshape(-1).tolist() if "member" in axes and not static else [None],
    }
    versions = _expver(axes.get("expver"), len(values["time"]))
    for index in np.ndindex(*map(len, values.values())):
        place = dict(zip(values, index, strict=True))
        key = Key(row.name, **{role: values[role][place[role]] for role in values})
        where = {
            name: place[role] for name, role in dimensions.items() if role in place and name in array.dims
        }
        read = partial(_read_slab, array, where, layout, factor, offset, f"{path}: {key}")
        yield key, RawField(path, versions[place["time"]], key.member, layout, read)


def _times(coordinate: "xr.DataArray") -> list[np.datetime64]:
    times = np.atleast_1d(coordinate.values)
    if times.dtype.kind != "M":
        raise ValueError(f"expected times of the standard calendar, found {times[0]!r}")
    return list(times.astype("datetime64[m]"))


def _levels(coordinate: "xr.DataArray") -> list[int | float]:
    """Pressure in hPa; whole numbers, which are what a request can ask for, as integers."""
    levels = np.atleast_1d(coordinate.values).astype(np.float64)
    levels = np.round(levels / 100 if coordinate.attrs.get("units") == "Pa" else levels, 6)
    return [int(level) if level == int(level) else float(level) for level in levels]


def _expver(coordinate: "xr.DataArray | None", times: int) -> list[str]:
    """Experiment version of each time; of old CDS files, where it is a dimension, all of them."""
    if coordinate is None:
        return [""] * times
    names = [str(int(value)).zfill(4) for value in np.atleast_1d(coordinate.values)]
    if coordinate.dims == ("expver",) or len(names) != times:
        return ["/".join(names)] * times
    return names


def _conversion(found: str, expected: str) -> tuple[float, float]:
    """Factor and offset from units as files spell them."""
    plain = found.strip().replace("**", "").replace("^", "")
    plain = "1" if plain in _DIMENSIONLESS or plain.startswith("(Code table") else plain
    if plain == expected:
        return 1.0, 0.0
    if (plain, expected) not in _CONVERSIONS:
        raise ValueError(f"expected units {expected}, found {found}")
    return _CONVERSIONS[plain, expected]


def _read_slab(
    array: "xr.DataArray", index: Mapping[Any, int], layout: Layout, factor: float, offset: float, label: str
) -> NDArray[np.float32]:
    try:
        values = array.isel(index).values
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{label}: cannot read the values ({error})") from error
    if values.ndim == 3:  # old CDS files: one expver has the value, the other NaN
        held = (~np.isnan(values)).any(axis=(1, 2))
        if held.sum() != 1:
            raise ValueError(f"{label}: expected values of one expver, found {held.sum()}")
        values = values[held][0]
    return layout.arrange(values * factor + offset if (factor, offset) != (1.0, 0.0) else values)
