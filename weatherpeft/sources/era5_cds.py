"""ERA5 from the Climate Data Store as GRIB, with one request for each variable and month."""

from __future__ import annotations

from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from weatherpeft.fields.variables import VariableSet
from weatherpeft.interfaces import DataRequest
from weatherpeft.sources.bases.area import Area
from weatherpeft.sources.bases.spans import SpanSource, months
from weatherpeft.spec import Period

if TYPE_CHECKING:
    import xarray as xr

    from weatherpeft.sources.transfer.cds_requests import Retrieval

MEMBERS = 10
"""Number of members of ERA5's ensemble, which are numbered from 0."""
MEMBERS_STEP_HOURS = 3
"""Time step of ERA5's ensemble."""
STATIC_DAY = Period(start=date(2000, 1, 1), end=date(2000, 1, 1))
"""Day on which static fields are requested: the same for every month, so that the request is too."""

_CDS_NAMES = {
    "geopotential_at_surface": "geopotential",
    "10m_wind_gust": "10m_wind_gust_since_previous_post_processing",
}
"""The store's names of variables, by the WeatherBench 2 names from which they differ."""


class Era5Cds(SpanSource):
    """ERA5 from the Climate Data Store, downloaded with ECMWF's client and the user's own key.

    Where an experiment names members, they come from ERA5's ensemble of ten.
    """

    name: Literal["era5_cds"]
    """Selects this source."""
    preliminary: Literal["refuse", "allow"] = "refuse"
    """Whether to accept ERA5T (expver 5), the preliminary data of the last months, which may still change."""
    resolution_deg: float | None = Field(default=None, gt=0, le=90)
    """Grid spacing in degrees to which the store interpolates. By default its own: 0.25°, members 0.5°."""
    area: Area | None = None
    """North, west, south and east border in degrees; west may be negative. By default the whole globe."""

    def check(self, request: DataRequest) -> None:
        """Refuse what ERA5 does not have, before anything is queued (see ``interfaces.Source``)."""
        step = MEMBERS_STEP_HOURS if request.members else 1
        if request.step_hours < 1 or 24 % request.step_hours or request.step_hours % step:
            raise ValueError(
                f"step_hours: expected a divisor of 24 and multiple of {step}, found {request.step_hours}"
            )
        between = [hour for hour in request.period.hours if hour % step]
        if between:
            raise ValueError(f"period: expected hours that are multiples of {step}, found {between}")
        unknown = [member for member in request.members if not 0 <= member < MEMBERS]
        if unknown:
            raise ValueError(f"members: ERA5 has the members 0 to {MEMBERS - 1}, found {unknown}")
        if request.members and request.variables.accumulated:
            raise ValueError(
                "variables.accumulated: ERA5's members have no hourly sums, so no "
                f"{', '.join(request.variables.accumulated)}"
            )

    def fetch(self, request: DataRequest, output: Path, work: Path) -> None:
        """Request, await, download and verify one file for each variable and month, and one of static fields.

        Args:
            request: fields, pressure levels, period, time step and members.
            output: existing, empty directory.
            work: directory in which request ids and finished files survive a kill.

        Raises:
            ValueError: ERA5 lacks what is requested, the store refuses or fails, a file does not hold
                what was requested, or data is preliminary where that is not allowed. The message names
                the variable and the month.
        """
        from weatherpeft.sources.formats.files import place
        from weatherpeft.sources.transfer.cds_requests import retrieve

        retrievals = self.retrievals(request)
        retrieve(retrievals, work)
        for each in retrievals:
            place(work / each.file, output / each.file)

    def decode(self, request: DataRequest, raw: Path) -> xr.Dataset:
        """Open the files that ``fetch`` wrote as the canonical dataset (see ``interfaces.Source``)."""
        from weatherpeft.sources.formats.files import open_canonical

        return open_canonical(sorted(raw.glob("*.grib")), request)

    def retrievals(self, request: DataRequest) -> list[Retrieval]:
        """The requests to the store and the files that they bring, in order.

        Raises:
            ValueError: ERA5 lacks a time step, member or variable. The message names it.
        """
        self.check(request)
        variables, levels = request.variables, request.variables.levels_hpa
        found = []
        for month in months(request.period):
            for name in variables.surface:
                found.append(self._retrieval(request, variables.of(surface=(name,)), month))
            for name in variables.accumulated:
                found.append(self._retrieval(request, variables.of(accumulated=(name,)), month))
            for name in variables.atmospheric:
                chosen = variables.of(atmospheric=(name,), levels_hpa=levels)
                found.append(self._retrieval(request, chosen, month))
        if variables.static:
            found.append(self._retrieval(request, variables.of(static=variables.static), STATIC_DAY))
        return found

    def _retrieval(self, request: DataRequest, chosen: VariableSet, month: Period) -> Retrieval:
        from weatherpeft.sources.transfer.cds_requests import Retrieval

        names = (*chosen.surface, *chosen.accumulated, *chosen.atmospheric, *chosen.static)
        step = request.step_hours
        times = list(month.sum_times(step) if chosen.accumulated else month.times(step))
        days, hours = sorted({moment.day for moment in times}), sorted({moment.hour for moment in times})
        inputs: dict[str, Any] = {
            "product_type": ["ensemble_members" if request.members else "reanalysis"],
            "variable": [_CDS_NAMES.get(name, name) for name in names],
            "year": [f"{month.start:%Y}"],
            "month": [f"{month.start:%m}"],
            "day": [f"{day:02d}" for day in days],
            "time": [f"{hour:02d}:00" for hour in (hours[:1] if chosen.static else hours)],
            "data_format": "grib",
            "download_format": "unarchived",
        }
        if chosen.atmospheric:
            inputs["pressure_level"] = [str(level) for level in chosen.levels_hpa]
        if self.area is not None:
            inputs["area"] = list(self.area)
        if self.resolution_deg is not None:
            inputs["grid"] = [self.resolution_deg, self.resolution_deg]
        wanted = DataRequest(
            variables=chosen, period=month, step_hours=request.step_hours, members=request.members
        )
        return Retrieval(
            label=f"{', '.join(names)} of {month.start:%Y-%m}",
            file="static.grib" if chosen.static else f"{names[0]}_{month.start:%Y%m}.grib",
            collection=f"reanalysis-era5-{'pressure' if chosen.atmospheric else 'single'}-levels",
            inputs=inputs,
            check=partial(self._check_file, wanted),
        )

    def _check_file(self, wanted: DataRequest, path: Path) -> None:
        """Refuse a file that lacks requested fields or, where that is not allowed, holds ERA5T."""
        from weatherpeft.sources.formats.files import PRELIMINARY, open_canonical

        dataset = open_canonical([path], wanted)
        for axis, name in PRELIMINARY.items():
            if self.preliminary == "refuse" and name in dataset.coords:
                first = dataset[axis].values[dataset[name].values][0].astype("datetime64[m]")
                raise ValueError(
                    f"expected final data, found preliminary ERA5T (expver 5) from {first} UTC, which may "
                    "still change; end the span before, or allow it with source.preliminary: allow"
                )
