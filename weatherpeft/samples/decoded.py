"""Fields by valid time from raw data, which is checked and regridded when it is read."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from weatherpeft.fields.grid import Grid
from weatherpeft.fields.regridding import Regridder
from weatherpeft.fields.screening import Screen
from weatherpeft.fields.variables import VariableSet, accumulation

if TYPE_CHECKING:
    import xarray as xr


class DecodedFields:
    """Reads fields of one grid, at one time and for one member per call, as ``FieldReader`` does.

    Values are those that the regrid stage stores and ``FieldReader`` reads.

    Attributes:
        members: numbers of the ensemble members; empty if the data has no member dimension.

    Args:
        raw: canonical dataset (see ``interfaces.Source.decode``).
        variables: surface and atmospheric variables of the fields, sums over hours among them.
        grid: grid of the fields.
        method: how they are regridded.
        screen: refuses raw fields that are not plausible.
        kept: number of times whose fields stay in memory.

    Raises:
        ValueError: the grid reaches beyond the raw data.
    """

    def __init__(
        self,
        raw: "xr.Dataset",
        variables: VariableSet,
        grid: Grid,
        method: Literal["conservative", "bilinear"],
        screen: Screen,
        kept: int = 2,
    ) -> None:
        self._raw, self._variables, self._screen, self._kept = raw, variables, screen, kept
        self._regridder = Regridder(raw["latitude"].values, raw["longitude"].values, grid, method)
        self.members = raw["member"].values.tolist() if "member" in raw.coords else []
        self._times = raw.indexes["time"] if "time" in raw.indexes else raw.indexes["hourly_time"]
        self._cache: OrderedDict[tuple[np.datetime64, int | None], dict[str, NDArray[np.float32]]]
        self._cache = OrderedDict()

    def times(self) -> NDArray[np.datetime64]:
        """The times, in order, that have all fields, ``(time,)``."""
        times = self._times.values.astype("datetime64[ns]")
        for name in self._variables.sums:
            hourly = self._raw.indexes["hourly_time"].values
            parts = [np.isin(times - offset, hourly) for offset in self._offsets(name)]
            times = times[np.logical_and.reduce(parts)]
        return np.sort(times)

    def read(self, time: np.datetime64, member: int | None) -> Mapping[str, NDArray[np.float32]]:
        """Fields of one time, ``([level,] latitude, longitude)`` float32 each, by name.

        Args:
            time: valid time.
            member: number of the ensemble member; None if the data has no member dimension.

        Raises:
            ValueError: a raw field is not plausible. The message names file, variable, time and level.
        """
        key = (time, member)
        if key not in self._cache:
            self._cache[key] = {
                name: self._field(name, time, member)
                for name in (*self._variables.surface, *self._variables.atmospheric)
            }
            while len(self._cache) > self._kept * max(len(self.members), 1):
                self._cache.popitem(last=False)
        return self._cache[key]

    def _field(self, name: str, time: np.datetime64, member: int | None) -> NDArray[np.float32]:
        if name not in self._variables.sums:
            return self._regridded(name, "time", time, member)
        hourly, _ = accumulation(name) or (name, 0)
        # FieldReader adds the hours from the first to the last.
        parts = [self._regridded(hourly, "hourly_time", time - each, member) for each in self._offsets(name)]
        total: NDArray[np.float32] = np.stack(parts).sum(axis=0, dtype=np.float64).astype(np.float32)
        return total

    @staticmethod
    def _offsets(name: str) -> list[np.timedelta64]:
        """How long before the end of a sum its hours end."""
        _, hours = accumulation(name) or (name, 1)
        return [np.timedelta64(hour, "h") for hour in range(hours - 1, -1, -1)]

    def _regridded(
        self, name: str, axis: str, time: np.datetime64, member: int | None
    ) -> NDArray[np.float32]:
        """A variable of the raw data at one time, ``([level,] latitude, longitude)``."""
        array, row = self._raw[name], self._variables.row(name)
        chosen = {axis: int(self._raw.indexes[axis].get_loc(time))}
        if member is not None:
            chosen["member"] = self.members.index(member)
        values: NDArray[np.float32] = array.isel(chosen).values
        fields = values.reshape(-1, *values.shape[-2:])
        self._screen(fields, row, array, chosen)
        regridded = self._regridder(fields)
        return regridded.reshape(*values.shape[:-2], *regridded.shape[-2:])
