"""What many raw files hold, by their headers, kept for the next time.

The readers that decode the files find the fields here too, so that both agree on names, units and grids. Of
NetCDF files that differ in their times alone, that reader opens the first.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

import numpy as np

from weatherpeft.fields.variables import VariableSet
from weatherpeft.sources.formats.fields import FileKind, Key, Layout, RawField
from weatherpeft.sources.formats.files import sniff
from weatherpeft.sources.formats.grib import grib_fields
from weatherpeft.sources.formats.inventory_cache import Cache, Held
from weatherpeft.sources.formats.netcdf import netcdf_fields
from weatherpeft.sources.formats.netcdf_times import Header, header


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
    _alike: dict[str, tuple[int, tuple[Held, ...]]] = field(default_factory=dict, init=False)
    _lock: Lock = field(default_factory=Lock, init=False)  # the NetCDF library is not made for threads

    def read(self, files: Sequence[Path]) -> list[Contents]:
        """What each file holds, in the order of the files.

        A file that cannot be read is no error here; its ``fault`` says why.
        """
        rename = json.dumps(dict(self.rename), sort_keys=True)
        looked_for = f"{self.variables.canonical_json()} {self.lead_hours} {rename}"
        stored = Cache(self.cache or default_cache(), looked_for)
        found: dict[Path, Contents] = {}
        states = {file: os.stat(file) if file.exists() else None for file in files}
        for file, state in states.items():
            held = stored.get(file, state) if state else None
            if held is not None:
                found[file] = Contents(file, held)
        rest = [file for file in states if file not in found]
        with ThreadPoolExecutor() as pool:
            for contents in pool.map(self._read, rest):
                found[contents.file] = contents
                state = states[contents.file]
                if state and not (contents.fault or contents.packed):
                    stored.put(contents.file, state, contents.held)
        stored.write()
        return [found[file] for file in files]

    def _read(self, file: Path) -> Contents:
        try:
            kind = sniff(file)
            if kind == "ZIP archive":
                return Contents(file, packed=True)
            if kind == "GRIB":
                fields = grib_fields(file, self.variables, self.lead_hours, self.rename)
                return Contents(file, _grouped(fields))
            if kind in ("NetCDF3", "NetCDF4") and not self.lead_hours:
                with self._lock:
                    return Contents(file, self._netcdf(file, kind))
            return Contents(file, fault=f"{file}: expected GRIB or NetCDF, found a file that is {kind}")
        except (ValueError, OSError) as error:
            return Contents(file, fault=" ".join(str(error).split()))

    def _netcdf(self, file: Path, kind: FileKind) -> tuple[Held, ...]:
        """The fields of a NetCDF file, from those of one with the same header where there is one."""
        found = header(file, kind)
        if found and found.digest in self._alike:
            axis, pattern = self._alike[found.digest]
            times = found.times[axis]
            return tuple(each._replace(times=times) if each.times.size else each for each in pattern)
        held = _grouped(netcdf_fields(file, kind, self.variables, self.rename))
        if found:
            self._remember(found, held)
        return held

    def _remember(self, found: Header, held: tuple[Held, ...]) -> None:
        """Keep the fields of a header, if all have the same one of its time axes."""
        for number, times in enumerate(found.times):
            if all(np.array_equal(times, each.times) for each in held if each.times.size):
                self._alike[found.digest] = (number, held)


def default_cache() -> Path:
    """The folder in which inventories are kept: ``weatherpeft/inventory`` below ``XDG_CACHE_HOME``."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "weatherpeft" / "inventory"


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
