"""Refuses raw fields that are not plausible, and says which ones."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from weatherpeft.fields.plausible import Decision, Implausible, check_field

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from numpy.typing import NDArray

    from weatherpeft.fields.variables import Variable

TIMES = ("time", "hourly_time")
"""Time dimensions of a canonical dataset."""
_log = logging.getLogger(__name__)


class Screen:
    """Stops at a field that is not plausible, or warns of the first of each variable and level.

    Args:
        raw: what the fields come from, where they do not say so themselves.
        decision: whether to stop or to warn. A field with NaN or infinite values stops the stage anyway.
    """

    def __init__(self, raw: Path | str, decision: Decision) -> None:
        self._raw = raw
        self._decision = decision
        self._warned: set[tuple[str, int | None]] = set()

    def __call__(
        self,
        values: "NDArray[np.float32]",
        row: "Variable",
        array: "xr.DataArray",
        chosen: Mapping[str, int],
    ) -> None:
        """Check the fields of one time and member.

        Args:
            values: fields, shape ``(level, latitude, longitude)``; a single one has one level.
            row: row of the variable.
            array: canonical variable that they are part of.
            chosen: position along time and member.

        Raises:
            ValueError: naming the first such field.
        """
        levels: list[int | None] = array["level"].values.tolist() if "level" in array.dims else [None]
        latitude, longitude = array["latitude"].values, array["longitude"].values
        for field, level in zip(values, levels, strict=True):
            try:
                check_field(field, row, level, latitude, longitude)
            except Implausible as error:
                where = self._place(array, {**chosen, "level": levels.index(level)}, level)
                if not error.usable:
                    raise ValueError(f"{where}: {error}") from error
                if self._decision == "stop":
                    advice = "if it is right, say plausible: warn in the source"
                    raise ValueError(f"{where}: {error}; {advice}") from error
                if (row.name, level) not in self._warned:
                    _log.warning("%s: %s; later such fields are not named", where, error)
                self._warned.add((row.name, level))

    def _place(self, array: "xr.DataArray", chosen: Mapping[str, int], level: int | None) -> str:
        """File, variable, member, time and level of a field."""
        files = array.encoding.get("files")
        file = self._raw if files is None else files[tuple(chosen[str(axis)] for axis in array.dims[:-2])]
        parts = [str(array.name)]
        if "member" in chosen:
            parts.append(f"member {array['member'].values[chosen['member']]}")
        for axis in TIMES:
            if axis in chosen:
                moment = array[axis].values[chosen[axis]].astype("datetime64[m]")
                parts.append(f"time {moment} UTC")
        parts += [] if level is None else [f"level {level}"]
        return f"{file}: {', '.join(parts)}"
