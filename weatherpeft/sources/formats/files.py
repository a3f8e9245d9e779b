"""Raw GRIB and NetCDF files from any provider, checked and read as the canonical dataset.

The headers of a file give a list of two-dimensional fields with variable, level, valid time and member.
The lists of all files must hold the requested fields before anything is decoded.
"""

import logging
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from weatherpeft.artifacts.manifest import BOOKKEEPING
from weatherpeft.fields.table import NO_PARAM_ID
from weatherpeft.fields.variables import Variable, VariableSet
from weatherpeft.interfaces import DataRequest
from weatherpeft.sources.formats.fields import (
    FileKind,
    Key,
    Layout,
    RawField,
    in_words,
    listed,
    not_hourly,
)
from weatherpeft.sources.formats.grib import grib_contents, grib_fields
from weatherpeft.sources.formats.missing_times import how_to_declare
from weatherpeft.sources.formats.netcdf import netcdf_contents, netcdf_fields

if TYPE_CHECKING:
    import xarray as xr

HOURLY_TIME = "hourly_time"
"""Time dimension of accumulated fields: ends of hours."""
PRELIMINARY = {"time": "preliminary", HOURLY_TIME: "hourly_preliminary"}
"""For each time dimension, the coordinate that marks preliminary data (ERA5T). Final data has none."""
FINAL, ERA5T = "0001", "0005"
"""Experiment versions of final and of preliminary ERA5."""
_LISTED_FILES = 20
"""Most files that a message about a missing variable looks into."""
_log = logging.getLogger(__name__)

_SIGNATURES: tuple[tuple[bytes, FileKind], ...] = (
    (b"\x89HDF\r\n\x1a\n", "NetCDF4"), (b"CDF\x01", "NetCDF3"), (b"CDF\x02", "NetCDF3"),
    (b"CDF\x05", "NetCDF3"), (b"PK\x03\x04", "ZIP archive"), (b"PK\x05\x06", "ZIP archive"),
)  # fmt: skip


def raw_files(directory: Path) -> list[Path]:
    """The raw files of a download, sorted by name, without bookkeeping files."""
    return sorted(
        path
        for path in directory.iterdir()
        if path.is_file() and path.name not in BOOKKEEPING and not path.name.startswith(".")
    )


def place(file: Path, target: Path) -> None:
    """Give a file a second name: a hard link where the file system allows one, otherwise a copy."""
    try:
        os.link(file, target)
    except OSError:  # the target is on another file system, or the file belongs to another user
        shutil.copyfile(file, target)


