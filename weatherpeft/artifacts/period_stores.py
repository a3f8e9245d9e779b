"""The stores of one grid and period, which hold different variables of the same times."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from weatherpeft.artifacts import catalog, store
from weatherpeft.artifacts.field_store import StoredFields, StoredSums
from weatherpeft.fields.grid import Grid
from weatherpeft.fields.variables import VariableSet

if TYPE_CHECKING:
    import xarray as xr


class _Store(NamedTuple):
    """A store, and the variables that count; None for all."""

    path: Path
    variables: VariableSet | None


class PeriodStores:
    """The stores of one grid in an artifact of the regrid or the pack stage.

    Attributes:
        directory: the artifact.

    Args:
        directory: the artifact.
        grid: one of its grids.

    Raises:
        DamagedError: the artifact is a catalog with a part that is missing or damaged.
        ValueError: the catalog has no such grid.
    """

    def __init__(self, directory: Path, grid: Grid) -> None:
        self.directory, name = directory, f"{grid.label}.zarr"
        if catalog.is_catalog(directory):
            parts = [part for part in catalog.read(directory) if part.grid == grid.label]
            self._stores = [_Store(part.path / name, part.variables) for part in parts]
            if not parts:
                raise ValueError(f"{directory}: the regridded data has no grid {grid.label}")
        else:
            self._stores = [_Store(directory / name, None)]

    @property
    def paths(self) -> list[Path]:
        """The stores."""
        return [each.path for each in self._stores]

    @property
    def main(self) -> Path:
        """A store with fields of a time, whose times are those of the period."""
        timed = (each for each in self._stores if each.variables is None or each.variables.channels())
        return next(timed, self._stores[0]).path

    def path(self, name: str) -> Path:
        """The store that should have a variable."""
        named = (each for each in self._stores if each.variables and name in each.variables.names)
        return next(named, _Store(self.main, None)).path

    def fields(self, names: Sequence[str]) -> "PeriodFields":
        """Reads some variables at one time after the other.

        Raises:
            ValueError: see ``field_store.StoredFields``; or two stores have different times.
        """
        by_path: dict[Path, list[str]] = {}
        for name in names:
            by_path.setdefault(self.path(name), []).append(name)
        stores = {path: StoredFields(path, tuple(own)) for path, own in (by_path or {self.main: []}).items()}
        return PeriodFields(stores, names)

    def sums(self, name: str) -> StoredSums:
        """Reads an hourly variable.

        Raises:
            ValueError: see ``field_store.StoredSums``.
        """
        return StoredSums(self.path(name), name)

    def dataset(self) -> "xr.Dataset":
        """All variables that count, lazily, with canonical dims."""
        import xarray as xr

        datasets = []
        for path, variables in self._stores:
            dataset = store.open_dataset(path)
            datasets.append(dataset if variables is None else dataset[[*variables.names]])
        if len(datasets) == 1:
            return datasets[0]
        whole: xr.Dataset = xr.merge(datasets, join="exact", compat="override", combine_attrs="override")
        return whole


class PeriodFields:
    """Reads fields of several stores with the same times, at one time and for one member per call.

    Attributes:
        times: valid times, ``(time,)``.
        members: numbers of the ensemble members; empty if the data has no member dimension.
        stores: readers of the stores.

    Args:
        stores: readers of the stores by path.
        names: the variables, in the order in which they are returned.

    Raises:
        ValueError: two stores have different times or members.
    """

    def __init__(self, stores: dict[Path, StoredFields], names: Sequence[str]) -> None:
        self.stores, self._names = [*stores.values()], names
        (first, one), *others = stores.items()
        self.times, self.members = one.times, one.members
        for path, other in others:
            if not np.array_equal(other.times, one.times) or other.members != one.members:
                raise ValueError(f"{path}: its times and members are not those of {first}")

    def read(self, time: int, member: int | None) -> dict[str, NDArray[np.float32]]:
        """See ``StoredFields.read``."""
        fields: dict[str, NDArray[np.float32]] = {}
        for each in self.stores:
            fields |= each.read(time, member)
        return {name: fields[name] for name in self._names}
