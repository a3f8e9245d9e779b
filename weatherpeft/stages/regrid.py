"""Stage ``regrid``: raw files, decoded once and regridded to every grid of the experiment."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from weatherpeft.fields.grid import Grid
from weatherpeft.fields.variables import VARIABLES
from weatherpeft.interfaces import DataRequest
from weatherpeft.sources import AnyForecastSource, AnySource
from weatherpeft.spec import Spec

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from numpy.typing import NDArray

    from weatherpeft.artifacts.field_store import FieldWriter
    from weatherpeft.fields.regridding import Regridder

_TIMES = ("time", "hourly_time")
_log = logging.getLogger(__name__)


class RegridSpec(Spec):
    """Raw data and the grids that it is regridded to."""

    source: AnySource | AnyForecastSource
    """Source of the data, which decodes its own raw files."""
    request: DataRequest
    """Fields, period, time step and members of the raw files."""
    grids: tuple[Grid, ...]
    """Target grids; the raw data is regridded to each of them directly."""
    method: Literal["conservative", "bilinear"] = "conservative"
    """Regridding to cell means (WeatherBench 2) or to values at the cell centers (WeatherBench 1)."""


def regrid(spec: RegridSpec, raw: Path, output: Path) -> None:
    """Regrid raw data to each grid and write one Zarr store per grid.

    A store is ``output/<label>.zarr``, in the layout of ``field_store``. Its fields are exact, in float32.
    Memory holds one shard of every grid and one raw variable of one time, whatever the period.

    Args:
        spec: source, request, grids and method.
        raw: directory of the raw files.
        output: directory of the stores.

    Raises:
        ValueError: no grid is given or one is given twice, the raw files do not hold the request, a field of
            a variable that is defined everywhere holds NaN (the message names variable, level, time and
            member), or a grid reaches beyond the raw data. ``output`` is then absent.
    """
    import dask

    from weatherpeft.artifacts import store
    from weatherpeft.artifacts.field_store import FieldWriter, shard_times
    from weatherpeft.artifacts.manifest import check_artifact
    from weatherpeft.fields.regridding import Regridder

    labels = [grid.label for grid in spec.grids]
    if not labels or len(set(labels)) != len(labels):
        raise ValueError(f"grids: expected one or more different grids, found {', '.join(labels) or 'none'}")
    variables = spec.request.variables
    block = shard_times(spec.grids, variables)
    with (
        store.artifact(output, spec, code=__name__, inputs=[raw]) as directory,
        dask.config.set(scheduler="synchronous"),
    ):
        check_artifact(raw)
        dataset = spec.source.decode(spec.request, raw)
        latitude, longitude = dataset["latitude"].values, dataset["longitude"].values
        regridders = [Regridder(latitude, longitude, grid, spec.method) for grid in spec.grids]
        writers = [
            FieldWriter(
                directory / f"{grid.label}.zarr", dataset, grid, variables, block, _attributes(spec, grid)
            )
            for grid in spec.grids
        ]
        fields = [*variables.surface, *variables.atmospheric]
        targets = list(zip(regridders, writers, strict=True))
        if fields:
            _regrid(store.FIELDS, [dataset[name] for name in fields], targets)
        for name in (*variables.accumulated, *variables.static):
            _regrid(name, [dataset[name]], targets)


def _attributes(spec: RegridSpec, grid: Grid) -> dict[str, Any]:
    from weatherpeft.fields.regridding import MINIMUM_VALID_SHARE

    region = "global" if grid.region is None else grid.region.label
    return {
        "grid": grid.label,
        "region": region,
        "regridding": spec.method,
        "minimum_valid_share": MINIMUM_VALID_SHARE,
    }


def _regrid(name: str, arrays: "list[xr.DataArray]", targets: "list[tuple[Regridder, FieldWriter]]") -> None:
    """Regrid variables with the same times and members into one array of every store.

    Args:
        name: name of the array in the stores.
        arrays: canonical variables. They and their levels follow each other along the array's channels.
        targets: regridder and writer of every grid.
    """
    import numpy as np

    axis = next((axis for axis in _TIMES if axis in arrays[0].dims), None)
    channels = sum(array.sizes.get("level", 1) for array in arrays)
    for place in targets[0][1].blocks(name):
        _log.info("regridding %s, block %s", name, place)
        times = place[-1] if place else slice(0, 1)
        member = {"member": place[0]} if len(place) == 2 else {}
        shape = (times.stop - times.start, channels)
        results = [np.empty((*shape, *one.target.shape), np.float32) for one, _ in targets]
        for row, time in enumerate(range(times.start, times.stop)):
            channel = 0
            for array in arrays:
                variable = VARIABLES[str(array.name)]
                moment = array.isel(member if axis is None else {**member, axis: time})
                values = _read(moment).reshape(-1, *moment.shape[-2:])
                _check_finite(values, moment, variable.partial)
                for result, (regridder, _) in zip(results, targets, strict=True):
                    regridded = regridder.classes(values) if variable.categorical else regridder(values)
                    result[row, channel : channel + len(values)] = regridded
                channel += len(values)
        for result, (_, writer) in zip(results, targets, strict=True):
            writer.write(name, place, result)


def _read(moment: "xr.DataArray") -> "NDArray[np.float32]":
    """Read the fields of one time. A single chunk is used as it is, because dask would copy it."""
    chunks = moment.data.to_delayed()
    values: NDArray[np.float32] = chunks.item().compute() if chunks.size == 1 else moment.values
    return values


def _check_finite(values: "NDArray[np.float32]", moment: "xr.DataArray", partial: bool) -> None:
    """Refuse fields of one time that hold NaN; a partial variable may, if a field holds other values too.

    Raises:
        ValueError: naming the first such field.
    """
    import numpy as np

    if not np.isnan(values.min()):
        return
    holes = np.isnan(values)
    if partial:
        holes &= holes.all(axis=(-2, -1), keepdims=True)
    if not holes.any():
        return
    level, *_ = np.argwhere(holes)[0]
    place = [str(moment.name)]
    place += [f"{axis} {moment[axis].values}" for axis in ("member", *_TIMES) if axis in moment.coords]
    place += [f"level {moment['level'].values[level]}"] if "level" in moment.dims else []
    raise ValueError(f"{', '.join(place)}: expected finite values, found {int(holes[level].sum())} NaN")
