"""Raw data that a tuned model predicts from, with all times that are in it: files, or a dataset in memory."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from weatherpeft.fields.variables import VariableSet
from weatherpeft.interfaces import DataRequest
from weatherpeft.spec import Period

if TYPE_CHECKING:
    import xarray as xr

    from weatherpeft.sources.formats.inventory import Held

Times = NDArray[np.datetime64]
_ALWAYS = Period(start=date(1, 1, 1), end=date(9998, 12, 31))
_MEMBER = "member"


class Wanted(DataRequest):
    """A request for the times that are there, whichever they are."""

    at: tuple[datetime, ...] = ()
    """Times (UTC) of the instantaneous fields, in order."""
    hours_at: tuple[datetime, ...] = ()
    """Ends (UTC) of the hours of accumulated fields, in order."""

    @classmethod
    def of(cls, variables: VariableSet, lead_hours: int = 0) -> "Wanted":
        """A request whose times are not known yet.

        Args:
            variables: variables of a model; those without time are left out.
            lead_hours: lead time of forecasts in hours; 0 for analyses.
        """
        moving = variables.stored.model_copy(update={"static": ()})
        moving = moving.model_copy(update={"define": moving.defined(moving.names)})
        return cls(variables=moving, period=_ALWAYS, lead_hours=lead_hours)

    def at_times(self, times: Times, hours: Times, members: Iterable[int] = ()) -> "Wanted":
        """The same for times and members that were found."""
        found: dict[str, Any] = {"at": tuple(times.tolist()), "hours_at": tuple(hours.tolist())}
        return self.model_copy(update={**found, "members": tuple(members)})

    def times(self) -> Times:
        """Times (UTC, to the minute) of the instantaneous fields, ``(time,)``, in order."""
        return np.array(self.at, "datetime64[m]")

    def hourly_times(self) -> Times:
        """Ends (UTC, to the minute) of the hours of accumulated fields, ``(hourly_time,)``, in order."""
        return np.array(self.hours_at, "datetime64[m]")


def from_files(files: Sequence[Path], wanted: Wanted, rename: Mapping[str, str]) -> "xr.Dataset":
    """Look into the headers of GRIB and NetCDF files for the times that have all fields.

    Args:
        files: files, mixed and named in any way. Forecasts must be in GRIB.
        wanted: variables and lead time.
        rename: our names of variables by the names in the files.

    Returns:
        The canonical dataset of these times (see ``interfaces.Source.decode``), lazy.

    Raises:
        ValueError: a file cannot be read, or a variable or level is in none of them, or no time has all. The
            message names it.
    """
    from weatherpeft.sources.formats.files import open_canonical
    from weatherpeft.sources.formats.inventory import Inventory

    held: list[Held] = []
    for contents in Inventory(wanted.variables, wanted.lead_hours, rename).read(files):
        if contents.packed:
            raise ValueError(f"{contents.file}: is a ZIP archive; unpack it and give the files inside")
        if contents.fault:
            raise ValueError(contents.fault)
        held += contents.held
    members = sorted({each.member for each in held if each.member is not None})
    members = members if len(members) > 1 else []
    found: dict[bool, dict[tuple[object, ...], list[Times]]] = {True: {}, False: {}}
    for each in held:
        kind = wanted.variables.row(each.variable).kind
        if kind != "atmospheric" or each.level in wanted.variables.levels_hpa:
            place = (each.variable, each.level, each.member if members else None)
            found[kind == "accumulated"].setdefault(place, []).append(each.times)
    times, hours = (_common(map(np.concatenate, found[summed].values())) for summed in (False, True))
    if held and not times.size + hours.size:
        raise ValueError(f"{', '.join(map(str, files[:3]))}: no time has all variables that the files hold")
    return open_canonical(files, wanted.at_times(times, hours, members), rename=rename)


def from_dataset(dataset: "xr.Dataset", wanted: Wanted, rename: Mapping[str, str]) -> "xr.Dataset":
    """The canonical form of a dataset, whose variables are found as in files; lazy.

    ``time`` is the valid time. A dimension ``number``, ``member`` or ``realization`` is that of an ensemble.

    Args:
        dataset: fields with coordinates; values may be lazy.
        wanted: variables and lead time.
        rename: our names of variables by those in the dataset.

    Raises:
        ValueError: a variable or level is missing, or no time has all variables. The message names it.
    """
    import xarray as xr

    from weatherpeft.sources.formats.coordinates import roles

    named = [roles(array) for array in dataset.data_vars.values()]
    name = next((each[_MEMBER] for each in named if _MEMBER in each), "")
    if name not in dataset.dims:
        return _one_member(dataset.drop_vars(name, errors="ignore"), wanted, rename)
    numbers = dataset[name].values.tolist() if name in dataset.coords else [*range(dataset.sizes[name])]
    members = [
        _one_member(dataset.isel({name: place}).drop_vars(name, errors="ignore"), wanted, rename)
        for place in range(len(numbers))
    ]
    return xr.concat(members, xr.Variable(_MEMBER, np.asarray(numbers, np.int64)))


def _one_member(dataset: "xr.Dataset", wanted: Wanted, rename: Mapping[str, str]) -> "xr.Dataset":
    from weatherpeft.sources.formats.coordinates import contents
    from weatherpeft.sources.formats.datasets import by_our_names
    from weatherpeft.sources.formats.fields import listed, to_minutes, variable_rows
    from weatherpeft.sources.formats.zarr import canonical, check_one_grid, select_fields

    label = "the dataset"
    arrays = by_our_names(dataset, label, wanted, rename)
    rows = variable_rows(wanted.variables)
    for row in rows:
        if row.name not in arrays:
            raise ValueError(f"{label}: {row.name} is missing; found {listed(contents(dataset))}")
        if "time" in arrays[row.name].coords and "time" not in arrays[row.name].dims:
            arrays[row.name] = arrays[row.name].expand_dims("time")
    times, hours = (
        _common(
            to_minutes(arrays[row.name]["time"].values)
            for row in rows
            if (row.kind == "accumulated") == summed and "time" in arrays[row.name].dims
        )
        for summed in (False, True)
    )
    request = wanted.at_times(times, hours)
    selected = [select_fields(arrays[row.name], label, request, row) for row in rows]
    check_one_grid(selected, label)
    return canonical(selected, label)


def _common(times: Iterable[Times]) -> Times:
    """The times that all have, in order; none of none."""
    each = [np.unique(one) for one in times]
    return reduce(np.intersect1d, each) if each else np.empty(0, "datetime64[m]")
