"""Any store that xarray opens, with its variables under the names of the table."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weatherpeft.fields.variables import Variable
from weatherpeft.interfaces import DataRequest
from weatherpeft.sources.formats.coordinates import at_one_height, choose, levels, roles
from weatherpeft.sources.formats.fields import variable_rows
from weatherpeft.sources.formats.files import sniff
from weatherpeft.sources.formats.names import Match
from weatherpeft.sources.formats.netcdf import open_netcdf
from weatherpeft.sources.formats.stores import cause, check_arrays, zarr_store
from weatherpeft.sources.formats.units import conversion

if TYPE_CHECKING:
    import xarray as xr

_AXES = ("time", "level", "latitude", "longitude")


def with_environment(options: Any) -> Any:
    """Options in whose texts ``$NAME`` is replaced by that environment variable.

    Raises:
        ValueError: there is no such variable. The message names it.
    """
    if isinstance(options, Mapping):
        return {key: with_environment(value) for key, value in options.items()}
    if isinstance(options, list):
        return [with_environment(value) for value in options]
    return re.sub(r"\$(\w+)", _variable, options) if isinstance(options, str) else options


def _variable(match: re.Match[str]) -> str:
    if match[1] not in os.environ:
        raise ValueError(f"storage_options: the environment variable {match[1]} is not set")
    return os.environ[match[1]]


def open_any(path: str, engine: str | None, options: Mapping[str, Any]) -> "xr.Dataset":
    """Open a store with xarray. Its values are lazy, and decoded as the CF conventions say.

    Args:
        path: folder, file or URL. For the engine ``kerchunk`` it is the file of references.
        engine: xarray's engine; None leaves the choice to xarray.
        options: options of fsspec for a URL; for ``kerchunk`` those of the file system of references, of
            which ``remote_options`` are for the files that are referred to.

    Raises:
        ValueError: xarray cannot open the store, or a Zarr store is refused (see ``stores.open_zarr``). The
            message names the store.
    """
    import xarray as xr

    local = "://" not in path
    own = str(Path(path).expanduser()) if local else path
    if local and not Path(own).exists():
        raise ValueError(f"{path}: no such file or folder")
    if local and Path(own).is_file() and engine in (None, "netcdf4"):
        kind = sniff(Path(own))
        if kind in ("NetCDF3", "NetCDF4"):
            return open_netcdf(Path(own), kind)
    try:
        if engine == "kerchunk":
            targets = {**options.get("remote_options", {}), "asynchronous": True}  # as zarr-python needs them
            return _open_zarr("reference://", {"fo": own, **options, "remote_options": targets})
        if engine == "zarr" or (engine is None and _looks_like_zarr(own)):
            return _open_zarr(own, options)
        more: dict[str, Any] = {"storage_options": dict(options)} if options else {}
        return xr.open_dataset(own, engine=engine, cache=False, decode_timedelta=False, **more)
    except Exception as error:  # depends on engine and file system
        parquet = "; write the references as JSON, because fsspec does not read Parquet with pandas 3"
        advice = parquet if engine == "kerchunk" and Path(own).is_dir() else ""
        raise ValueError(f"{path}: cannot open the store ({cause(error)}){advice}") from error


def _looks_like_zarr(path: str) -> bool:
    inside = [Path(path) / name for name in ("zarr.json", ".zmetadata", ".zgroup")]
    return path.rstrip("/").endswith((".zarr", ".zarr.zip")) or any(file.is_file() for file in inside)


def _open_zarr(url: str, options: Mapping[str, Any]) -> "xr.Dataset":
    """Open a Zarr store of format 2 or 3, with or without consolidated metadata."""
    import xarray as xr
    import zarr

    store = zarr_store(url, options)
    group = zarr.open_group(store, mode="r")
    check_arrays(dict(group.arrays()))
    consolidated = group.metadata.consolidated_metadata is not None
    return xr.open_dataset(
        store, engine="zarr", consolidated=consolidated, cache=False, decode_timedelta=False
    )


def by_our_names(
    dataset: "xr.Dataset", label: str, request: DataRequest, rename: Mapping[str, str]
) -> "dict[str, xr.DataArray]":
    """Those of the requested variables that a dataset has; dimensions ``time, level, latitude, longitude``.

    Levels are in hPa. The attribute ``units`` gives units that ``unit_conversion`` reads. Those of a height
    are units of geopotential, such as ``9.80665 m2 s-2``.

    Args:
        dataset: opened store.
        label: path or URL of the store, for messages.
        request: variables to find.
        rename: our names of variables by the store's (see ``names.recognize``).

    Raises:
        ValueError: a variable could be either of two arrays, lacks a coordinate, or has units that cannot be
            converted. The message names store and variable.
    """
    found = {str(name): roles(array) for name, array in dataset.data_vars.items()}
    arrays = {}
    for row in variable_rows(request.variables):
        try:
            chosen = choose(dataset, found, row, rename)
            for name, match in chosen.items():
                arrays[row.name] = _renamed(dataset[name], found[name], row, match)
        except ValueError as error:
            raise ValueError(f"{label}: {row.name}: {error}") from error
    return arrays


def _renamed(array: "xr.DataArray", found: Mapping[str, str], row: Variable, match: Match) -> "xr.DataArray":
    """An array under the name of the table, with its coordinates alone."""
    array = at_one_height(array, found)
    factor, _ = conversion(str(array.attrs.get("units", "none")), row, match.height)
    if row.kind == "static" and found.get("time") in array.dims:
        array = array.isel({found["time"]: 0})
    if row.kind == "atmospheric" and array[found["level"]].ndim == 0:
        array = array.expand_dims(found["level"])
    axes = {axis: array[found[axis]] for axis in _AXES if axis in found}
    names = {axis.dims[0]: name for name, axis in axes.items() if axis.ndim == 1}
    values = {name: levels(axes[name]) if name == "level" else axes[name].values for name in names.values()}
    chunks = {
        names.get(name, name): size for name, size in array.encoding.get("preferred_chunks", {}).items()
    }
    bare = array.drop_vars(list(array.coords)).rename(names).rename(row.name)
    bare.encoding = {**array.encoding, "preferred_chunks": chunks}
    if match.height and factor != 1.0:
        bare.attrs["units"] = f"{factor!r} {row.units}"
    return bare.assign_coords({name: (name, value) for name, value in values.items()})
