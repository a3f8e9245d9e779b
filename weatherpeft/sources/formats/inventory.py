"""What many raw files hold, by their headers, kept for the next time.

The readers that decode the files find the fields in the headers too, so that both agree on names, units and
grids. They look into one header of all that differ in times alone.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np

from weatherpeft.artifacts.caches import cache_folder
from weatherpeft.fields.variables import VariableSet
from weatherpeft.sources.formats import grib_header, netcdf_header
from weatherpeft.sources.formats.fields import COORDINATES, Key, Layout, RawField
from weatherpeft.sources.formats.files import sniff
from weatherpeft.sources.formats.grib import found_fields
from weatherpeft.sources.formats.inventory_cache import Cache, Kept, Times, kept
from weatherpeft.sources.formats.netcdf import dataset_fields, netcdf_fields

_START = np.datetime64("1700-01-01T00:00", "m")
"""Stands for the times of the first time axis of a file; a minute later for the second, and so on."""
_NO_TIMES = np.empty(0, "datetime64[m]")


class Held(NamedTuple):
    """The fields of a variable at one level and of one member in a file, with the units of the table.

    ``sure`` says that no other quantity has the name that they have there (see ``names.Match``).
    """

    variable: str
    level: int | None
    member: int | None
    times: Times
    layout: Layout
    sure: bool = True


@dataclass(frozen=True)
class Contents:
    """What a file holds of the variables that were looked for.

    Attributes:
        file: the file.
        held: its fields.
        fault: why its fields are not known, which names the file; empty where they are.
        packed: whether it is a ZIP archive, which is not opened.
    """

    file: Path
    held: tuple[Held, ...] = ()
    fault: str = ""
    packed: bool = False


class _Channel(NamedTuple):
    """Fields of a file, and the number of their times; None where ``held`` has their times, or none."""

    held: Held
    times: int | None


_Found = tuple[_Channel, ...] | str
"""The fields of all files with some structure, or what is wrong with each of them."""


@dataclass
class Inventory:
    """Reads the headers of raw files, and remembers them by path, size and time of change.

    Attributes:
        variables: variables to look for; levels do not matter.
        lead_hours: lead time of the forecasts to look for; 0 for analyses.
        rename: our names of variables, by their names in files.
        cache: folder of what is remembered; by default that of the user's caches.
    """

    variables: VariableSet
    lead_hours: int = 0
    rename: Mapping[str, str] = field(default_factory=dict)
    cache: Path | None = None
    _known: dict[str, _Found] = field(default_factory=dict, init=False)
    _lock: Lock = field(default_factory=Lock, init=False)  # the NetCDF library is not made for threads

    def read(self, files: Sequence[Path]) -> list[Contents]:
        """What each file holds, in the order of the files.

        A file that cannot be read is no error here; its ``fault`` says why.
        """
        stored = Cache(self.cache or cache_folder("inventory"))
        states = {file: os.stat(file) if file.exists() else None for file in files}
        headers: dict[Path, Kept | Contents] = {}
        for file, state in states.items():
            if state and (known := stored.get(file, state)):
                headers[file] = known
        rest = [file for file in states if file not in headers]
        with ThreadPoolExecutor() as pool:
            for file, header in zip(rest, pool.map(self._read, rest), strict=True):
                headers[file] = header
                if (state := states[file]) and isinstance(header, Kept):
                    stored.put(file, state, header)
        stored.write()
        found = {file: self._contents(file, header) for file, header in headers.items()}
        return [found[file] for file in files]

    def _read(self, file: Path) -> Kept | Contents:
        """The header of a file or, if it has none that can be kept, what is known of it."""
        try:
            kind = sniff(file)
            if kind == "ZIP archive":
                return Contents(file, packed=True)
            if kind == "GRIB":
                return kept(*grib_header.header(file))
            if kind in ("NetCDF3", "NetCDF4"):
                with self._lock:
                    if header := netcdf_header.header(file, kind):
                        return kept(*header)
                    if not self.lead_hours:
                        return Contents(
                            file, _grouped(netcdf_fields(file, kind, self.variables, self.rename))
                        )
            return Contents(file, fault=f"{file}: expected GRIB or NetCDF, found a file that is {kind}")
        except (ValueError, OSError) as error:
            return Contents(file, fault=" ".join(str(error).split()))

    def _contents(self, file: Path, header: Kept | Contents) -> Contents:
        """What a file holds, from what a file with the same structure holds where there was one."""
        if isinstance(header, Contents):
            return header
        found = self._known.get(header.digest)
        try:
            if found is None and header.structure["kind"] == "GRIB":
                found = self._known[header.digest] = tuple(self._in_grib(file, header))
            elif found is None:
                found = self._known[header.digest] = self._in_netcdf(file, header)
        except ValueError as error:
            return Contents(file, fault=" ".join(str(error).split()))
        if isinstance(found, str):
            return Contents(file, fault=f"{file}: {found}")
        held = tuple(
            each if number is None else each._replace(times=header.times[number]) for each, number in found
        )
        if fault := _too_many(held):
            return Contents(file, fault=f"{file}: {fault}")
        return Contents(file, held)

    def _in_grib(self, file: Path, header: Kept) -> Iterator[_Channel]:
        """The fields of a GRIB file. What is wrong with one names its time, so that it is not remembered."""
        groups, names = grib_header.groups(grib_header.Header(header.structure, list(header.times)))
        numbers = {id(group.first): group.times for group in groups}
        messages = [group.first for group in groups]
        for key, found in found_fields(
            file,
            messages,
            self.variables,
            self.lead_hours,
            self.rename,
            lambda _, message: names[grib_header.place_of(message)],
        ):
            held = Held(key.variable, key.level, key.member, _NO_TIMES, found.layout, found.chosen.sure)
            yield _Channel(held, None if key.time is None else numbers[id(found.message)])

    def _in_netcdf(self, file: Path, header: Kept) -> _Found:
        """The fields of a NetCDF file with some structure, or what is wrong with it."""
        if self.lead_hours:
            return f"expected GRIB or NetCDF, found a file that is {header.structure['kind']}"
        starts = [_START + number for number in range(len(header.times))]
        try:
            dataset = netcdf_header.empty_dataset(header.structure, starts)
            held = _grouped(dataset_fields(file, dataset, self.variables, self.rename))
        except ValueError as error:
            return " ".join(str(error).removeprefix(f"{file}: ").split())
        numbers = {(start,): number for number, start in enumerate(starts)}
        return tuple(_Channel(each, numbers.get(tuple(each.times))) for each in held)


def _too_many(held: Iterable[Held]) -> str:
    """What is wrong where a variable has more fields than are believed; empty where none has."""
    counts: dict[str, int] = {}
    for each in held:
        counts[each.variable] = counts.get(each.variable, 0) + each.times.size
    faults = (
        f"{name}: expected up to {COORDINATES} fields, found {count}"
        for name, count in counts.items()
        if count > COORDINATES
    )
    return next(faults, "")


def _grouped(fields: Iterable[tuple[Key, RawField]]) -> tuple[Held, ...]:
    """Fields of a file by variable, level, member and grid."""
    groups: dict[tuple[str, int | None, int | None, bool, int], tuple[Layout, list[np.datetime64]]] = {}
    for key, raw in fields:
        group = (key.variable, key.level, key.member, raw.sure, id(raw.layout))
        times = groups.setdefault(group, (raw.layout, []))[1]
        if key.time is not None:
            times.append(key.time)
    return tuple(
        Held(name, level, member, np.array(times, "datetime64[m]"), layout, sure)
        for (name, level, member, sure, _), (layout, times) in groups.items()
    )
