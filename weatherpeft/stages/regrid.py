"""Stage ``regrid``: raw files, decoded once and regridded to every grid of the experiment."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from weatherpeft.fields.grid import Grid
from weatherpeft.fields.plausible import Decision, Implausible, check_field
from weatherpeft.fields.variables import Variable
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
    plausible: Decision = Field(default="stop", exclude_if=lambda decision: decision == "stop")
    """What happens to a raw field that is not plausible."""


def regrid(spec: RegridSpec, raw: Path, output: Path) -> None:
    """Regrid raw data to each grid and write one Zarr store per grid.

    A store is ``output/<label>.zarr``, in the layout of ``field_store``. Its fields are exact, in float32.
    Memory holds one shard of every grid and one raw variable of one time, whatever the period.

    Args:
        spec: source, request, grids and method.
        raw: directory of the raw files.
        output: directory of the stores.

    Raises:
        ValueError: no grid is given or one is given twice, the raw files do not hold the request, a field is
            not plausible (see ``plausible.check_field``; the message names file, variable, member, time and
            level), or a grid reaches beyond the raw data. ``output`` is then absent.

    Example:
        weatherpeft regrid --spec @regrid.json --raw data/test/raw/20010115-20010117
            --output results/test/regridded/20010115-20010117
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
        screen = _Screen(raw, spec.plausible)
        if fields:
            _regrid(store.FIELDS, [(variables.row(name), dataset[name]) for name in fields], targets, screen)
        for name in (*variables.accumulated, *variables.static):
            _regrid(name, [(variables.row(name), dataset[name])], targets, screen)


def _attributes(spec: RegridSpec, grid: Grid) -> dict[str, Any]:
    from weatherpeft.fields.regridding import MINIMUM_VALID_SHARE

    region = "global" if grid.region is None else grid.region.label
    return {
        "grid": grid.label,
        "region": region,
        "regridding": spec.method,
        "minimum_valid_share": MINIMUM_VALID_SHARE,
    }


def _regrid(
    name: str,
    arrays: "list[tuple[Variable, xr.DataArray]]",
    targets: "list[tuple[Regridder, FieldWriter]]",
    screen: "_Screen",
) -> None:
    """Regrid variables with the same times and members into one array of every store.

    Args:
        name: name of the array in the stores.
        arrays: rows and fields of canonical variables. They and their levels follow each other along the
            array's channels.
        targets: regridder and writer of every grid.
        screen: refuses raw fields that are not plausible.
    """
    import numpy as np

    axis = next((axis for axis in _TIMES if axis in arrays[0][1].dims), None)
    channels = sum(array.sizes.get("level", 1) for _, array in arrays)
    for place in targets[0][1].blocks(name):
        _log.info("regridding %s, block %s", name, place)
        times = place[-1] if place else slice(0, 1)
        member = {"member": place[0]} if len(place) == 2 else {}
        shape = (times.stop - times.start, channels)
        results = [np.empty((*shape, *one.target.shape), np.float32) for one, _ in targets]
        for row, time in enumerate(range(times.start, times.stop)):
            channel = 0
            for variable, array in arrays:
                chosen = member if axis is None else {**member, axis: time}
                moment = array.isel(chosen)
                values = _read(moment).reshape(-1, *moment.shape[-2:])
                screen(values, variable, array, chosen)
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


class _Screen:
    """Stops at a field that is not plausible, or warns of the first of each variable and level.

    Args:
        raw: directory of the raw files.
        decision: whether to stop or to warn. A field with NaN or infinite values stops the stage anyway.
    """

    def __init__(self, raw: Path, decision: Decision) -> None:
        self._raw = raw
        self._decision = decision
        self._warned: set[tuple[str, int | None]] = set()

    def __call__(
        self,
        values: "NDArray[np.float32]",
        row: Variable,
        array: "xr.DataArray",
        chosen: Mapping[str, int],
    ) -> None:
        """Check the fields of one time and member.

        Args:
            values: fields, shape ``(level, latitude, longitude)``; a single one has one level.
            row: row of the variable.
            array: canonical variable that they are part of.
            chosen: position along time and member.

        Raises:
            ValueError: naming the first such field.
        """
        levels: list[int | None] = array["level"].values.tolist() if "level" in array.dims else [None]
        latitude, longitude = array["latitude"].values, array["longitude"].values
        for field, level in zip(values, levels, strict=True):
            try:
                check_field(field, row, level, latitude, longitude)
            except Implausible as error:
                where = self._place(array, {**chosen, "level": levels.index(level)}, level)
                if not error.usable:
                    raise ValueError(f"{where}: {error}") from error
                if self._decision == "stop":
                    advice = "if it is right, say plausible: warn in the source"
                    raise ValueError(f"{where}: {error}; {advice}") from error
                if (row.name, level) not in self._warned:
                    _log.warning("%s: %s; later such fields are not named", where, error)
                self._warned.add((row.name, level))

    def _place(self, array: "xr.DataArray", chosen: Mapping[str, int], level: int | None) -> str:
        """File, variable, member, time and level of a field."""
        files = array.encoding.get("files")
        file = self._raw if files is None else files[tuple(chosen[str(axis)] for axis in array.dims[:-2])]
        parts = [str(array.name)]
        if "member" in chosen:
            parts.append(f"member {array['member'].values[chosen['member']]}")
        for axis in _TIMES:
            if axis in chosen:
                moment = array[axis].values[chosen[axis]].astype("datetime64[m]")
                parts.append(f"time {moment} UTC")
        parts += [] if level is None else [f"level {level}"]
        return f"{file}: {', '.join(parts)}"
