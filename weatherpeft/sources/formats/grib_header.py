"""The headers of GRIB files, message by message."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from weatherpeft.sources.formats.fields import PRESSURE
from weatherpeft.sources.formats.grids import SEPARABLE

_SIMPLE = ("referenceValue", "binaryScaleFactor", "decimalScaleFactor", "offsetBeforeData")


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


class Place(NamedTuple):
    """What tells a parameter from others: its id, and where it is, apart from the pressure."""

    param_id: int
    type_of_level: str
    level: int


def place_of(message: Message) -> Place:
    """The parameter of a message."""
    level = 0 if message.type_of_level == PRESSURE else message.level
    return Place(message.param_id, message.type_of_level, level)


class Names(NamedTuple):
    """What a message says of its parameter; ecCodes says ``unknown`` where it knows nothing."""

    short_name: str
    standard_name: str
    units: str


def names_of(path: Path, message: Message) -> Names:
    """The names of a message's parameter, read from the file."""
    import eccodes

    with path.open("rb") as stream:
        stream.seek(message.offset)
        handle = eccodes.codes_grib_new_from_file(stream, headers_only=True)
    try:
        return Names(*(str(eccodes.codes_get(handle, key)) for key in ("shortName", "cfName", "units")))
    finally:
        eccodes.codes_release(handle)


_KEPT = ("param_id", "type_of_level", "level", "interval_hours", "lead_hours", "member", "geometry")
"""What a header has of a message that files of a series share, besides the number of a list of times."""


class Header(NamedTuple):
    """What a file holds, and when.

    Attributes:
        structure: its messages, as JSON has them, but for their times: those that differ in nothing else
            stand once, with the number of their times.
        times: valid times (UTC, to the minute), ``(time,)`` each, in the order of the file.
    """

    structure: dict[str, Any]
    times: list[NDArray[np.datetime64]]


def header(path: Path) -> Header:
    """Read the headers of a file and put together what belongs together.

    Raises:
        ValueError: see ``inventory``.
    """
    names: dict[Place, Names] = {}
    times: dict[tuple[Any, ...], list[np.datetime64]] = {}
    for message in inventory(path):
        if (place := place_of(message)) not in names:
            names[place] = names_of(path, message)
        times.setdefault(tuple(getattr(message, key) for key in _KEPT), []).append(message.valid_time)
    lists: dict[tuple[np.datetime64, ...], int] = {}
    groups = [[*group, lists.setdefault(tuple(its), len(lists))] for group, its in times.items()]
    structure = {"kind": "GRIB", "names": [[*place, *its] for place, its in names.items()], "groups": groups}
    return Header(structure, [np.array(each, "datetime64[m]") for each in lists])


class Group(NamedTuple):
    """Messages of a file that differ in time alone.

    Attributes:
        first: the first of them, as far as a header has it.
        times: number of their times in the header.
    """

    first: Message
    times: int


def groups(header: Header) -> tuple[list[Group], dict[Place, Names]]:
    """The messages of a file from its header, and the names of their parameters."""
    found = []
    for *kept, number in header.structure["groups"]:
        values = dict(zip(_KEPT, kept, strict=True))
        values["geometry"] = tuple(values["geometry"])
        first = Message(
            **values, offset=0, length=0, valid_time=header.times[number][0], expver="", simple=None
        )
        found.append(Group(first, number))
    names = {Place(*row[:3]): Names(*row[3:]) for row in header.structure["names"]}
    return found, names
