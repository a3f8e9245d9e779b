"""Headers of raw files on disk: a JSON file for each folder of raw files.

There stands what a file holds, whatever of it was looked for. A file's entry counts as long as its size and
time of change are the same, and the headers are read by the same code.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from weatherpeft.artifacts.caches import remember, remembered

_READERS = ("grib_header.py", "netcdf_header.py", "inventory_cache.py")
"""Modules that say what stands in a header."""
Times = NDArray[np.datetime64]
"""Times (UTC, to the minute), in the order of the file, ``(time,)``; empty for a static field."""


class Kept(NamedTuple):
    """The header of a file.

    Attributes:
        digest: digest of the structure.
        structure: what the file holds but for times (see ``grib_header`` and ``netcdf_header``).
        times: its lists of times.
    """

    digest: str
    structure: dict[str, Any]
    times: Sequence[Times]


def kept(structure: dict[str, Any], times: Sequence[Times]) -> Kept:
    """The header with its digest."""
    text = json.dumps(structure, separators=(",", ":"))
    return Kept(hashlib.sha256(text.encode()).hexdigest()[:24], json.loads(text), times)


class Cache:
    """Headers of files by folder. The structure is the same in most files of a folder, so each stands once.

    Args:
        folder: folder of the JSON files. One that cannot be written remembers nothing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pages: dict[Path, dict[str, Any]] = {}
        self._changed: set[Path] = set()

    def get(self, file: Path, state: os.stat_result) -> Kept | None:
        """The header of a file that is still the same."""
        page = self._page(file.parent)
        try:
            size, changed, digest, lists = page["files"][file.name]
            if [size, changed] != [state.st_size, state.st_mtime_ns]:
                return None
            return Kept(
                digest, page["structures"][digest], [np.array(each, "datetime64[m]") for each in lists]
            )
        except (KeyError, ValueError, TypeError):
            return None

    def put(self, file: Path, state: os.stat_result, found: Kept) -> None:
        """Remember the header of a file."""
        page = self._page(file.parent)
        lists = [each.astype(np.int64).tolist() for each in found.times]
        page["structures"].setdefault(found.digest, found.structure)
        page["files"][file.name] = [state.st_size, state.st_mtime_ns, found.digest, lists]
        self._changed.add(file.parent)

    def write(self) -> None:
        """Write what is new, without the files that are gone."""
        for folder in self._changed:
            page = self._pages[folder]
            there = set(os.listdir(folder)) if folder.is_dir() else set()
            files = {name: entry for name, entry in page["files"].items() if name in there}
            digests = {entry[2] for entry in files.values()}
            structures = {digest: page["structures"][digest] for digest in digests}
            remember(self._path(folder), {**page, "files": files, "structures": structures})
        self._changed.clear()

    def _page(self, folder: Path) -> dict[str, Any]:
        if folder not in self._pages:
            values = remembered(self._path(folder))
            new: dict[str, Any] = {"made_by": _made_by(), "structures": {}, "files": {}}
            right = (
                isinstance(values, dict)
                and values.keys() == new.keys()
                and values["made_by"] == new["made_by"]
                and all(isinstance(values[name], dict) for name in ("structures", "files"))
            )
            self._pages[folder] = values if right else new
        return self._pages[folder]

    def _path(self, folder: Path) -> Path:
        return self._folder / f"{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:24]}.json"


@cache
def _made_by() -> str:
    """What the content of a header depends on besides the file: the readers' code, and ecCodes' tables."""
    code = b"".join((Path(__file__).parent / name).read_bytes() for name in _READERS)
    tables = f"{version('eccodes')} {os.environ.get('ECCODES_DEFINITION_PATH', '')}"
    return hashlib.sha256(code + tables.encode()).hexdigest()[:24]
