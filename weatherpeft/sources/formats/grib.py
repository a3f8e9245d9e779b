"""GRIB files: a scan of the headers, message by message, and fields that are read one at a time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from weatherpeft.fields.gaussian import MOST_ROWS, gaussian_latitudes
from weatherpeft.fields.grid import SNAP_TOLERANCE_DEG
from weatherpeft.fields.variables import Variable, VariableSet
from weatherpeft.sources.formats.fields import (
    PRESSURE,
    Key,
    Layout,
    RawField,
    canonical_layout,
    check_points,
    variable_rows,
)
from weatherpeft.sources.formats.grids import SEPARABLE, advice
from weatherpeft.sources.formats.names import Named, recognize
from weatherpeft.sources.formats.units import conversion

_SURFACES = ("surface", "heightAboveGround", "meanSea", "entireAtmosphere", "depthBelowLandLayer")
_MISSING = 3.4028234663852886e38
_SIMPLE = ("referenceValue", "binaryScaleFactor", "decimalScaleFactor", "offsetBeforeData")
_ROWS = 32


@dataclass(frozen=True, slots=True)
class Message:
    """A GRIB message, from its header.

    Attributes:
        offset: position of the first byte in the file.
        length: number of bytes, including the final 7777.
        param_id: ECMWF param id.
        type_of_level: type of level in ecCodes' words, for example ``isobaricInhPa`` or ``surface``.
        level: level in units of its type.
        valid_time: valid time (UTC, to the minute).
        interval_hours: hours of the interval that the values are for, 0 for an instant.
        lead_hours: hours from the start of the forecast to the valid time, 0 for an analysis.
        member: ensemble member, None where the message has none.
        expver: ECMWF experiment version, ``0001`` for final and ``0005`` for preliminary ERA5.
        geometry: grid type, Gaussian rows from a pole to the equator (else 0), scanning flags, rows, columns,
            first and last latitude and longitude; the type alone where it has no rows and columns.
        simple: for GRIB 1 in simple packing of 16 bits without missing values, like most of ERA5, the
            reference value, the binary and decimal scale factors, and the first byte of the values in the
            message; otherwise None.
    """

    offset: int
    length: int
    param_id: int
    type_of_level: str
    level: int
    valid_time: np.datetime64
    interval_hours: int
    lead_hours: int
    member: int | None
    expver: str
    geometry: tuple[Any, ...]
    simple: tuple[float, int, int, int] | None


def inventory(path: Path) -> list[Message]:
    """Scan the headers of a GRIB file, in the order of the file.

    Raises:
        ValueError: a message is cut off, does not end in 7777 or cannot be read, or bytes between
            messages are not padding.
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
            except (eccodes.CodesInternalError, ValueError) as error:  # ValueError: of a time
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
    """Refuse bytes between messages other than ECMWF's padding: ecCodes skips damaged messages."""
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
    if kind in SEPARABLE:
        geometry += [get("N") if kind == "regular_gg" else 0]
        geometry += [
            get(key)
            for key in ("iScansNegatively", "jPointsAreConsecutive", "alternativeRowScanning", "Nj", "Ni")
        ] + [
            get(f"{axis}Of{end}GridPointInDegrees", float)
            for axis in ("latitude", "longitude")
            for end in ("First", "Last")
        ]
    packing = [get(key) for key in ("edition", "packingType", "bitsPerValue", "bitmapPresent")]
    return Message(
        offset=get("offset", int),
        length=get("totalLength", int),
        param_id=get("paramId", int),
        type_of_level=get("typeOfLevel", str),
        level=get("level", int),
        valid_time=np.datetime64(valid_time, "m"),
        interval_hours=get("endStep", int) - get("startStep", int),
        lead_hours=get("endStep", int),
        member=optional("number"),
        expver=str(optional("expver") or ""),
        geometry=tuple(geometry),
        simple=tuple(get(key) for key in _SIMPLE) if packing == [1, "grid_simple", 16, 0] else None,
    )


def _grib_layout(geometry: tuple[Any, ...]) -> Layout:
    """The axes of a message, and the order of its values.

    Raises:
        ValueError: rows and columns are not those of latitude and longitude. The message says what makes a
            file of which they are.
    """
    kind, *numbers = geometry
    if kind not in SEPARABLE:
        raise ValueError(advice(kind))
    between, westward, by_column, alternating, rows, columns, north, south, west, east = numbers
    check_points(rows, columns)
    span = -((west - east) % 360) if westward else (east - west) % 360
    latitude = _gaussian_rows(between, rows, north, south) if between else np.linspace(north, south, rows)
    layout = canonical_layout(latitude, west + np.linspace(0, span, columns))
    return replace(layout, by_column=bool(by_column), alternating=bool(alternating))


