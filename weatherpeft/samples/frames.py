"""The samples of a task, read from the regridded stores as arrays."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np

from weatherpeft.artifacts import store
from weatherpeft.artifacts.field_store import StoredFields, StoredSums
from weatherpeft.fields.grid import Grid
from weatherpeft.fields.regridding import interpolation_matrices
from weatherpeft.fields.variables import FieldSet, accumulation
from weatherpeft.samples.window import Split, Window
from weatherpeft.spec import Period

_CACHE_BYTES = 2**28


@dataclass(frozen=True)
class Sample:
    """What identifies a sample: the time of its last input, in an ensemble the member, the lead time."""

    time: np.datetime64
    member: int | None
    lead_hours: int = 0


class GridReader:
    """Reads fields of one grid from the stores of several periods, one time of one member at a time.

    ``total_precipitation_6hr`` is the sum of the six hourly fields that end at the time (T − 5 h … T),
    whichever stores they are in. What was read lately is kept, up to a limit. Threads may share a reader.

    Args:
        directories: artifacts of the regrid stage.
        grid: which of their grids.
        names: time-dependent variables.

    Raises:
        ValueError: if a store has no such variable, or two stores hold the same time.
    """

    def __init__(self, directories: Sequence[Path], grid: Grid, names: Sequence[str]) -> None:
        self._paths = [directory / f"{grid.label}.zarr" for directory in directories]
        sums = {name: found for name in names if (found := accumulation(name))}
        self._stores = [
            StoredFields(path, tuple(name for name in names if name not in sums)) for path in self._paths
        ]
        self._sums = {name: _HourlySum(self._paths, *found) for name, found in sums.items()}
        self._position: dict[np.datetime64, tuple[int, int]] = {}
        self._cache: OrderedDict[tuple[np.datetime64, int | None], dict[str, np.ndarray]] = OrderedDict()
        self._cached_bytes = 0
        self._cached = Lock()
        for number, (path, stored) in enumerate(zip(self._paths, self._stores, strict=True)):
            for index, time in enumerate(stored.times):
                if time in self._position:
                    raise ValueError(f"{path}: time {time} is in another store too")
                self._position[time] = (number, index)

    def times(self, periods: Sequence[Period]) -> list[np.datetime64]:
        """The stored times that lie, with all hours of a sum, in one of the periods, in order."""
        found: set[np.datetime64] = set()
        for period in periods:
            first = np.datetime64(period.start, "ns")
            last = np.datetime64(period.end, "ns") + np.timedelta64(1, "D")
            inside = {time for time in self._position if first <= time < last}
            for each in self._sums.values():
                inside = {time for time in inside if each.begins(time) >= first and each.is_stored(time)}
            found |= inside
        return sorted(found)

    def read(self, time: np.datetime64, member: int | None) -> dict[str, np.ndarray]:
        """Fields of one time, ``([level,] latitude, longitude)`` float32 each.

        Raises:
            ValueError: a time or member that is not in the data.
        """
        key = (time, member)
        with self._cached:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
        if time not in self._position:
            raise ValueError(f"the regridded data has no time {time}")
        number, index = self._position[time]
        members = self._stores[number].members
        if member is not None and member not in members:
            raise ValueError(f"the regridded data has no member {member} at {time}")
        row = None if member is None else members.index(member)
        fields = self._stores[number].read(index, row)
        fields |= {name: each.read(time, row) for name, each in self._sums.items()}
        with self._cached:
            if key not in self._cache:
                self._cache[key] = fields
                self._cached_bytes += _bytes(fields)
            while self._cached_bytes > _CACHE_BYTES:
                self._cached_bytes -= _bytes(self._cache.popitem(last=False)[1])
        return fields

    def static(self, name: str) -> np.ndarray:
        """A field without time, ``(latitude, longitude)``, the same in every period.

        Raises:
            ValueError: a period whose store has no such field, or another one.
        """
        found: np.ndarray | None = None
        for path in self._paths:
            dataset = store.open_dataset(path)
            if name not in dataset:
                raise ValueError(f"{path}: static variable {name} is missing in the regridded data")
            field: np.ndarray = dataset[name].values
            found = field if found is None else found
            if not np.array_equal(found, field, equal_nan=True):
                raise ValueError(f"{path}: static variable {name} is not the same as in {self._paths[0]}")
        if found is None:
            raise ValueError(f"static variable {name}: expected at least one period, found none")
        return found


class _HourlySum:
    """Sums of hourly fields from the stores of several periods."""

    def __init__(self, paths: Sequence[Path], hourly: str, hours: int) -> None:
        self._name, self._hours = f"{hourly}_{hours}hr", hours
        self._stores = [StoredSums(path, hourly) for path in paths]
        self._position = {
            time: (number, index)
            for number, stored in enumerate(self._stores)
            for index, time in enumerate(stored.times)
        }

    def begins(self, time: np.datetime64) -> np.datetime64:
        """The end of the first hour of the sum that ends at a time."""
        return self._parts(time)[0]

    def is_stored(self, time: np.datetime64) -> bool:
        """Whether all hours are in the stores."""
        return all(part in self._position for part in self._parts(time))

    def read(self, time: np.datetime64, member: int | None) -> np.ndarray:
        """The sum that ends at a time, ``(latitude, longitude)`` float32; ``member`` is an index."""
        parts = []
        for part in self._parts(time):
            if part not in self._position:
                raise ValueError(f"{self._name} at {time}: the regridded data has no {part}")
            number, index = self._position[part]
            parts.append(self._stores[number].read(index, member))
        total: np.ndarray = np.stack(parts).sum(axis=0, dtype=np.float64).astype(np.float32)
        return total

    def _parts(self, time: np.datetime64) -> list[np.datetime64]:
        return [time - np.timedelta64(hours, "h") for hours in range(self._hours - 1, -1, -1)]


def _bytes(fields: dict[str, np.ndarray]) -> int:
    return sum(field.nbytes for field in fields.values())


class SampleFrames:
    """The samples of one split of a task, as arrays.

    A sample's whole window, inputs and target, lies inside one period of the split.

    Attributes:
        samples: in order of time, then member, then lead time.
        static: fields without time, ``(latitude, longitude)`` each.

    Args:
        window: which times and grids a sample is made of.
        fields: variables in use and declared placeholders.
        directories: artifacts of the regrid stage.
        split: periods and members.

    Raises:
        ValueError: if the split has no sample.
    """

    def __init__(self, window: Window, fields: FieldSet, directories: Sequence[Path], split: Split) -> None:
        self.window, self.fields, self.split = window, fields, split
        measured = fields.measured
        names = (*measured.surface, *measured.atmospheric)
        self._target = GridReader(directories, window.target_grid, names)
        self._input = (
            self._target
            if window.input_grid == window.target_grid
            else GridReader(directories, window.input_grid, names)
        )
        self._matrices = (
            None
            if window.input_grid == window.target_grid
            else interpolation_matrices(window.input_grid, window.target_grid)
        )
        self.static = {
            name: np.array(self._fill(name) if name in fields.placeholders else self._target.static(name))
            for name in fields.all.static
        }
        self.samples = self._find()
        if not self.samples:
            periods = ", ".join(period.label for period in split.periods)
            raise ValueError(f"no complete sample lies in the periods {periods}")

    def __len__(self) -> int:
        return len(self.samples)

    def _find(self) -> list[Sample]:
        hours = (*self.window.input_hours, *self.window.target_hours)
        found = []
        for period in self.split.periods:
            inside = set(self._target.times([period])) & set(self._input.times([period]))
            for time in sorted(inside):
                if all(time + np.timedelta64(offset, "h") in inside for offset in hours):
                    found += [
                        Sample(time, member, lead)
                        for member in self.split.members or (None,)
                        for lead in self.window.target_hours
                    ]
        return found

    def _fill(self, name: str) -> np.ndarray:
        seen = self.fields.all
        levels = (len(seen.levels_hpa),) if name in seen.atmospheric else ()
        shape = (*levels, *self.window.target_grid.shape)
        return np.full(shape, self.fields.placeholders[name], dtype=np.float32)

    def inputs(self, sample: Sample) -> list[dict[str, np.ndarray]]:
        """The input frames on the target grid, oldest first, placeholders included."""
        return [self._frame(self._input, sample, hours, self._matrices) for hours in self.window.input_hours]

    def target(self, sample: Sample) -> dict[str, np.ndarray]:
        """The target fields, placeholders included."""
        return self._frame(self._target, sample, sample.lead_hours, None)

    def _frame(
        self,
        reader: GridReader,
        sample: Sample,
        hours: int,
        matrices: tuple[np.ndarray, np.ndarray] | None,
    ) -> dict[str, np.ndarray]:
        fields = dict(reader.read(sample.time + np.timedelta64(hours, "h"), sample.member))
        if matrices is not None:
            rows, columns = matrices
            fields = {name: (rows @ field @ columns.T).astype(np.float32) for name, field in fields.items()}
        for name in self.fields.placeholders:
            fields[name] = self._fill(name)
        return fields
