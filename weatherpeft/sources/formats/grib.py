"""GRIB files: fields that are found by the headers and read one at a time."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

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
from weatherpeft.sources.formats.grib_header import (
    Message,
    Names,
    Place,
    inventory,
    names_of,
    place_of,
)
from weatherpeft.sources.formats.grids import SEPARABLE, advice
from weatherpeft.sources.formats.names import Named, recognize
from weatherpeft.sources.formats.units import conversion

_SURFACES = ("surface", "heightAboveGround", "meanSea", "entireAtmosphere", "depthBelowLandLayer")
_MISSING = 3.4028234663852886e38
_ROWS = 32


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
class Chosen:
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
    messages = inventory(path)
    for key, found in found_fields(path, messages, variables, lead_hours, rename or {}):
        message, layout = found.message, found.layout
        read = partial(_read_message, path, message, layout)
        if found.chosen.conversion != (1.0, 0.0):
            read = partial(_converted, read, *found.chosen.conversion)
        yield (
            key,
            RawField(
                path, message.expver, message.member, layout, read, found.chosen.name, found.chosen.sure
            ),
        )


class FoundField(NamedTuple):
    """A message that is a field of a variable that was looked for."""

    message: Message
    layout: Layout
    chosen: Chosen


def found_fields(
    path: Path,
    messages: Iterable[Message],
    variables: VariableSet,
    lead_hours: int,
    rename: Mapping[str, str],
    names: Callable[[Path, Message], Names] = names_of,
) -> Iterator[tuple[Key, FoundField]]:
    """The messages that are fields of some variables. See ``grib_fields``, whose errors are those of this.

    Args:
        path: GRIB file.
        messages: its messages, or some of them.
        variables: see ``grib_fields``.
        lead_hours: see ``grib_fields``.
        rename: see ``grib_fields``.
        names: gives the names of a message's parameter.
    """
    rows = variable_rows(variables)
    chosen: dict[Place, Chosen | None] = {}
    layouts: dict[tuple[Any, ...], Layout] = {}
    for message in messages:
        if (place := place_of(message)) not in chosen:
            chosen[place] = _choose(path, message, rows, rename, names)
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
        yield key, FoundField(message, layout, its)


def _choose(
    path: Path,
    message: Message,
    rows: Sequence[Variable],
    rename: Mapping[str, str],
    names: Callable[[Path, Message], Names] = names_of,
) -> Chosen | None:
    """The variable that a parameter is, by its param id, and where that is another center's by its names."""
    on_pressure = message.type_of_level == PRESSURE
    if not on_pressure and message.type_of_level not in _SURFACES:
        return None
    for row in rows:
        if not rename and (row.param_id, row.kind == "atmospheric") == (message.param_id, on_pressure):
            return Chosen(row, str(message.param_id), True, (1.0, 0.0))
    name, standard_name, units = names(path, message)
    above_ground = message.type_of_level == "heightAboveGround"
    said = Named(name, standard_name, message.param_id, on_pressure, message.level if above_ground else None)
    for row in rows:
        if match := recognize(said, row, rename):
            by_id = message.param_id == row.param_id
            try:
                factors = (1.0, 0.0) if by_id else conversion(units, row, match.height)
            except ValueError as error:
                raise ValueError(f"{path}: {row.name}: {name}: {error}") from error
            return Chosen(row, name, match.sure, factors)
    return None


def grib_contents(path: Path, besides: VariableSet | None = None) -> list[str]:
    """The parameters of a GRIB file, by short name and type of level, without those of some variables."""
    return [f"{name} ({message.type_of_level})" for message, name, _ in grib_parameters(path, besides)]


def grib_parameters(path: Path, besides: VariableSet | None = None) -> Iterator[tuple[Message, str, str]]:
    """A message of each parameter of a GRIB file, with short name and units, but for some variables."""
    rows = variable_rows(besides) if besides else []
    places = {place_of(message): message for message in inventory(path)}
    for message in places.values():
        if not rows or _choose(path, message, rows, {}) is None:
            name, _, units = names_of(path, message)
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