def _gaussian_rows(between: int, rows: int, north: float, south: float) -> NDArray[np.float64]:
    """Consecutive rows of the Gaussian grid with some rows between a pole and the equator.

    Raises:
        ValueError: there are too many, or the first or last latitude is none of the grid's.
    """
    if not 0 < 2 * between <= MOST_ROWS:
        raise ValueError(f"expected a Gaussian grid of up to {MOST_ROWS} rows, found F{between}")
    whole = gaussian_latitudes(2 * between)
    first, last = (int(np.argmin(np.abs(whole - value))) for value in (north, south))
    found = whole[first : last + 1] if first <= last else whole[last : first + 1][::-1]
    off = max(abs(found[0] - north), abs(found[-1] - south))
    if found.size != rows or off > SNAP_TOLERANCE_DEG:
        raise ValueError(
            f"expected consecutive rows of the Gaussian grid F{between}, found {rows} rows from {north:g} to "
            f"{south:g}"
        )
    return found


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The variable that a parameter is, its name in the file, and factor and offset of its values."""

    row: Variable
    name: str
    sure: bool
    conversion: tuple[float, float]


def grib_fields(
    path: Path, variables: VariableSet, lead_hours: int = 0, rename: Mapping[str, str] | None = None
) -> Iterator[tuple[Key, RawField]]:
    """The fields of some variables in a GRIB file, in the order of the file.

    The first field triggers the scan of the headers. ``RawField.read`` decodes values.

    Args:
        path: GRIB file.
        variables: variables to find, on all pressure levels.
        lead_hours: lead time of the forecasts to find; 0 for analyses, and for sums of any forecast.
        rename: our names of variables, by short names or param ids (see ``names.recognize``).

    Raises:
        ValueError: ``inventory`` refuses the file, a sum is over other hours than its variable's, units
            cannot be converted, or the grid is neither a regular one of latitude and longitude nor a regular
            Gaussian one.
    """
    rows = variable_rows(variables)
    chosen: dict[tuple[int, str, int], _Chosen | None] = {}
    layouts: dict[tuple[Any, ...], Layout] = {}
    for message in inventory(path):
        if (place := _place(message)) not in chosen:
            chosen[place] = _choose(path, message, rows, rename or {})
        its = chosen[place]
        if its is None or (lead_hours and message.lead_hours != lead_hours):
            continue
        row, static = its.row, its.row.kind == "static"
        key = Key(
            row.name,
            message.level if message.type_of_level == PRESSURE else None,
            None if static else message.valid_time,
            None if static else message.member,
        )
        hours = message.interval_hours
        if row.kind == "accumulated" and hours > 1:
            raise ValueError(f"{path}: {key}: expected a sum over 1 hour, found {hours} hours")
        if row.forecast_hours and hours not in (0, row.forecast_hours):  # GRIB 1 may leave the start out
            raise ValueError(
                f"{path}: {key}: expected a sum over {row.forecast_hours} hours, found {hours} hours"
            )
        try:
            layout = layouts.get(message.geometry) or _grib_layout(message.geometry)
        except ValueError as error:
            raise ValueError(f"{path}: {key}: {error}") from error
        layouts[message.geometry] = layout
        read = partial(_read_message, path, message, layout)
        if its.conversion != (1.0, 0.0):
            read = partial(_converted, read, *its.conversion)
        yield key, RawField(path, message.expver, message.member, layout, read, its.name, its.sure)


def _place(message: Message) -> tuple[int, str, int]:
    """What tells a parameter from others: its id, and where it is, apart from the pressure."""
    level = 0 if message.type_of_level == PRESSURE else message.level
    return message.param_id, message.type_of_level, level


def _choose(
    path: Path, message: Message, rows: Sequence[Variable], rename: Mapping[str, str]
) -> _Chosen | None:
    """The variable that a parameter is, by its param id, and where that is another center's by its names."""
    on_pressure = message.type_of_level == PRESSURE
    if not on_pressure and message.type_of_level not in _SURFACES:
        return None
    for row in rows:
        if not rename and (row.param_id, row.kind == "atmospheric") == (message.param_id, on_pressure):
            return _Chosen(row, str(message.param_id), True, (1.0, 0.0))
    name, standard_name, units = _names(path, message)
    above_ground = message.type_of_level == "heightAboveGround"
    said = Named(name, standard_name, message.param_id, on_pressure, message.level if above_ground else None)
    for row in rows:
        if match := recognize(said, row, rename):
            by_id = message.param_id == row.param_id
            try:
                factors = (1.0, 0.0) if by_id else conversion(units, row, match.height)
            except ValueError as error:
                raise ValueError(f"{path}: {row.name}: {name}: {error}") from error
            return _Chosen(row, name, match.sure, factors)
    return None


