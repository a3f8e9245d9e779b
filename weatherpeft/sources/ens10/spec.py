"""ENS-10: ten members of ECMWF's ensemble hindcasts of twenty years, as GRIB 1 files."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import StringConstraints, model_validator

from weatherpeft.interfaces import DataRequest
from weatherpeft.sources.bases.spans import Spans, SpanSource

if TYPE_CHECKING:
    import xarray as xr

KINDS = ("sfc", "pl")
"""Kinds of files: single levels and pressure levels."""
LEAD_HOURS = (24, 48)
MEMBERS = tuple(range(1, 11))
YEARS = range(1998, 2018)
"""Years in which the forecasts start."""
DAYS = tuple(
    f"{day:%m%d}"
    for day in (date(2018, 1, 1) + timedelta(days=count) for count in range(365))
    if day.weekday() in (0, 3)
)
"""Month and day on which the forecasts start: the 105 Mondays and Thursdays of 2018."""


class Ens10(SpanSource):
    """The ensemble forecasts of ENS-10 (Ashkboos et al. 2022, arXiv 2206.14786; CC BY 4.0), at one lead time.

    A file, ``output.sfc.2018MMDD`` or ``output.pl.2018MMDD``, holds the forecasts that started on that day
    in each year from 1998 to 2017: members 1 to 10 after 0, 24 and 48 hours. The dataset has the valid time
    as ``time``, the members as ``member``, and the start as ``init_time`` along ``time``. A forecast that
    starts on 31 December therefore belongs to the next year.

    A job is a calendar year of valid times. It takes its own messages out of every file. It finds them
    through an index of the file's headers, ``<file>.index.npz``, which is written beside the file once.
    Of 27 GB for each start day it takes 130 MB, in all 14 GB a year for the paper's variables.
    """

    name: Literal["ens10"]
    """Selects this source."""
    folder: str
    """Folder of the files, which take 3.4 GB (sfc) and 24 GB (pl) each. It must be writable, because the
    indexes and downloads go there; it may hold links to files elsewhere."""
    url: str | None = None
    """Base URL from which to download files that the folder lacks. By default the folder has them all."""
    spans: Spans
    """Periods of valid times to take, with one job for each calendar year; they must not overlap. ENS-10
    has 1998-01-03 to 2018-01-02 at 48 h."""
    days: tuple[Annotated[str, StringConstraints(pattern=r"^\d{4}$")], ...] = DAYS
    """Month and day, ``MMDD``, of the files to use."""

    jobs: ClassVar[Literal["months", "years", "spans"]] = "years"

    @model_validator(mode="after")
    def _known(self) -> Self:
        for day in self.days:
            if day not in DAYS:
                raise ValueError(f"ENS-10 has no forecasts of {day}; it has Mondays and Thursdays of 2018")
        return self

    def files(self) -> list[Path]:
        """The files in the folder, of each kind that it has; none where a URL brings missing ones.

        Raises:
            ValueError: a file is missing. The message names the first one.
        """
        if self.url is not None:
            return []
        kinds = [kind for kind in KINDS if any(self.file(kind, day).is_file() for day in self.days)]
        files = [self.file(kind, day) for kind in kinds or KINDS for day in self.days]
        missing = [path for path in files if not path.is_file()]
        if missing:
            raise ValueError(
                f"source ens10: {missing[0]} is missing ({len(missing)} of {len(files)} files are), "
                "and no url says where to bring it from"
            )
        return [path.resolve() for path in files]

    def check(self, request: DataRequest) -> None:
        """Refuse members, lead times and periods that ENS-10 lacks (see ``interfaces.Source``)."""
        self.starts(request)

    def fetch(self, request: DataRequest, output: Path, work: Path) -> None:
        """Copy the messages of a request from the files into one file for each kind and start in ``output``.

        A file that is downloaded from the URL stays in the folder. Jobs that need the same file wait for
        each other, and a killed download resumes where it was.

        Args:
            request: fields, levels, period of valid times, lead time (24 or 48 hours) and members.
            output: existing, empty directory.
            work: not used.

        Raises:
            ValueError: ENS-10 or a file lacks a variable, start, step or member, a file is truncated or
                not GRIB, or a server does not send it. The message names what is missing or at fault.
        """
        from weatherpeft.sources.ens10.files import extract

        extract(self, request, output)

    def decode(self, request: DataRequest, raw: Path) -> xr.Dataset:
        """Open the files that ``fetch`` wrote as the canonical dataset (see ``interfaces.Source``)."""
        import numpy as np

        from weatherpeft.sources.formats.files import open_canonical, raw_files

        lead = timedelta(hours=request.lead_hours)
        times = np.array(sorted(start + lead for start in self.starts(request)), "datetime64[m]")
        return open_canonical(raw_files(raw), request, times)

    def file(self, kind: str, day: str) -> Path:
        """The file of a kind, ``sfc`` or ``pl``, and a day, ``MMDD``."""
        return Path(self.folder).expanduser() / f"output.{kind}.2018{day}"

    def starts(self, request: DataRequest) -> list[datetime]:
        """Starts of the requested forecasts, at 00 UTC, in the order of ``days``.

        Raises:
            ValueError: ENS-10 lacks the members, lead time or period. The message names them.
        """
        if not request.members or not set(request.members) <= set(MEMBERS):
            raise ValueError(f"members: ENS-10 has members 1 to 10, found {request.members}")
        if request.lead_hours not in LEAD_HOURS:
            raise ValueError(
                f"lead_hours: ENS-10 has forecasts of 24 and 48 hours, found lead_hours {request.lead_hours}"
            )
        starts = [datetime(year, int(day[:2]), int(day[2:])) for day in self.days for year in YEARS]
        lead, period = timedelta(hours=request.lead_hours), request.period
        found = [start for start in starts if period.holds(start + lead)]
        if not found:
            raise ValueError(f"period: ENS-10 has no forecasts that are valid from {period}")
        return found
