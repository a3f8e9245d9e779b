"""Stage ``regrid``: raw files, decoded once and regridded to every grid of the experiment."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from weatherpeft.fields.grid import Grid
from weatherpeft.fields.plausible import Decision
from weatherpeft.fields.screening import TIMES, Screen
from weatherpeft.fields.variables import Variable, VariableSet
from weatherpeft.interfaces import DataRequest
from weatherpeft.sources import AnyForecastSource, AnySource
from weatherpeft.spec import Spec

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from numpy.typing import NDArray

    from weatherpeft.artifacts.catalog import Part
    from weatherpeft.artifacts.field_store import FieldWriter
    from weatherpeft.fields.regridding import Regridder

_LEAST = 0.5
"""Share of a part's variables that an experiment must want to take it, since training reads all of them."""
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

    def of(self, variables: VariableSet, grids: tuple[Grid, ...]) -> "RegridSpec":
        """The same for other variables and grids."""
        return self.model_copy(update={"request": self.request.of(variables), "grids": grids})


def regrid(spec: RegridSpec, raw: Path, output: Path, shared: Path) -> None:
    """Regrid raw data to each grid, as far as no other job has done so.

    A part of the shared folder has one store, ``<label>.zarr``, in the layout of ``field_store``. Its fields
    are exact, in float32. Memory holds one shard of every grid and one raw variable of one time, whatever
    the period.

    Args:
        spec: source, request, grids and method.
        raw: catalog of the raw files.
        output: catalog of the stores.
        shared: folder of the stores of all experiments. What other jobs have regridded from the same raw
            files is taken from there, and only the variables and grids that it lacks are regridded.

    Raises:
        ValueError: no grid is given or one is given twice, the raw files do not hold the request, a field is
            not plausible (see ``plausible.check_field``; the message names file, variable, member, time and
            level), or a grid reaches beyond the raw data. ``output`` is then absent.

    Example:
        weatherpeft regrid --spec @regrid.json --raw results/test/raw/20010115-20010117
            --output results/test/regridded/20010115-20010117 --shared data/test/regridded
    """
    from weatherpeft.artifacts import catalog, store
    from weatherpeft.artifacts.claim import Claim

    labels = [grid.label for grid in spec.grids]
    if not labels or len(set(labels)) != len(labels):
        raise ValueError(f"grids: expected one or more different grids, found {', '.join(labels) or 'none'}")
    facts: dict[str, Any] = {}
    with store.artifact(output, spec, __name__, [raw], facts, [catalog.PATHS]) as directory:
        common, label = spec.of(VariableSet(), ()), spec.request.period.label
        folder = catalog.folder(shared, spec.source.name, common, label)
        with Claim(folder).wait():
            catalog.tidy(folder)
            parts = [
                part
                for raw_part in _raw_parts(spec, raw)
                for part in _regridded(spec, raw_part, folder, output)
            ]
        catalog.write(directory, parts, facts)


def _raw_parts(spec: RegridSpec, raw: Path) -> "list[Part]":
    """The raw parts of a job, each with the variables to take of it.

    Forecasts that come with analyses are in every part, at the levels of its analyses.
    """
    from weatherpeft.artifacts import catalog, store

    parts = catalog.read(raw)
    if not (spec.request.lead_hours and spec.source.makes_forecasts):
        return parts
    variables = spec.request.variables

    def has_levels(part: "Part") -> bool:
        held = store.read_provenance(part.path)["spec"]["request"]["variables"]
        return {*variables.levels_hpa} <= {*held["levels_hpa"]}

    chosen = next(filter(has_levels, parts), parts[0])  # where none has them, the reader says what lacks
    return [chosen._replace(variables=variables)]


def _regridded(spec: RegridSpec, raw: "Part", folder: Path, output: Path) -> "Iterator[Part]":
    """The parts with the variables of a raw part on every grid; those that are not there are made."""
    from weatherpeft.artifacts import catalog
    from weatherpeft.artifacts.fingerprint import fingerprint, spec_modules

    def fits(record: Mapping[str, Any], grid: Grid) -> bool:
        own = RegridSpec.parse(record["spec"])
        alike = own.of(VariableSet(), own.grids) == spec.of(VariableSet(), (grid,))
        same_raw = [*record["inputs"].values()] == [raw.digest]
        return bool(alike and same_raw and record["code"] == fingerprint(__name__, spec_modules(own)))

    lacking: dict[tuple[str, ...], list[Grid]] = {}
    wanted = spec.request.variables.only(raw.variables.names)
    for grid in spec.grids:
        own_fits = partial(fits, grid=grid)
        found, rest = catalog.find(folder / grid.label, wanted, own_fits, grid.label, _LEAST)
        yield from found
        if rest.names:
            lacking.setdefault(rest.names, []).append(grid)
    for names, grids in lacking.items():
        yield from _make(spec.of(spec.request.variables.only(names), tuple(grids)), raw, folder, output)


def _make(spec: RegridSpec, raw: "Part", folder: Path, output: Path) -> "list[Part]":
    """Regrid the variables of a raw part to some grids."""
    import dask

    from weatherpeft.artifacts import catalog, store
    from weatherpeft.artifacts.field_store import FieldWriter, shard_times
    from weatherpeft.artifacts.manifest import check_artifact
    from weatherpeft.fields.regridding import Regridder

    variables = spec.request.variables
    block = shard_times(spec.grids, variables)
    made = []
    with ExitStack() as stack:
        stack.enter_context(dask.config.set(scheduler="synchronous"))
        check_artifact(raw.path)
        dataset = spec.source.decode(spec.request, raw.path)
        latitude, longitude = dataset["latitude"].values, dataset["longitude"].values
        targets = []
        for grid in spec.grids:
            regridder = Regridder(latitude, longitude, grid, spec.method)
            own = spec.of(variables, (grid,))
            path = folder / grid.label / catalog.key(own.canonical_json(), raw.digest)
            facts = {"catalog": str(output)}
            part = stack.enter_context(store.artifact(path, own, __name__, [raw.path], facts))
            made.append((path, grid.label))
            store_path = part / f"{grid.label}.zarr"
            writer = FieldWriter(store_path, dataset, grid, variables, block, _attributes(spec, grid))
            targets.append((regridder, writer))
        screen = Screen(raw.path, spec.plausible)
        fields = [*variables.surface, *variables.atmospheric]
        if fields:
            _regrid(store.FIELDS, [(variables.row(name), dataset[name]) for name in fields], targets, screen)
        for name in (*variables.accumulated, *variables.static):
            _regrid(name, [(variables.row(name), dataset[name])], targets, screen)
    return [catalog.Part(path, store.artifact_digest(path), variables, grid) for path, grid in made]


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
    screen: Screen,
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

    axis = next((axis for axis in TIMES if axis in arrays[0][1].dims), None)
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