def sniff(path: Path) -> FileKind:
    """Tell the kind of a file from its first bytes, whatever its name.

    Raises:
        ValueError: there is no such file.
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


def open_canonical(
    paths: Sequence[Path],
    request: DataRequest,
    times: NDArray[np.datetime64] | None = None,
    rename: Mapping[str, str] | None = None,
) -> "xr.Dataset":
    """Check raw files against a request and read them lazily.

    Other fields than the requested ones are ignored, as are forecasts with another lead time. Instantaneous
    fields have the dimension ``time``, with the times of the request. Accumulated fields have
    ``hourly_time``. For forecasts ``time`` is the valid time, with ``init_time`` along it. Where the
    files state experiment versions, the attribute ``expver`` counts the fields of each, and the coordinates
    of ``PRELIMINARY`` mark the times with preliminary fields.

    Args:
        paths: GRIB and NetCDF files, mixed and named in any way. Forecasts must be in GRIB.
        request: fields that the files must hold.
        times: valid times (UTC) of the instantaneous fields, where they are not those of the request.
        rename: our names of variables, by names in files (see ``names.recognize``).

    Returns:
        The canonical dataset of ``interfaces.Source.decode``, with one dask chunk per time and member.

    Raises:
        ValueError: a file is empty, truncated or no data, a field, level, time or member is missing or
            there twice, fields are on different grids, or units cannot be converted.
    """
    if times is None:
        times = request.times()
    expected = dict.fromkeys(_expected(request, times))
    if not expected:
        raise ValueError("the request names no variable")
    fields: dict[Key, RawField] = {}
    seen: set[Key] = set()
    for path in paths:
        for key, field in _fields(path, request, rename or {}):
            seen.add(key)
            key = key if request.members or key.member is None else key._replace(member=None)
            if key in expected:
                _add(fields, key, field)
    missing = [key for key in expected if key not in fields]
    if missing:
        row = request.variables.row(missing[0].variable)
        raise ValueError(_missing(missing, row, expected, seen, paths))
    layout = next(iter(fields.values())).layout
    for key, field in fields.items():
        if field.layout is not layout and not field.layout.matches(layout):
            raise ValueError(f"{field.file}: {key}: expected the grid {layout}, found {field.layout}")
    return _assemble(fields, request, times, layout)


def _expected(request: DataRequest, times: NDArray[np.datetime64]) -> Iterator[Key]:
    variables = request.variables
    members: tuple[int | None, ...] = request.members or (None,)
    groups = (
        (variables.surface, (None,), times),
        (variables.atmospheric, variables.levels_hpa, times),
        (variables.accumulated, (None,), request.hourly_times() if variables.accumulated else times[:0]),
    )
    yield from (Key(name) for name in variables.static)
    for names, levels, moments in groups:
        for name in names:
            yield from (Key(name, level, t, m) for level in levels for t in moments for m in members)


def _add(fields: dict[Key, RawField], key: Key, field: RawField) -> None:
    """Add a field, and refuse one that is there already. Of a static field the first one counts.

    A field with a sure name takes the place of one without.
    """
    other = fields.setdefault(key, field)
    if other is not field and other.sure != field.sure:
        fields[key] = field if field.sure else other
        return
    if other is field or key.time is None:
        return
    if other.name != field.name and not field.sure:
        cause = (
            f"as {other.name} and {field.name}; say which one in the source, such as "
            f"rename: {{{other.name}: {key.variable}}}"
        )
    elif other.expver != field.expver:
        versions = sorted((other.expver, field.expver))
        what = "final and preliminary data" if versions == [FINAL, ERA5T] else "two versions of the data"
        cause = f"with expver {other.expver} and {field.expver}, {what}; keep one of them"
    elif other.member != field.member:
        cause = f"as members {other.member} and {field.member}, and the request names no members"
    else:
        cause = "the same field"
    raise ValueError(f"{field.file}: {key}: found twice (before in {other.file.name}), {cause}")


def _missing(
    missing: Sequence[Key], row: Variable, expected: Collection[Key], seen: set[Key], paths: Sequence[Path]
) -> str:
    """An error message of one line that names the first missing field and what was found of it."""
    first = missing[0]
    found = [key for key in seen if key.variable == first.variable]
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    names = (", ".join(str(path) for path in paths[:3]) or "no files") + more
    text = f"{names}: {first} is missing ({len(missing)} of {len(expected)} fields are)"
    levels = sorted({key.level for key in found if key.level is not None})
    members = sorted({key.member for key in found if key.member is not None})
    times = _times(found, first.variable)
    if not found:
        known = "" if row.param_id == NO_PARAM_ID else f", param id {row.param_id}"
        return f"{text}; found none at all (short name {row.short_name}{known}){_held(paths)}"
    if first.level is not None and first.level not in levels:
        return f"{text}; found no level {first.level}, only {', '.join(map(str, levels))} hPa"
    if first.member is not None and first.member not in members:
        return f"{text}; found no member {first.member}, only {', '.join(map(str, members)) or 'none'}"
    advice = not_hourly(row, times)
    if not advice and first.time is not None:
        wanted, lacking = (_times(keys, first.variable) for keys in (expected, missing))
        whole = np.setdiff1d(times, lacking)  # at which no level or member is missing
        advice = how_to_declare(wanted, whole, row.kind == "accumulated")
    return f"{text}; found {in_words(times)}{advice}"


def _times(keys: Iterable[Key], variable: str) -> NDArray[np.datetime64]:
    """The times of a variable's keys, in order."""
    times = {key.time for key in keys if key.variable == variable and key.time is not None}
    return np.array(sorted(times), "datetime64[m]")


def _held(paths: Sequence[Path]) -> str:
    """The end of an error message that lists the variables of some files, by their names there."""
    held: dict[str, None] = {}
    for path in paths[:_LISTED_FILES]:
        kind = sniff(path)
        names = grib_contents(path) if kind == "GRIB" else netcdf_contents(path, kind)
        held.update(dict.fromkeys(names))
    which = "the files hold" if len(paths) <= _LISTED_FILES else f"the first {_LISTED_FILES} files hold"
    return f"; {which} {listed(list(held))}" if held else ""


class _Stack:
    """Fields as one array ``([member,] time, [level,] latitude, longitude)`` that reads the indexed part."""

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


