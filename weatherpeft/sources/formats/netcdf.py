"""NetCDF files, classic and NetCDF-4, of any layout: their coordinates tell what each field is."""

from collections.abc import Iterator, Mapping
from functools import partial
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from weatherpeft.fields.variables import Variable, VariableSet
from weatherpeft.sources.formats.coordinates import (
    at_one_height,
    choose,
    contents,
    is_coordinate,
    levels,
    roles,
)
from weatherpeft.sources.formats.fields import (
    CHUNK_BYTES,
    COORDINATES,
    POINTS,
    FileKind,
    Key,
    Layout,
    RawField,
    canonical_layout,
    check_points,
    to_minutes,
    variable_rows,
)
from weatherpeft.sources.formats.grids import check_separable
from weatherpeft.sources.formats.names import Match
from weatherpeft.sources.formats.units import conversion

if TYPE_CHECKING:
    import netCDF4
    import xarray as xr


def netcdf_fields(
    path: Path, kind: FileKind, variables: VariableSet, rename: Mapping[str, str]
) -> Iterator[tuple[Key, RawField]]:
    """The fields of some variables in a NetCDF file.

    The first field triggers the opening of the file, which then stays open. ``RawField.read`` reads values
    and converts them to the units of the table of variables.

    Args:
        path: NetCDF file.
        kind: ``NetCDF3`` or ``NetCDF4``, as ``files.sniff`` tells it.
        variables: variables to find, on all pressure levels.
        rename: our names of variables, by names in files (see ``names.recognize``).

    Raises:
        ValueError: the file is truncated or cannot be decoded, or a variable could be either of two arrays,
            or has an unknown dimension, a missing coordinate, another calendar than the standard one, an
            axis that is not regular, or units that cannot be converted.
    """
    yield from dataset_fields(path, open_netcdf(path, kind), variables, rename)


def dataset_fields(
    path: Path, dataset: "xr.Dataset", variables: VariableSet, rename: Mapping[str, str]
) -> Iterator[tuple[Key, RawField]]:
    """The fields of some variables in an opened file (see ``netcdf_fields``)."""
    found = {str(name): roles(array) for name, array in dataset.data_vars.items()}
    for row in variable_rows(variables):
        try:
            chosen = choose(dataset, found, row, rename)
            for name, match in chosen.items():
                yield from _netcdf_variable(path, dataset[name], found[name], row, match)
        except ValueError as error:
            raise ValueError(f"{path}: {row.name}: {error}") from error


def netcdf_contents(path: Path, kind: FileKind, besides: VariableSet | None = None) -> list[str]:
    """The variables of a NetCDF file, each with its standard name and units where it has them.

    Args:
        path: NetCDF file.
        kind: its kind.
        besides: variables of the table to leave out.
    """
    with open_netcdf(path, kind) as dataset:
        found = {str(name): roles(array) for name, array in dataset.data_vars.items()}
        rows = variable_rows(besides) if besides else []
        return contents(dataset.drop_vars(name for row in rows for name in choose(dataset, found, row, {})))


def open_netcdf(path: Path, kind: FileKind) -> "xr.Dataset":
    """Open a NetCDF file; its values are lazy.

    Raises:
        ValueError: the file is truncated or cannot be decoded. The message names it.
    """
    import netCDF4
    import xarray as xr

    if kind == "NetCDF3":
        check_classic(path)
    try:
        with netCDF4.Dataset(path) as opened:
            check_sizes(opened)
        return xr.open_dataset(path, engine="netcdf4", cache=False, decode_timedelta=False)
    except OSError as error:
        raise ValueError(f"{path}: truncated or damaged {kind} ({error})") from error
    except (ValueError, RuntimeError) as error:  # xarray's messages have several lines
        raise ValueError(f"{path}: cannot decode {kind} ({' '.join(str(error).split())})") from error


