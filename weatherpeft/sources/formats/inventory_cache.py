"""Inventories of raw files on disk: a JSON file for each folder of raw files.

A file's entry counts as long as its size and time of change are the same.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from weatherpeft.sources.formats.fields import Layout, canonical_layout

VERSION = 2
"""Of the layout of the files, and of what the readers find in a header."""


Times = NDArray[np.datetime64]
"""Times (UTC, to the minute), in the order of the file, ``(time,)``; empty for a static field."""


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


class Cache:
    """Inventories of files by folder.

    Fields and grids are the same in most files of a folder, so each stands there once.

    Args:
        folder: folder of the JSON files. One that cannot be written remembers nothing.
        looked_for: what was looked for in the files.
    """

    def __init__(self, folder: Path, looked_for: str) -> None:
        self._folder, self._looked_for = folder, looked_for
        self._pages: dict[Path, _Page] = {}

    def get(self, file: Path, state: os.stat_result) -> tuple[Held, ...] | None:
        """What a file held, if it is still the same."""
        return self._page(file.parent).get(file.name, state)

    def put(self, file: Path, state: os.stat_result, held: Iterable[Held]) -> None:
        """Remember what a file holds."""
        self._page(file.parent).put(file.name, state, held)

    def write(self) -> None:
        """Write what is new, each file at once; of two who write the same, the later one counts."""
        for folder, page in self._pages.items():
            if not page.changed:
                continue
            path = self._path(folder)
            draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                draft.write_text(json.dumps(page.values, separators=(",", ":")), encoding="utf-8")
                draft.replace(path)
            except OSError:  # a cache is no condition of any work
                with suppress(OSError):
                    draft.unlink()
                return

    def _page(self, folder: Path) -> "_Page":
        if folder not in self._pages:
            try:
                values = json.loads(self._path(folder).read_text(encoding="utf-8"))
            except (OSError, ValueError):
                values = None
            self._pages[folder] = _Page(values)
        return self._pages[folder]

    def _path(self, folder: Path) -> Path:
        name = f"{VERSION} {self._looked_for} {folder.resolve()}"
        return self._folder / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.json"


class _Page:
    """The inventories of one folder.

    Attributes:
        values: as they stand in JSON. ``grids`` are pairs of axes. ``kinds`` are lists of variable, level,
            member, number of a list of times, number of a grid, and whether the name is sure. ``files`` have
            by name size, time of change, number of a kind, and lists of times in minutes since 1970.
        changed: whether there is something to write.
    """

    def __init__(self, values: Any) -> None:
        new: dict[str, Any] = {"grids": [], "kinds": [], "files": {}}
        self.values = values if isinstance(values, dict) and values.keys() == new.keys() else new
        self.changed = False
        self._layouts: dict[int, Layout] = {}
        self._numbers = {
            name: {json.dumps(each): number for number, each in enumerate(self.values[name])}
            for name in ("grids", "kinds")
        }

    def get(self, name: str, state: os.stat_result) -> tuple[Held, ...] | None:
        entry = self.values["files"].get(name)
        if entry is None or entry[:2] != [state.st_size, state.st_mtime_ns]:
            return None
        _, _, kind, lists = entry
        times = [np.array(minutes, "datetime64[m]") for minutes in lists]
        return tuple(
            Held(variable, level, member, times[number], self._layout(grid), sure)
            for variable, level, member, number, grid, sure in self.values["kinds"][kind]
        )

    def put(self, name: str, state: os.stat_result, held: Iterable[Held]) -> None:
        lists: dict[tuple[int, ...], int] = {}
        fields = []
        for each in held:
            minutes = tuple(each.times.astype(np.int64).tolist())
            axes = [each.layout.latitude.tolist(), each.layout.longitude.tolist()]
            number = lists.setdefault(minutes, len(lists))
            grid = self._number("grids", axes)
            fields.append([each.variable, each.level, each.member, number, grid, each.sure])
        kind = self._number("kinds", fields)
        self.values["files"][name] = [state.st_size, state.st_mtime_ns, kind, [*map(list, lists)]]
        self.changed = True

    def _number(self, name: str, value: Any) -> int:
        """The number of a value among those that stand once."""
        numbers = self._numbers[name]
        number = numbers.setdefault(json.dumps(value), len(numbers))
        if number == len(self.values[name]):
            self.values[name].append(value)
        return number

    def _layout(self, number: int) -> Layout:
        if number not in self._layouts:
            latitude, longitude = (np.array(axis) for axis in self.values["grids"][number])
            self._layouts[number] = canonical_layout(latitude, longitude)
        return self._layouts[number]