def _assemble(
    fields: Mapping[Key, RawField], request: DataRequest, times: NDArray[np.datetime64], layout: Layout
) -> "xr.Dataset":
    import dask.array
    import xarray as xr

    variables = request.variables
    moments = {"time": list(times)}
    if variables.accumulated:
        moments[HOURLY_TIME] = list(request.hourly_times())
    coordinates: dict[str, Any] = {"latitude": layout.latitude, "longitude": layout.longitude}
    arrays = {}
    for name in variables.names:
        row = variables.row(name)
        axes: dict[str, Sequence[Any]] = {}
        if row.kind != "static":
            if request.members:
                axes["member"] = request.members
            axis = HOURLY_TIME if row.kind == "accumulated" else "time"
            axes[axis] = moments[axis]
        if row.kind == "atmospheric":
            axes["level"] = variables.levels_hpa
        table = np.empty([len(values) for values in axes.values()], object)
        files = np.empty_like(table)
        for position in np.ndindex(table.shape):
            part = {axis: values[i] for (axis, values), i in zip(axes.items(), position, strict=True)}
            time = part.get("time", part.get(HOURLY_TIME))
            table[position] = fields[Key(name, part.get("level"), time, part.get("member"))]
            files[position] = cast(RawField, table[position]).file
        for axis, values in axes.items():
            coordinates[axis] = np.array(values, "datetime64[ns]" if axis.endswith("time") else np.int64)
        stack = _Stack(table, layout)
        chunks = tuple(-1 if axis == "level" else 1 for axis in axes) + (-1, -1)
        data = dask.array.from_array(stack, chunks=chunks, name=False, asarray=False, fancy=False)
        attributes = {"units": row.units, "long_name": row.long_name, "short_name": row.short_name}
        arrays[name] = ((*axes, "latitude", "longitude"), data, attributes, {"files": files})
    if request.lead_hours:
        starts = np.array(times - np.timedelta64(request.lead_hours, "h"), "datetime64[ns]")
        coordinates["init_time"] = ("time", starts, {"long_name": "Start of the forecast"})
    for axis, found in _preliminary(fields, variables).items():
        flags = np.isin(coordinates[axis], np.array(sorted(found), "datetime64[ns]"))
        coordinates[PRELIMINARY[axis]] = (axis, flags, {"long_name": "ERA5T, which may still change"})
    return xr.Dataset(arrays, coordinates, attrs=_versions(fields))


def _preliminary(fields: Mapping[Key, RawField], variables: VariableSet) -> dict[str, set[np.datetime64]]:
    """The times of preliminary fields, by time dimension."""
    found: dict[str, set[np.datetime64]] = {}
    for key, field in fields.items():
        if _is_preliminary(field.expver) and key.time is not None:
            hourly = key.variable in variables.accumulated
            found.setdefault(HOURLY_TIME if hourly else "time", set()).add(key.time)
    return found


def _is_preliminary(expver: str) -> bool:
    """Whether ERA5T is among the versions of a field, of which old CDS files have several."""
    return ERA5T in expver.split("/")


def _versions(fields: Mapping[Key, RawField]) -> dict[str, str]:
    """The attribute ``expver``: number of fields and first and last time of each experiment version."""
    spans: dict[str, list[np.datetime64]] = {}
    for key, field in fields.items():
        if field.expver and key.time is not None:
            spans.setdefault(field.expver, []).append(key.time)
    for version in spans:
        if _is_preliminary(version):
            start = min(spans[version])
            _log.warning("expver %s from %s: preliminary ERA5T, which may still change", version, start)
    text = (f"{name}: {len(t)} fields, {min(t)} to {max(t)}" for name, t in sorted(spans.items()))
    return {"expver": "; ".join(text)} if spans else {}


def _fields(path: Path, request: DataRequest, rename: Mapping[str, str]) -> Iterable[tuple[Key, RawField]]:
    kind = sniff(path)
    if kind == "GRIB":
        return grib_fields(path, request.variables, request.lead_hours, rename)
    if kind in ("NetCDF3", "NetCDF4"):
        if request.lead_hours:
            raise ValueError(f"{path}: expected forecasts in GRIB, found {kind}")
        return netcdf_fields(path, kind, request.variables, rename)
    advice = {
        "ZIP archive": "is a ZIP archive; unpack it and give the files inside (CDS packs mixed requests)",
        "HTML page": "is an HTML page, not data; the server probably answered with an error or a login",
        "empty": "is empty; download it again",
    }
    raise ValueError(f"{path}: {advice.get(kind, 'is neither GRIB nor NetCDF')}")
