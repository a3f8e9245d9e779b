"""Simulation of a request: spin-up, integration and output as GRIB files."""

import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import datetime, time, timedelta
from pathlib import Path

import numpy as np

from weatherpeft.fields.variables import VARIABLES
from weatherpeft.interfaces import DataRequest
from weatherpeft.sources.toy.atmosphere import Atmosphere
from weatherpeft.sources.toy.diagnostics import (
    ATMOSPHERIC,
    STATIC,
    SURFACE,
    level_fields,
    static_fields,
    surface_fields,
)
from weatherpeft.sources.toy.dynamics import QuasiGeostrophicModel
from weatherpeft.sources.toy.ensemble import Forecaster
from weatherpeft.sources.toy.grib import GribFile
from weatherpeft.sources.toy.spec import Toy
from weatherpeft.sources.toy.spectral import Array, resize
from weatherpeft.sources.toy.vertical import HIGHEST_HPA, LOWEST_HPA

PRECIPITATION = "total_precipitation"

_COARSER = {21: 21, 31: 21, 42: 31, 63: 42}
_CHECK_HOURS = 6
_LOG_DAYS = 5
_HOUR = timedelta(hours=1)

logger = logging.getLogger(__name__)


def write_files(spec: Toy, request: DataRequest, output: Path) -> None:
    """Simulate the period of a request and write GRIB files of analyses and ensemble forecasts to ``output``.

    Raises:
        ValueError: the planet lacks a variable, level or member. The message names it.
        FloatingPointError: the simulation left the plausible range.
    """
    check_request(request)
    first = datetime.combine(request.period.start, time())
    last = datetime.combine(request.period.end, time(23))
    atmosphere = spin_up(spec, first)
    variables, grid = request.variables, atmosphere.grid
    wanted = set(request.period.times(request.step_hours))
    forecaster = Forecaster(spec, spec.ensemble) if spec.ensemble else None
    with ExitStack() as stack:

        def opened(name: str, on_pressure_levels: bool = False) -> GribFile:
            file = GribFile(output / name, grid, on_pressure_levels=on_pressure_levels)
            return stack.enter_context(file)

        if variables.static:
            _write(opened("static.grib"), static_fields(atmosphere), variables.static, first)
        writers: list[Callable[[], None]] = []
        if variables.atmospheric:
            levels_file = opened("pressure_levels.grib", on_pressure_levels=True)
            writers.append(lambda: _write_levels(levels_file, atmosphere, request))
        if variables.surface:
            surface_file = opened("single_levels.grib")
            names = variables.surface
            writers.append(lambda: _write(surface_file, surface_fields(atmosphere), names, atmosphere.now))
        rain_file = opened("total_precipitation.grib") if variables.accumulated else None

        while True:
            hours = round((atmosphere.now - first) / _HOUR)
            if atmosphere.now in wanted:
                for write in writers:
                    write()
            if hours >= 0 and forecaster is not None:
                forecaster.watch(atmosphere)
            if atmosphere.now >= last:
                break
            rain = atmosphere.advance()
            if rain_file is not None and atmosphere.now >= first:
                rain = _finite(PRECIPITATION, rain, atmosphere.now)
                rain_file.hourly_sum(VARIABLES[PRECIPITATION].param_id, atmosphere.now, rain)
            if atmosphere.now.hour % _CHECK_HOURS == 0:
                atmosphere.check()
            if hours > 0 and (hours + 1) % (24 * _LOG_DAYS) == 0:
                logger.info("toy planet: %d of %d days", (hours + 1) // 24, request.period.days)
    if forecaster is not None:
        forecaster.write(spec.forecast_times(request.period), variables.levels_hpa, output)


def check_request(request: DataRequest) -> None:
    """Refuse a request for what the planet lacks.

    Raises:
        ValueError: the planet lacks a variable, level or member. The message names it.
    """
    variables = request.variables
    asked = (
        (variables.surface, SURFACE),
        (variables.atmospheric, ATMOSPHERIC),
        (variables.static, STATIC),
        (variables.accumulated, (PRECIPITATION,)),
    )
    for names, known in asked:
        for name in names:
            if name not in known:
                raise ValueError(f"the toy planet has no {name!r}; known here: {', '.join(known)}")
    for level in variables.levels_hpa:
        if not HIGHEST_HPA <= level <= LOWEST_HPA:
            raise ValueError(
                f"the toy planet has levels from {HIGHEST_HPA} to {LOWEST_HPA} hPa, found {level} hPa"
            )
    if request.lead_hours:
        raise ValueError("the toy planet's forecasts come with its analyses: fetch these, with an ensemble")
    if request.members:
        raise ValueError(f"members: the toy planet has no ensemble members, found {request.members}")
    if request.step_hours < 1:
        raise ValueError(f"step_hours must be at least 1, found {request.step_hours}")


def spin_up(spec: Toy, first: datetime) -> Atmosphere:
    """Develop weather from random waves until one hour before the period.

    The spec's seed and the period's first day are the seed of the weather. The planet is the same for every
    period.

    Args:
        spec: spec of the planet.
        first: start of the period, 00 UTC.

    Returns:
        The atmosphere one hour before ``first``, so that there is rain for that hour.
    """
    generator = np.random.default_rng([spec.seed, first.toordinal()])
    begin = first - timedelta(days=spec.full_spinup_days)
    coarse = QuasiGeostrophicModel(_COARSER[spec.truncation], spec.seed)
    day = begin - timedelta(days=spec.coarse_spinup_days + spec.fine_spinup_days)
    state = coarse.initial_state(day.timetuple().tm_yday, generator)
    state, day = _integrate(coarse, state, day, spec.coarse_spinup_days)
    model = QuasiGeostrophicModel(spec.truncation, spec.seed)
    state = model.potential_vorticity(resize(coarse.streamfunction(state), spec.truncation))
    state, day = _integrate(model, state, day, spec.fine_spinup_days)
    atmosphere = Atmosphere(model, spec.resolution_deg, spec.seed)
    atmosphere.start(state, day, generator)
    while atmosphere.now < first - _HOUR:
        atmosphere.advance()
    atmosphere.check()
    logger.info("toy planet: spun up for %s", f"{first:%Y-%m-%d}")
    return atmosphere


def _integrate(
    model: QuasiGeostrophicModel, state: Array, day: datetime, days: int
) -> tuple[Array, datetime]:
    model.restart()
    for _ in range(days):
        state = model.advance(state, day.timetuple().tm_yday, 24)
        day += timedelta(days=1)
        model.check(state, f"spin-up, {day:%Y-%m-%d}")
    return state, day


def _write_levels(file: GribFile, atmosphere: Atmosphere, request: DataRequest) -> None:
    for level in request.variables.levels_hpa:
        fields = level_fields(atmosphere, level)
        _write(file, fields, request.variables.atmospheric, atmosphere.now, level)


def _write(
    file: GribFile, fields: Mapping[str, Array], names: tuple[str, ...], moment: datetime, level_hpa: int = 0
) -> None:
    for name in names:
        values = _finite(name, fields[name], moment)
        file.analysis(VARIABLES[name].param_id, moment, values, level_hpa)


def _finite(name: str, values: Array, moment: datetime) -> Array:
    if not np.isfinite(values).all():
        raise FloatingPointError(f"toy planet: {name} at {moment:%Y-%m-%d %H} UTC is not finite")
    return values
