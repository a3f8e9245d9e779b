"""Regridded fields by valid time from the stores of several periods."""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from weatherpeft.artifacts import store
from weatherpeft.artifacts.period_stores import PeriodStores
from weatherpeft.artifacts.times import JoinedTimes
from weatherpeft.fields.grid import Grid
from weatherpeft.fields.variables import accumulation
from weatherpeft.spec import Period

if TYPE_CHECKING:
    import xarray as xr

_CACHE_BYTES = 2**28


class FieldReader:
    """Reads fields of one grid, at one time and for one member per call.

    ``total_precipitation_6hr`` is the sum of the six hourly fields that end at the time (T − 5 h … T), which
    may be in different stores. Other numbers of hours, up to 24, work the same way. The fields that were read
    last stay in memory, up to a limit. Threads may share a reader.

    Args:
        directories: artifacts of the regrid or the pack stage.
        grid: one of their grids.
        names: names of time-dependent variables.

    Raises:
        ValueError: a store lacks a variable, two stores hold the same time, or a sum has more than 24 hours.
    """

    def __init__(self, directories: Sequence[Path], grid: Grid, names: Sequence[str]) -> None:
        self._periods = [PeriodStores(directory, grid) for directory in directories]
        sums = {name: found for name in names if (found := accumulation(name))}
        stored = tuple(name for name in names if name not in sums)
        self._stores = [period.fields(stored) for period in self._periods]
        self._times = JoinedTimes(
            [(each.main, own.times) for each, own in zip(self._periods, self._stores, strict=True)]
        )
        self._sums = {name: _HourlySum(self._periods, *found) for name, found in sums.items()}
        self._cache: OrderedDict[tuple[np.datetime64, int | None], dict[str, np.ndarray]] = OrderedDict()
        self._cached_bytes = 0
        self._cached = Lock()

    @property
    def hours(self) -> list[int]:
        """The hours of the day of all stored times, in order."""
        return self._times.hours

    @property
    def sum_hours(self) -> int:
        """Hours of the longest sum; 1 if there is none."""
        return max((each.hours for each in self._sums.values()), default=1)

    def times(self, periods: Sequence[Period]) -> list[np.datetime64]:
        """The stored times, in order, that lie in one of the periods with all hours of every sum."""
        found: set[np.datetime64] = set()
        for period in periods:
            inside = self._times.inside(period)
            for each in self._sums.values():
                inside = each.complete(inside, period)
            found |= inside
        return sorted(found)

    def read(self, time: np.datetime64, member: int | None) -> dict[str, np.ndarray]:
        """Fields of one time, ``([level,] latitude, longitude)`` float32 each, by name.

        Args:
            time: valid time.
            member: number of the ensemble member; None if the data has no member dimension.

        Raises:
            ValueError: the data has no such time or member.
        """
        key = (time, member)
        with self._cached:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
        number, index = self._times.place(time)
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

    def template(self, name: str) -> "xr.DataArray":
        """A field of a variable whose dims, coordinates and attributes count, but not its values.

        Returns:
            Dims ``([member,] [level,] latitude, longitude)``.
        """
        hourly, _ = accumulation(name) or (name, 0)
        array = store.open_dataset(self._periods[0].path(hourly))[hourly]
        return array.isel({str(dim): 0 for dim in array.dims if str(dim).endswith("time")}, drop=True)

    def static(self, name: str) -> np.ndarray:
        """A field without time, ``(latitude, longitude)``, which must be the same in every period.

        Raises:
            ValueError: the store of a period lacks the field or holds another one, or there is no period.
        """
        found: np.ndarray | None = None
        for period in self._periods:
            path = period.path(name)
            dataset = store.open_dataset(path)
            if name not in dataset:
                raise ValueError(f"{path}: static variable {name} is missing in the regridded data")
            field: np.ndarray = dataset[name].values
            found = field if found is None else found
            if not np.array_equal(found, field, equal_nan=True):
                first = self._periods[0].path(name)
                raise ValueError(f"{path}: static variable {name} is not the same as in {first}")
        if found is None:
            raise ValueError(f"static variable {name}: expected at least one period, found none")
        return found


class _HourlySum:
    """Sums of hourly fields from the stores of several periods."""

    def __init__(self, periods: Sequence[PeriodStores], hourly: str, hours: int) -> None:
        if not 0 < hours <= 24:
            raise ValueError(f"{hourly}_{hours}hr: expected a sum of at most 24 hours")
        self._name, self.hours = f"{hourly}_{hours}hr", hours
        self._stores = [period.sums(hourly) for period in periods]
        self._times = JoinedTimes(
            [(each.path(hourly), own.times) for each, own in zip(periods, self._stores, strict=True)]
        )

    def complete(self, times: set[np.datetime64], period: Period) -> set[np.datetime64]:
        """Those of some times whose sums have all their hours in a period and in the stores."""
        inside = self._times.inside(period.model_copy(update={"hours": ()}))
        return {time for time in times if inside.issuperset(self._parts(time))}

    def read(self, time: np.datetime64, member: int | None) -> np.ndarray:
        """The sum that ends at a time, ``(latitude, longitude)`` float32; ``member`` is an index."""
        places = [self._times.place(part, f"{self._name} at {time}: ") for part in self._parts(time)]
        parts = [self._stores[number].read(index, member) for number, index in places]
        total: np.ndarray = np.stack(parts).sum(axis=0, dtype=np.float64).astype(np.float32)
        return total

    def _parts(self, time: np.datetime64) -> list[np.datetime64]:
        """Ends of the hours of the sum that ends at a time."""
        return [time - np.timedelta64(hours, "h") for hours in range(self.hours - 1, -1, -1)]


def _bytes(fields: dict[str, np.ndarray]) -> int:
    """Memory that fields keep in use; a view keeps the whole array that it is a part of."""
    owners = [field if field.base is None else field.base for field in fields.values()]
    return sum({id(owner): owner.nbytes for owner in owners}.values())
