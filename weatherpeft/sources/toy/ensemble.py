"""Ensemble forecasts of the toy planet, made as an operational center would make them.

The forecast model is the code of the planet at a lower resolution and with wrong physics. The analysis
differs from the truth by a small multiple of the difference between two states of the planet. The members
differ from the analysis by larger multiples of other such differences. Because the model is wrong, the
ensemble is biased and too confident, which post-processing is meant to correct.
"""

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from weatherpeft.fields.variables import VARIABLES
from weatherpeft.sources.toy.atmosphere import Atmosphere
from weatherpeft.sources.toy.diagnostics import level_fields, surface_fields
from weatherpeft.sources.toy.dynamics import QuasiGeostrophicModel
from weatherpeft.sources.toy.grib import GribFile
from weatherpeft.sources.toy.physics import Physics
from weatherpeft.sources.toy.spec import LEAD_HOURS, Toy, ToyEnsemble
from weatherpeft.sources.toy.spectral import Array, resize

RAIN = "total_precipitation_48hr"
WRONG = Physics(
    drag=1.6,
    shear=0.9,
    jet_shift_deg=-3.0,
    orography=0.4,
    daily_cycle=0.75,
    inversion=0.5,
    land_warmth=0.8,
)
"""Physics of the forecast model."""

SURFACE = "forecast_single_levels.grib"
LEVELS = "forecast_pressure_levels.grib"

_STEP_HOURS = 3
_SNAPSHOT_HOURS = 12
_LOG_TIMES = 10
_ANALYSIS_ERROR = 0.1
_PERTURBATION = 0.25
_HUMIDITY_PERTURBATION = 0.1

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Snapshot:
    """A state of the planet at the resolution of the forecast model.

    It lacks the temperature's departure from balance, which is lost within a day.

    Attributes:
        time: valid time, UTC.
        streamfunction: streamfunction in a²Ω, ``(layer, order, degree)``.
        humidity: specific humidity at 850 hPa in kg/kg, ``(latitude, longitude)``.
    """

    time: datetime
    streamfunction: Array
    humidity: Array


class Forecaster:
    """Records states of the planet, and makes forecasts from them afterwards.

    Args:
        spec: spec of the planet.
        ensemble: spec of the ensemble.
    """

    def __init__(self, spec: Toy, ensemble: ToyEnsemble) -> None:
        self._seed, self._ensemble = spec.seed, ensemble
        self._skip = round(ensemble.resolution_deg / spec.resolution_deg)
        model = QuasiGeostrophicModel(ensemble.truncation, spec.seed, WRONG)
        self._atmosphere = Atmosphere(model, ensemble.resolution_deg, spec.seed, WRONG, _STEP_HOURS)
        self._snapshots: list[Snapshot] = []

    def watch(self, planet: Atmosphere) -> None:
        """Record the state of the planet at 00 and 12 UTC."""
        if planet.now.hour % _SNAPSHOT_HOURS == 0:
            self._snapshots.append(
                Snapshot(
                    time=planet.now,
                    streamfunction=resize(planet.streamfunction, self._ensemble.truncation),
                    humidity=self._coarse(planet, planet.humidity),
                )
            )

    def write(self, times: Sequence[datetime], levels_hpa: Sequence[int], output: Path) -> None:
        """Write the forecasts that are valid at some times as GRIB 1 files.

        The files hold every field of the planet at the given levels, and the rain since the start.

        Raises:
            FloatingPointError: a forecast left the plausible range.
        """
        atmosphere, members = self._atmosphere, self._ensemble.members
        with ExitStack() as stack:
            surface = stack.enter_context(GribFile(output / SURFACE, atmosphere.grid))
            if levels_hpa:
                upper = GribFile(output / LEVELS, atmosphere.grid, on_pressure_levels=True)
                stack.enter_context(upper)
            for count, time in enumerate(times):
                start = time - timedelta(hours=LEAD_HOURS)
                for member in range(1, members + 1):
                    rain = self._forecast(start, member)
                    for name, values in {**surface_fields(atmosphere), RAIN: rain}.items():
                        surface.forecast(VARIABLES[name], start, LEAD_HOURS, (member, members), values)
                    for level in levels_hpa:
                        for name, values in level_fields(atmosphere, level).items():
                            upper.forecast(
                                VARIABLES[name], start, LEAD_HOURS, (member, members), values, level
                            )
                if (count + 1) % _LOG_TIMES == 0:
                    logger.info("toy planet: %d of %d ensemble forecasts", count + 1, len(times))

    def _forecast(self, start: datetime, member: int) -> Array:
        """Run one member; afterwards the atmosphere is at the valid time.

        Returns:
            Precipitation since the start in meters, ``(latitude, longitude)``.
        """
        atmosphere, model = self._atmosphere, self._atmosphere.model
        snapshot = next(one for one in self._snapshots if one.time == start)
        error = _ANALYSIS_ERROR * self._difference(self._generator(start, 0))
        generator = self._generator(start, member)
        streamfunction = snapshot.streamfunction + error + _PERTURBATION * self._difference(generator)
        model.restart()
        atmosphere.start(model.potential_vorticity(streamfunction), start, generator)
        atmosphere.humidity = snapshot.humidity * np.exp(_HUMIDITY_PERTURBATION * generator.standard_normal())
        rain = np.zeros(atmosphere.grid.shape)
        for _ in range(LEAD_HOURS // _STEP_HOURS):
            rain += atmosphere.advance()
        atmosphere.check()
        return rain

    def _generator(self, start: datetime, number: int) -> np.random.Generator:
        """The random generator of the analysis error (number 0) or of a member."""
        # 1 + number: trailing zeros would give the generator of the planet's weather.
        return np.random.default_rng([self._seed, start.toordinal(), start.hour, 1 + number])

    def _difference(self, generator: np.random.Generator) -> Array:
        """The difference between two random states of the planet, with weaker long waves."""
        one, other = generator.choice(len(self._snapshots), 2, replace=False)
        degree = np.arange(self._ensemble.truncation + 1)
        weight = (degree / (degree + 4)).astype(np.float32)
        return weight * (self._snapshots[one].streamfunction - self._snapshots[other].streamfunction)

    def _coarse(self, planet: Atmosphere, field: Array) -> Array:
        """A field on the grid of the forecast model, whose points belong to the planet's grid too."""
        return planet.grid.smooth(field, (self._skip - 1) / 2)[:: self._skip, :: self._skip]