def check_sizes(opened: "netCDF4.Dataset") -> None:
    """Refuse a header that claims more than any file of weather has, before memory is taken for it.

    Raises:
        ValueError: a coordinate, a dimension or a chunk is too large.
    """
    for name, array in opened.variables.items():
        if is_coordinate(name, array.dimensions) and prod(array.shape) > COORDINATES:
            raise ValueError(f"expected up to {COORDINATES} values of {name}, found shape {array.shape}")
    for name, dimension in opened.dimensions.items():
        if len(dimension) > POINTS:
            raise ValueError(f"expected up to {POINTS} values along {name}, found {len(dimension)}")
    for name, array in opened.variables.items():
        chunks = array.chunking()
        if isinstance(chunks, list) and prod(chunks) * getattr(array.dtype, "itemsize", 1) > CHUNK_BYTES:
            raise ValueError(f"expected chunks of up to {CHUNK_BYTES} bytes, found {name} in {chunks}")


def check_classic(path: Path) -> None:
    """Refuse a truncated classic file. SciPy notices it; the NetCDF library reads zeros past its end."""
    from scipy.io import netcdf_file

    with path.open("rb") as stream:
        if stream.read(4) == b"CDF\x05":
            return
    try:
        netcdf_file(path, mmap=True).close()
    except (ValueError, TypeError, IndexError) as error:
        raise ValueError(f"{path}: truncated or damaged NetCDF3 ({error})") from error


def _netcdf_variable(
    path: Path, array: "xr.DataArray", found: Mapping[str, str], row: Variable, match: Match
) -> Iterator[tuple[Key, RawField]]:
    """The fields of one variable, without time and member if it is static."""
    array = at_one_height(array, found)
    axes = {role: array[name] for role, name in found.items()}
    static = row.kind == "static"
    for role in ("latitude", "longitude", *(() if static else ("time",))):
        if role not in axes:
            raise ValueError(f"expected a coordinate {role}, found {', '.join(map(str, array.coords))}")
    check_separable(axes["latitude"], axes["longitude"])
    dimensions = {axis.dims[0]: role for role, axis in axes.items() if axis.ndim == 1 and role != "expver"}
    unknown = [name for name in array.dims if name not in dimensions and name != "expver"]
    if unknown:
        raise ValueError(f"unknown dimension {unknown[0]}")
    factor, offset = conversion(str(array.attrs.get("units", "none")), row, match.height)
    check_points(axes["latitude"].size, axes["longitude"].size)
    layout = canonical_layout(axes["latitude"].values, axes["longitude"].values)
    array = array.transpose(..., axes["latitude"].dims[0], axes["longitude"].dims[0])
    values: dict[str, list[Any]] = {
        "time": _times(axes["time"]) if "time" in axes and not static else [None],
        "level": levels(axes["level"]) if "level" in axes else [None],
        "member": axes["member"].values.reshape(-1).tolist() if "member" in axes and not static else [None],
    }
    if prod(map(len, values.values())) > COORDINATES:
        raise ValueError(f"expected up to {COORDINATES} fields, found {[*map(len, values.values())]}")
    versions = _expver(axes.get("expver"), len(values["time"]))
    for index in np.ndindex(*map(len, values.values())):
        place = dict(zip(values, index, strict=True))
        key = Key(row.name, **{role: values[role][place[role]] for role in values})
        where = {
            name: place[role] for name, role in dimensions.items() if role in place and name in array.dims
        }
        read = partial(_read_slab, array, where, layout, factor, offset, f"{path}: {key}")
        version = versions[place["time"]]
        yield key, RawField(path, version, key.member, layout, read, str(array.name), match.sure)


def _times(coordinate: "xr.DataArray") -> list[np.datetime64]:
    times = np.atleast_1d(coordinate.values)
    if times.dtype.kind != "M":
        raise ValueError(f"expected times of the standard calendar, found {times[0]!r}")
    return list(to_minutes(times))


def _expver(coordinate: "xr.DataArray | None", times: int) -> list[str]:
    """Experiment version of each time. In old CDS files, where it is a dimension, every time has them all."""
    if coordinate is None:
        return [""] * times
    names = [_version(value) for value in np.atleast_1d(coordinate.values)]
    if coordinate.dims == ("expver",) or len(names) != times:
        return ["/".join(names)] * times
    return names


def _version(value: Any) -> str:
    """An experiment version as in GRIB: ``0001`` for 1, and texts such as ``iekm`` as they are."""
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    return (value.strip() if isinstance(value, str) else str(int(value))).zfill(4)


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
