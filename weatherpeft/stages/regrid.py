"""Stage ``regrid``: raw files decoded once and regridded to every grid of the experiment."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from weatherpeft.grid import Grid
from weatherpeft.interfaces import DataRequest
from weatherpeft.sources import AnySource
from weatherpeft.spec import Spec

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from numpy.typing import NDArray

_BLOCK_BYTES = 64 * 2**20
_BLOCK_TIMES = 64
_log = logging.getLogger(__name__)


class RegridSpec(Spec):
    """What was downloaded, and the grids to bring it to."""

    source: AnySource
    """The provider, which knows how to read its files."""
    request: DataRequest
    """What the raw files hold."""
    grids: tuple[Grid, ...]
    """Target grids; each is regridded from the raw grid directly."""
    method: Literal["conservative", "bilinear"] = "conservative"
    """Cell means (WeatherBench 2) or values at the centers (WeatherBench 1)."""


def regrid(spec: RegridSpec, raw: Path, output: Path) -> None:
    """Write ``output/<label>.zarr`` for each grid: canonical, float32, a chunk a time.

    A chunk holds all members and levels of one variable and time on the whole grid; shards hold as
    many times as are in memory at once, so that memory does not grow with the period.

    Args:
        spec: source, request, grids and method.
        raw: directory of the raw files.
        output: directory of the stores.

    Raises:
        ValueError: raw files that do not hold the request, NaN in a decoded field (naming variable,
            level, time and member), or a grid beyond the raw data; ``output`` is then absent.
    """
    import dask
    import zarr

    from weatherpeft import store
    from weatherpeft.regridding import Regridder

    labels = [grid.label for grid in spec.grids]
    if not labels or len(set(labels)) != len(labels):
        raise ValueError(f"grids: expected one or more different grids, found {', '.join(labels) or 'none'}")
    with (
        store.artifact(output, spec, code=__name__, inputs=[raw]) as directory,
        dask.config.set(scheduler="synchronous"),
    ):
        dataset = spec.source.decode(spec.request, raw)
        latitude, longitude = dataset["latitude"].values, dataset["longitude"].values
        regridders = [Regridder(latitude, longitude, grid, spec.method) for grid in spec.grids]
        groups: list[Any] = []
        for label, regridder in zip(labels, regridders, strict=True):
            path = directory / f"{label}.zarr"
            _create(path, dataset, regridder.target, _block_times(dataset, spec.grids), spec.method)
            groups.append(zarr.open_group(path, mode="r+"))
        for number, (name, array) in enumerate(dataset.data_vars.items(), start=1):
            _log.info("regridding %s (%d of %d)", name, number, len(dataset.data_vars))
            for block in _blocks(array, _block_times(dataset, spec.grids)[str(name)]):
                values = array[block].values
                _check_finite(values, array[block])
                for group, regridder in zip(groups, regridders, strict=True):
                    group[str(name)][block] = regridder(values)


def _time_axis(array: "xr.DataArray") -> int | None:
    """Position of ``time`` or ``hourly_time``, None for a static field."""
    return next((axis for axis, name in enumerate(array.dims) if str(name).endswith("time")), None)


def _block_times(dataset: "xr.Dataset", grids: tuple[Grid, ...]) -> dict[str, int]:
    """Times of each variable that are in memory together: one shard on every grid."""
    result = {}
    for name, array in dataset.data_vars.items():
        axis = _time_axis(array)
        times = 1 if axis is None else array.shape[axis]
        cells = array.shape[-2] * array.shape[-1]
        fields = array.size // (cells * max(times, 1))
        largest = max(cells, *(grid.shape[0] * grid.shape[1] for grid in grids))
        result[str(name)] = max(1, min(times, _BLOCK_TIMES, _BLOCK_BYTES // (4 * largest * fields)))
    return result


def _blocks(array: "xr.DataArray", times: int) -> Iterator[tuple[slice, ...]]:
    """Indices of the blocks of a variable, in order of time."""
    axis = _time_axis(array)
    if axis is None:
        yield (slice(None),)
        return
    for start in range(0, array.shape[axis], times):
        yield (*(slice(None),) * axis, slice(start, start + times))


def _check_finite(values: "NDArray[np.float32]", block: "xr.DataArray") -> None:
    """Name the first field that holds NaN."""
    import numpy as np

    holes = np.isnan(values)
    if not holes.any():
        return
    first = np.argwhere(holes)[0][:-2]
    axes = zip(block.dims, first, strict=False)
    place = ", ".join(f"{name} {block[name].values[index]}" for name, index in axes)
    count = int(holes[tuple(first)].sum())
    raise ValueError(f"{block.name}{', ' if place else ''}{place}: expected finite values, found {count} NaN")


def _create(path: Path, dataset: "xr.Dataset", grid: Grid, block_times: dict[str, int], method: str) -> None:
    """Write the metadata and coordinates of a store, its fields still unwritten."""
    import dask.array
    import numpy as np
    import xarray as xr
    from zarr.codecs import BloscCodec

    from weatherpeft import store

    coordinates: dict[str, Any] = {str(name): array.variable for name, array in dataset.coords.items()}
    coordinates["latitude"] = ("latitude", grid.latitude, {"units": "degrees_north"})
    coordinates["longitude"] = ("longitude", grid.longitude, {"units": "degrees_east"})
    arrays: dict[str, Any] = {}
    encoding: dict[str, Any] = {}
    for name, array in dataset.data_vars.items():
        axis = _time_axis(array)
        shape = (*array.shape[:-2], *grid.shape)
        chunk = tuple(1 if position == axis else size for position, size in enumerate(shape))
        times = block_times[str(name)]
        shard = tuple(times if position == axis else size for position, size in enumerate(shape))
        arrays[str(name)] = (array.dims, dask.array.zeros(shape, dtype=np.float32, chunks=shape), array.attrs)
        encoding[str(name)] = {
            "chunks": chunk,
            "shards": None if axis is None else shard,
            "compressors": BloscCodec(cname="zstd", clevel=3, shuffle="shuffle", typesize=4),
            "_FillValue": None,
        }
    attributes = {
        **dataset.attrs,
        "grid": grid.label,
        "region": "global" if grid.region is None else grid.region.label,
        "regridding": method,
    }
    template = xr.Dataset(arrays, coordinates, attrs=attributes)
    store.write_dataset(template, path, compute=False, encoding=encoding)
