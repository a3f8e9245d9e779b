"""The socket of a data source."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from pydantic import Field, model_validator

from weatherpeft.fields.plausible import Decision
from weatherpeft.fields.variables import VariableSet
from weatherpeft.spec import Member, Period, Spec, Step

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from numpy.typing import NDArray


class DataRequest(Spec):
    """The fields, times and members that one download job brings."""

    variables: VariableSet
    """Fields of the data."""
    period: Period
    """Days and hours of the data."""
    step_hours: Step = 6
    """Time step of the instantaneous fields in hours, from 00 UTC of each day."""
    members: tuple[Member, ...] = ()
    """Numbers of the ensemble members; empty if the data has no member dimension."""
    lead_hours: int = Field(default=0, ge=0, le=24 * 366)
    """Lead time in hours of forecasts, whose times are valid times; 0 for analyses."""

    @model_validator(mode="after")
    def _sums(self) -> Self:
        if self.lead_hours and self.variables.accumulated:
            raise ValueError(f"forecasts have no hourly sums, found {', '.join(self.variables.accumulated)}")
        for name in self.variables.surface:
            hours = self.variables.row(name).forecast_hours
            if hours and hours != self.lead_hours:
                raise ValueError(
                    f"{name} is a sum over forecasts of {hours} h; expected lead_hours {hours}, "
                    f"found {self.lead_hours}"
                )
        return self

    def of(self, variables: VariableSet) -> DataRequest:
        """The same for other variables."""
        return self.model_copy(update={"variables": variables})

    @property
    def in_files(self) -> DataRequest:
        """The request, with what its definitions say of variables in files, and nothing else of them."""
        define = {name: definition.in_files for name, definition in self.variables.define.items()}
        return self.of(self.variables.model_copy(update={"define": define}))

    def times(self) -> NDArray[np.datetime64]:
        """Times (UTC, to the minute) of the instantaneous fields, ``(time,)``, in order."""
        return _array(self.period.times(self.step_hours))

    def hourly_times(self) -> NDArray[np.datetime64]:
        """Ends (UTC, to the minute) of the hours of accumulated fields, ``(hourly_time,)``, in order."""
        return _array(self.period.sum_times(self.step_hours))


def _array(times: Iterable[datetime]) -> NDArray[np.datetime64]:
    import numpy as np

    return np.array(list(times), "datetime64[m]")


class Source(Protocol):
    """A provider of raw data."""

    @property
    def name(self) -> str:
        """The source's name in a configuration."""

    @property
    def makes_forecasts(self) -> bool:
        """Whether the source makes ensemble forecasts in addition to its analyses."""

    @property
    def plausible(self) -> Decision:
        """What the regrid stage does with fields that are not plausible."""

    @property
    def synthetic(self) -> bool:
        """Whether the data is simulated, so that scores say nothing about the Earth."""

    def periods(self) -> tuple[Period, ...]:
        """The periods of the download jobs, one for each job; they do not overlap.

        There is no job for a period that is all gap.
        """

    def narrowed(self, period: Period) -> Self:
        """The part of the source that one of its ``periods`` needs, for the specs of the period's jobs.

        It fetches and decodes the same data. A further period in the source thus leaves the jobs of the
        others unchanged.

        Args:
            period: one of the source's ``periods``.
        """

    def files(self) -> list[Path]:
        """The user's own files that the source reads. When one changes, the data is fetched again.

        Raises:
            ValueError: a file is missing. The message names it.
        """

    def check(self, request: DataRequest) -> None:
        """Refuse a request for what the source does not have, as far as that is known without its data.

        Raises:
            ValueError: the message begins with the key of the request that is wrong, such as ``members``.
        """

    def fetch(self, request: DataRequest, output: Path, work: Path) -> None:
        """Write the raw files of a request.

        Args:
            request: fields, period, time step and members to fetch.
            output: existing, empty directory of the raw files.
            work: directory for files that a killed job should find when it is tried again. It need not exist.

        Raises:
            ValueError: the source cannot bring the data. The message names the file, variable, time or key at
                fault.
        """

    def decode(self, request: DataRequest, raw: Path) -> xr.Dataset:
        """Check the raw files of a request and read them lazily.

        Args:
            request: fields, period, time step and members that the files must hold.
            raw: directory of the raw files.

        Returns:
            The canonical dataset: WeatherBench 2 names, dims ``([member,] time, [level,] latitude,
            longitude)``, static fields ``(latitude, longitude)``, SI units, latitude north to
            south, longitude increasing in [0, 360), float32, dask chunks of one time and member.
            Forecasts look like analyses of an ensemble: ``time`` is the valid time, and a coordinate
            ``init_time`` along it is the start of each forecast. Where a variable's fields come from files,
            its ``encoding["files"]`` has the path of each, in the shape of the dims before latitude.

        Raises:
            ValueError: a file is truncated, empty or of an unknown kind, or a field, level, time or member of
                the request is missing. The message names it.
        """