def _names(path: Path, message: Message) -> tuple[str, str, str]:
    """Short name, CF standard name and units of a message; ecCodes says ``unknown`` where it knows none."""
    import eccodes

    with path.open("rb") as stream:
        stream.seek(message.offset)
        handle = eccodes.codes_grib_new_from_file(stream, headers_only=True)
    try:
        name, standard_name, units = (
            str(eccodes.codes_get(handle, key)) for key in ("shortName", "cfName", "units")
        )
    finally:
        eccodes.codes_release(handle)
    return name, standard_name, units


def grib_contents(path: Path, besides: VariableSet | None = None) -> list[str]:
    """The parameters of a GRIB file, by short name and type of level, without those of some variables."""
    return [f"{name} ({message.type_of_level})" for message, name, _ in grib_parameters(path, besides)]


def grib_parameters(path: Path, besides: VariableSet | None = None) -> Iterator[tuple[Message, str, str]]:
    """A message of each parameter of a GRIB file, with short name and units, but for some variables."""
    rows = variable_rows(besides) if besides else []
    places = {_place(message): message for message in inventory(path)}
    for message in places.values():
        if not rows or _choose(path, message, rows, {}) is None:
            name, _, units = _names(path, message)
            yield message, name, units


def _converted(read: Callable[[], NDArray[np.float32]], factor: float, offset: float) -> NDArray[np.float32]:
    return read() * np.float32(factor) + np.float32(offset)


def _read_message(path: Path, message: Message, layout: Layout) -> NDArray[np.float32]:
    import eccodes

    if message.simple:
        return layout.arrange(_read_simple(path, message, layout))
    with path.open("rb") as stream:
        stream.seek(message.offset)
        handle = eccodes.codes_new_from_message(stream.read(message.length))
    try:
        held = eccodes.codes_get_size(handle, "values")
        if held != layout.latitude.size * layout.longitude.size:
            raise ValueError(f"expected the values of the grid {layout}, found {held} values")
        eccodes.codes_set(handle, "missingValue", _MISSING)
        values = eccodes.codes_get_values(handle)
        if eccodes.codes_get(handle, "bitmapPresent"):
            values[values == _MISSING] = np.nan
    except (eccodes.CodesInternalError, ValueError) as error:
        raise ValueError(f"{path}: cannot decode the message at byte {message.offset} ({error})") from error
    finally:
        eccodes.codes_release(handle)
    return layout.arrange(values.reshape(layout.latitude.size, layout.longitude.size))


def _read_simple(path: Path, message: Message, layout: Layout) -> NDArray[np.float32]:
    """The values of a message in simple packing, ``(latitude, longitude)`` in the order of the file.

    A value is (reference + integer × 2^binary scale) / 10^decimal scale (WMO Manual on Codes, FM 92
    GRIB). ecCodes computes the same in float64; some rows at a time it takes half as long.
    """
    assert message.simple
    reference, binary, decimal, start = message.simple
    shape = (layout.latitude.size, layout.longitude.size)
    held = (message.length - start) // 2
    if held < shape[0] * shape[1]:
        raise ValueError(
            f"{path}: the message at byte {message.offset} has room for {held} values, expected "
            f"{shape[0]} x {shape[1]}"
        )
    packed = np.fromfile(path, ">u2", shape[0] * shape[1], offset=message.offset + start).reshape(shape)
    result = np.empty(shape, np.float32)
    for first in range(0, shape[0], _ROWS):
        values = packed[first : first + _ROWS].astype(np.float64)
        values *= 2.0**binary
        values += reference
        if decimal:
            values *= 10.0**-decimal
        result[first : first + _ROWS] = values
    return result
