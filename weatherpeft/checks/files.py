"""The user's own files and stores: there, readable, and with all fields, times and places that jobs need."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from weatherpeft.checks.holdings import Holdings
from weatherpeft.config import Experiment
from weatherpeft.fields.grid import Grid
from weatherpeft.interfaces import DataRequest, Source
from weatherpeft.jobs import Jobs
from weatherpeft.sources.bases.copied import CopiedSource
from weatherpeft.sources.formats.fields import Layout, canonical_layout
from weatherpeft.sources.local import Local
from weatherpeft.stages.regrid import RegridSpec

if TYPE_CHECKING:
    from weatherpeft.sources.formats.inventory import Contents
    from weatherpeft.sources.formats.zarr import Selected

MOST_LINES = 5
"""Most lines about the files of a source."""


def files(experiment: Experiment, cache: Path | None = None) -> Iterator[str]:
    """What the files of the sources lack, and the stores in folders. Those at URLs are not looked at.

    Args:
        experiment: the experiment.
        cache: folder of the inventories; by default that of the user's caches.
    """
    jobs = Jobs(experiment)
    own = experiment.forecasts
    yield from _of_source(
        "source", experiment, experiment.source, [jobs.regrid(label) for label in jobs.periods()], cache
    )
    if own and own.source:
        specs = [jobs.regrid_forecasts(label) for label in jobs.forecast_periods()]
        yield from _of_source("forecasts.source", experiment, own.source, specs, cache)


def _of_source(
    key: str, experiment: Experiment, source: Source, specs: list[RegridSpec], cache: Path | None
) -> Iterator[str]:
    from weatherpeft.sources.formats.inventory import Inventory

    try:
        found = source.files()
    except ValueError as error:
        place = f"{key}.paths" if isinstance(source, Local) else key
        yield f"{place}: {str(error).removeprefix(f'source {source.name}: ')}"
        return
    if isinstance(source, CopiedSource) and "://" not in source.address:
        yield from _of_store(key, experiment, source, specs)
    if not isinstance(source, Local):
        return
    lines: list[str] = []
    for spec in specs:
        request = spec.request
        contents = Inventory(request.variables, request.lead_hours, source.rename, cache).read(found)
        lines += _of_request(key, experiment, spec, contents)
    yield from lines[:MOST_LINES]
    if len(lines) > MOST_LINES:
        yield f"{key}.paths: {len(lines) - MOST_LINES} more of this kind"


def _of_request(
    key: str, experiment: Experiment, spec: RegridSpec, contents: Sequence["Contents"]
) -> list[str]:
    """What the files lack of one request."""
    faults = [each.fault for each in contents if each.fault]
    if faults or any(
        each.packed for each in contents
    ):  # of an archive nothing is known before it is unpacked
        return [f"{key}.paths: {fault}" for fault in faults]
    holdings = Holdings(contents, spec.request)
    lines = list(holdings.lacking(key)) or list(holdings.clashing(key))
    return lines or list(_reach(experiment, spec, holdings.layout))


def _of_store(
    key: str, experiment: Experiment, source: CopiedSource, specs: Sequence[RegridSpec]
) -> Iterator[str]:
    """The first thing that a store lacks, by its metadata and coordinates."""
    selected: list[Selected] = []
    for spec in specs:
        if selected and all(_has_times(part, spec.request) for part in selected):
            continue
        try:
            selected = source.selected(spec.request)
            axes = (selected[0].array[name].values for name in ("latitude", "longitude"))
            layout = canonical_layout(*axes)
        except ValueError as error:
            yield f"{key}: {error}"
            return
    yield from _reach(experiment, specs[0], layout)


def _has_times(part: "Selected", request: DataRequest) -> bool:
    """Whether an array of a store has all times that a request has of it."""
    if part.time is None:
        return True
    wanted = request.hourly_times() if part.row.kind == "accumulated" else request.times()
    return bool(np.isin(wanted, part.array[part.time].values.astype("datetime64[m]")).all())


def _reach(experiment: Experiment, spec: RegridSpec, layout: Layout) -> Iterator[str]:
    """Grids of the tasks that reach beyond the data."""
    from weatherpeft.fields.regridding import Regridder

    for grid in spec.grids:
        try:
            Regridder(layout.latitude, layout.longitude, grid, spec.method)
        except ValueError as error:
            yield f"{_key_of(experiment, grid)}: {error}; the data has {layout}"


def _key_of(experiment: Experiment, grid: Grid) -> str:
    """The key of the first task that has a grid."""
    tasks = {"task": experiment.task}
    if experiment.pretraining:
        tasks["pretraining.task"] = experiment.pretraining.task
    named = (
        f"{key}.{name}" for key, task in tasks.items() for name, value in vars(task).items() if value == grid
    )
    return next(named, "task")
