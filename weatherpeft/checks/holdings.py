"""What files hold of a request, and what they do not."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from weatherpeft.fields.variables import Variable
from weatherpeft.interfaces import DataRequest
from weatherpeft.sources.formats.fields import Key, Layout, not_hourly, variable_rows
from weatherpeft.sources.formats.inventory import Contents, Held
from weatherpeft.sources.formats.missing_times import how_to_declare

Times = NDArray[np.datetime64]


class Channel(NamedTuple):
    """A variable at one level and of one member."""

    variable: str
    level: int | None = None
    member: int | None = None


class Holdings:
    """The fields of some files by variable, level and member.

    Args:
        contents: what the files hold, without faults.
        request: fields, times and members that they should hold.
    """

    def __init__(self, contents: Sequence[Contents], request: DataRequest) -> None:
        self._request, self._count = request, len(contents)
        self._held: dict[Channel, list[tuple[Path, Held]]] = {}
        for each in contents:
            for held in each.held:
                member = held.member if request.members else None
                self._held.setdefault(Channel(held.variable, held.level, member), []).append(
                    (each.file, held)
                )

    @property
    def layout(self) -> Layout:
        """The grid of the first field."""
        return next(iter(self._held.values()))[0][1].layout

    def lacking(self, key: str) -> Iterator[str]:
        """A line for each variable, level, member or span that is not there, without what has the same cause.

        Args:
            key: key of the source in the configuration.
        """
        said: set[object] = set()
        prefix = "forecasts." if key.startswith("forecasts") else ""
        for row in variable_rows(self._request.variables):
            cause, line = self._lack(row, key, prefix) or (None, "")
            if cause and cause not in said:
                said.add(cause)
                yield line

    def clashing(self, key: str) -> Iterator[str]:
        """The first field that is there twice, and the first one on another grid than the others."""
        for channel, held in self._held.items():
            wanted = self._wanted(channel)
            if any(each.sure for _, each in held):  # these take the place of the others
                held = [(file, each) for file, each in held if each.sure]
            times = np.concatenate([each.times for _, each in held])
            times, counts = np.unique(times, return_counts=True)
            twice = times[(counts > 1) & np.isin(times, wanted)]
            if twice.size:
                names = [file.name for file, each in held if twice[0] in each.times]
                field = Key(channel.variable, channel.level, twice[0], channel.member)
                yield f"{key}.paths: {field} is there twice, in {', '.join(names[:2])}"
                return
        layout = self.layout
        for held in self._held.values():
            for file, each in held:
                if each.layout is not layout and not each.layout.matches(layout):
                    grids = f"expected the grid {layout}, found {each.layout}"
                    yield f"{key}.paths: {file}: {each.variable}: {grids}"
                    return

    def _wanted(self, channel: Channel) -> Times:
        """The times that the request has of a channel; none of one that it does not name."""
        variables, members = self._request.variables, self._request.members or (None,)
        kind = variables.row(channel.variable).kind
        named = kind != "atmospheric" or channel.level in variables.levels_hpa
        if kind == "static" or not named or channel.member not in members:
            return np.empty(0, "datetime64[m]")
        return self._request.hourly_times() if kind == "accumulated" else self._request.times()

    def _lack(self, row: Variable, key: str, prefix: str) -> tuple[object, str] | None:
        """The first thing of a variable that is not there: what it is, and a line about it."""
        channels = [channel for channel in self._held if channel.variable == row.name]
        if not channels:
            names = f"short name {row.short_name}, param id {row.param_id}"
            where = f"{prefix}variables.{row.kind}: {row.name}"
            return row.name, f"{where}: none of the {self._count} files of {key}.paths holds it ({names})"
        if row.kind == "static":
            return None
        members, levels = self._request.members, self._request.variables.levels_hpa
        for name, needed, place in (
            ("member", members, f"{prefix}members" if prefix else "splits"),
            ("level", levels if row.kind == "atmospheric" else (), f"{prefix}variables.levels_hpa"),
        ):
            there = {getattr(channel, name) for channel in channels}
            lacking = [each for each in needed if each not in there]
            if lacking:
                found = ", ".join(str(each) for each in sorted(there - {None})) or "none"
                text = f"{row.name} has no {name} {lacking[0]} in the files of {key}.paths, only {found}"
                return (name, lacking[0]), f"{place}: {text}"
        for level in levels if row.kind == "atmospheric" else (None,):
            for member in members or (None,):
                if gap := self._gap(Channel(row.name, level, member), row, key):
                    return gap
        return None

    def _gap(self, channel: Channel, row: Variable, key: str) -> tuple[object, str] | None:
        """The first time of a channel that is not there, and a line about it."""
        held = self._held.get(channel, [])
        wanted = self._wanted(channel)
        times = np.unique(np.concatenate([each.times for _, each in held])) if held else wanted[:0]
        missing = wanted[~np.isin(wanted, times)]
        if not missing.size:
            return None
        first = Key(*channel[:2], missing[0], channel[2])
        text = f"{first} is missing ({missing.size} of {wanted.size} times are)"
        if not times.size:
            return first, f"{key}.paths: {text}"
        found = f"the files hold {times.size} times from {times[0]} to {times[-1]}"
        advice = not_hourly(row, times) or how_to_declare(wanted, times, row.kind == "accumulated")
        steps = np.diff(times)
        step = np.timedelta64(self._request.step_hours, "h")
        finer = row.kind != "accumulated" and steps.size and steps.min() > step
        if finer:
            hours = steps.min() // np.timedelta64(1, "h")
            prefix = "forecasts." if key.startswith("forecasts") else ""
            own = f"{prefix}step_hours: {self._request.step_hours}"
            return "step", f"{own} is finer than the data, which is every {hours} h; {text}{advice}"
        outside = missing[0] < times[0] or missing[0] > times[-1]
        return missing[0], f"{key}.{'span' if outside else 'paths'}: {text}; {found}{advice}"
