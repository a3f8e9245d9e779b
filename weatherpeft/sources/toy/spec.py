"""The toy planet: raw data for a machine that has none.

The package simulates a small atmosphere and writes it as ERA5-like GRIB1, so that every later stage runs
on real GRIB, offline and in minutes. It is a toy: its weather resembles the Earth's in kind, and nothing
that is measured on it says how good a method is on the Earth.
"""

from __future__ import annotations

from datetime import datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from weatherpeft.sources.bases.spans import Spans, SpanSource
from weatherpeft.spec import Period, Seed, Spec

if TYPE_CHECKING:
    import xarray as xr

    from weatherpeft.interfaces import DataRequest


LEAD_HOURS = 48
"""Lead time of the ensemble forecasts."""


class ToyEnsemble(Spec):
    """48 h ensemble forecasts with a model that is coarser than the planet and partly wrong."""

    members: int = Field(default=10, ge=2, le=50)
    """Number of members, which are numbered from 1."""
    every_hours: Literal[12, 24] = 24
    """Hours between starts, from 00 UTC of a period's first day."""
    truncation: Literal[21, 31, 42] = 21
    """Triangular truncation of the forecast model."""
    resolution_deg: float = Field(default=5.0, gt=0, le=15)
    """Grid spacing of the forecast model in degrees: a multiple of the planet's."""


class Toy(SpanSource):
    """A toy planet, simulated by the download jobs."""

    name: Literal["toy"]
    """Selects this source."""
    spans: Spans
    """Periods to simulate, which must not overlap. Each is one independent, single-threaded job with its own
    spin-up."""
    truncation: Literal[21, 31, 42, 63] = 63
    """Triangular truncation of the dynamics."""
    resolution_deg: float = Field(default=1.25, gt=0, le=15)
    """Spacing of the raw grid in degrees: a whole number of millidegrees. The grid includes the poles."""
    seed: Seed = 7
    """Seed of the planet (coasts, mountains, soils) and, together with a period's start, of its weather."""
    coarse_spinup_days: int = Field(default=60, ge=0, le=3660)
    """Days of the spin-up's first part: the dynamics alone, at the next lower truncation."""
    fine_spinup_days: int = Field(default=13, ge=0, le=3660)
    """Days of the spin-up's second part: the dynamics alone, at the full truncation."""
    full_spinup_days: int = Field(default=3, ge=1, le=3660)
    """Days of the spin-up's last part: the whole atmosphere, with moisture and rain."""
    ensemble: ToyEnsemble | None = None
    """Ensemble forecasts to make beside the analyses, with the same fields and levels. By default none."""

    jobs: ClassVar[Literal["months", "years", "spans"]] = "spans"

    @model_validator(mode="after")
    def _grid(self) -> Self:
        millidegrees = round(self.resolution_deg * 1000)
        if abs(self.resolution_deg * 1000 - millidegrees) > 1e-6:
            raise ValueError(
                f"resolution_deg must be a whole number of millidegrees, because GRIB1 stores no finer; "
                f"found {self.resolution_deg}"
            )
        if 180_000 % millidegrees:
            raise ValueError(f"resolution_deg must divide 180 degrees, found {self.resolution_deg}")
        return self

    @model_validator(mode="after")
    def _nested(self) -> Self:
        if self.ensemble is not None:
            ratio = self.ensemble.resolution_deg / self.resolution_deg
            if abs(ratio - round(ratio)) > 1e-6 or 180_000 % round(self.ensemble.resolution_deg * 1000):
                raise ValueError(
                    f"ensemble.resolution_deg must be a multiple of resolution_deg {self.resolution_deg} and "
                    f"divide 180 degrees, found {self.ensemble.resolution_deg}"
                )
        return self

    @property
    def synthetic(self) -> bool:
        """Yes: the planet is a toy."""
        return True

    @property
    def makes_forecasts(self) -> bool:
        """Whether the planet makes ensemble forecasts beside its analyses."""
        return self.ensemble is not None

    def check(self, request: DataRequest) -> None:
        """Refuse members and lead times that the planet does not have (see ``interfaces.Source``)."""
        if request.lead_hours and self.ensemble:
            unknown = [member for member in request.members if not 1 <= member <= self.ensemble.members]
            if unknown:
                raise ValueError(
                    f"members: the toy planet's forecasts have 1 to {self.ensemble.members}, found {unknown}"
                )
            if request.lead_hours != LEAD_HOURS:
                raise ValueError(
                    f"lead_hours: the toy planet's forecasts have {LEAD_HOURS}, found {request.lead_hours}"
                )
        elif request.members:
            raise ValueError(f"members: the toy planet has no ensemble members, found {request.members}")

    def fetch(self, request: DataRequest, output: Path, work: Path) -> None:
        """Simulate the period of a request and write it as GRIB1 files in the layout of ERA5.

        Equal specs and requests give identical bytes on one machine. Another machine's linear algebra
        rounds differently. Because the flow is chaotic, it then gives other weather of the same kind.

        Args:
            request: fields, levels between 200 and 1000 hPa, period and time step. It must name no members.
            output: existing, empty directory.
            work: not used.

        Raises:
            ValueError: the planet lacks a variable, level or member.
            FloatingPointError: the simulation left the plausible range.
        """
        from weatherpeft.sources.toy.files import write_files

        write_files(self, request, output)

    def decode(self, request: DataRequest, raw: Path) -> xr.Dataset:
        """Open the files that ``fetch`` wrote as the canonical dataset (see ``interfaces.Source``).

        A request with ``lead_hours`` opens the ensemble forecasts that are valid at ``forecast_times``.
        """
        import numpy as np

        from weatherpeft.sources.formats.files import open_canonical

        files = sorted(raw.glob("*.grib"))
        forecasts = [path for path in files if path.name.startswith("forecast_")]
        if not request.lead_hours:
            return open_canonical([path for path in files if path not in forecasts], request)
        times = np.array(self.forecast_times(request.period), "datetime64[m]")
        return open_canonical(forecasts, request, times)

    def forecast_times(self, period: Period) -> list[datetime]:
        """Valid times of the ensemble forecasts that start and end in a period.

        Raises:
            ValueError: the planet has no ensemble, or the period is too short.
        """
        if self.ensemble is None:
            raise ValueError("the toy planet makes forecasts only with the option ensemble")
        first = datetime.combine(period.start, time()) + timedelta(hours=LEAD_HOURS)
        last = datetime.combine(period.end, time(23))
        hours = int((last - first) / timedelta(hours=1))
        if hours < 0:
            raise ValueError(f"the period {period.label} is too short for a forecast of {LEAD_HOURS} h")
        every = self.ensemble.every_hours
        return [first + timedelta(hours=count) for count in range(0, hours + 1, every)]
