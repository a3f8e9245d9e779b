"""The socket of a data source."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from pydantic import Field, model_validator

from weatherpeft.fields.variables import VARIABLES, VariableSet
from weatherpeft.spec import Period, Spec

if TYPE_CHECKING:
    import xarray as xr


class DataRequest(Spec):
    """What one download job brings: fields × times × members."""

    variables: VariableSet
    period: Period
    step_hours: int = 6
    """Time step of the instantaneous fields, from 00 UTC of the period's first day."""
    members: tuple[int, ...] = ()
    """Ensemble members; empty where the data has no member dimension."""
    lead_hours: int = Field(default=0, ge=0)
    """Lead time of forecasts, whose times are valid times; 0 for analyses."""

    @model_validator(mode="after")
    def _sums(self) -> Self:
        if self.lead_hours and self.variables.accumulated:
            raise ValueError(f"forecasts have no hourly sums, found {', '.join(self.variables.accumulated)}")
        for name in self.variables.surface:
            hours = VARIABLES[name].forecast_hours
            if hours and hours != self.lead_hours:
                raise ValueError(
                    f"{name} is a sum over forecasts of {hours} h; expected lead_hours {hours}, "
                    f"found {self.lead_hours}"
                )
        return self


class Source(Protocol):
    """A provider of raw data."""

    @property
    def name(self) -> str:
        """Of the source in a configuration."""

    @property
    def makes_forecasts(self) -> bool:
        """Whether it makes ensemble forecasts beside its analyses."""

    def periods(self) -> tuple[Period, ...]:
        """The download jobs, one a period; they do not overlap."""

    def narrowed(self, period: Period) -> Self:
        """The source as far as one of its ``periods`` needs it, which its jobs' specs hold.

        So a further period leaves the jobs of the others as they are. It fetches and decodes the same.
        """

    def files(self) -> list[Path]:
        """Files of the user's own that the source reads; when one changes, it is fetched again.

        Raises:
            ValueError: naming what is missing.
        """

    def fetch(self, request: DataRequest, output: Path, work: Path) -> None:
        """Write the raw files of a request.

        Args:
            request: what to fetch.
            output: existing, empty directory of the raw files.
            work: directory for what a job that is killed and tried again should find; need not exist.

        Raises:
            ValueError: naming the file, variable, time or key at fault.
        """

    def decode(self, request: DataRequest, raw: Path) -> xr.Dataset:
        """Check the raw files in the directory ``raw`` and read them lazily.

        Returns:
            The canonical dataset: WeatherBench 2 names, dims ``([member,] time, [level,] latitude,
            longitude)``, static fields ``(latitude, longitude)``, SI units, latitude north to
            south, longitude increasing in [0, 360), float32, dask chunks of one time and member.
            Forecasts look like analyses of an ensemble: ``time`` is the valid time, and a coordinate
            ``init_time`` along it says when each forecast started.

        Raises:
            ValueError: a file that is truncated, empty or of an unknown kind, a field, level, time
                or member of the request that is missing; the message names it.
        """
