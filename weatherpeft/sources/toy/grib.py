"""Output of GRIB1 messages with ecCodes, with the headers of ERA5 and of ensemble forecasts."""

from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import eccodes
import numpy as np

from weatherpeft.fields.variables import Variable
from weatherpeft.sources.toy.grid import Grid
from weatherpeft.sources.toy.spectral import Array

_BITS = 16


class _Label(NamedTuple):
    """ECMWF's keys for the kind of field in a message."""

    class_: str
    stream: str
    type: str
    accumulated: bool


_ANALYSIS = _Label("ea", "oper", "an", False)
_SUM = _Label("ea", "oper", "fc", True)


class GribFile:
    """A GRIB file of fields on one grid and one kind of level, as a context manager.

    Every message is a new clone of a template, which was packed with a varying field. A message must not be
    used again, because a constant field sets its number of bits to zero.
    """

    def __init__(self, path: Path, grid: Grid, *, on_pressure_levels: bool = False) -> None:
        """Open the file.

        Args:
            path: file to write.
            grid: grid of the fields.
            on_pressure_levels: whether fields are on pressure levels rather than at the surface.
        """
        self._grid = grid
        self._on_pressure_levels = on_pressure_levels
        self._stream = path.open("wb")
        self._templates: dict[tuple[int, int, _Label], int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for template in self._templates.values():
            eccodes.codes_release(template)
        self._stream.close()

    def analysis(self, param_id: int, valid_time: datetime, values: Array, level_hpa: int = 0) -> None:
        """Write an instantaneous field, ``(latitude, longitude)``."""
        self._write((param_id, level_hpa, _ANALYSIS), valid_time, 0, values)

    def hourly_sum(self, param_id: int, valid_time: datetime, values: Array) -> None:
        """Write a sum over the hour that ends at ``valid_time`` as a step of one of ERA5's forecasts."""
        base, step = forecast_step(valid_time)
        self._write((param_id, 0, _SUM), base, step, values, start_step=step - 1)

    def forecast(
        self,
        variable: Variable,
        base: datetime,
        step: int,
        member: tuple[int, int],
        values: Array,
        level_hpa: int = 0,
    ) -> None:
        """Write a field of a perturbed forecast, or its sum since the start of the forecast.

        Args:
            variable: variable of the field.
            base: start of the forecast, UTC.
            step: hours since the start.
            member: number of the member, from 1, and number of members.
            values: field, ``(latitude, longitude)``.
            level_hpa: pressure level, for a field on pressure levels.
        """
        label = _Label("od", "enfo", "pf", variable.forecast_hours > 0)
        start_step = 0 if label.accumulated else step
        self._write((variable.param_id, level_hpa, label), base, step, values, start_step, member)

    def _write(
        self,
        key: tuple[int, int, _Label],
        base: datetime,
        step: int,
        values: Array,
        start_step: int = 0,
        member: tuple[int, int] | None = None,
    ) -> None:
        if key not in self._templates:
            self._templates[key] = self._template(*key)
        message = eccodes.codes_clone(self._templates[key])
        eccodes.codes_set(message, "dataDate", int(f"{base:%Y%m%d}"))
        eccodes.codes_set(message, "dataTime", base.hour * 100 + base.minute)
        if step:
            eccodes.codes_set(message, "startStep", start_step)
            eccodes.codes_set(message, "endStep", step)
        if member is not None:
            eccodes.codes_set(message, "perturbationNumber", member[0])
            eccodes.codes_set(message, "numberOfForecastsInEnsemble", member[1])
        eccodes.codes_set_values(message, np.ascontiguousarray(values, np.float64).ravel())
        eccodes.codes_write(message, self._stream)
        eccodes.codes_release(message)

    def _template(self, param_id: int, level_hpa: int, label: _Label) -> int:
        sample = "regular_ll_pl_grib1" if self._on_pressure_levels else "regular_ll_sfc_grib1"
        message = eccodes.codes_grib_new_from_samples(sample)
        rows, columns = self._grid.shape
        settings: dict[str, int | float | str] = {
            "Ni": columns,
            "Nj": rows,
            "latitudeOfFirstGridPointInDegrees": 90.0,
            "latitudeOfLastGridPointInDegrees": -90.0,
            "longitudeOfFirstGridPointInDegrees": 0.0,
            "longitudeOfLastGridPointInDegrees": float(self._grid.longitudes_deg[-1]),
            "iDirectionIncrementInDegrees": self._grid.resolution_deg,
            "jDirectionIncrementInDegrees": self._grid.resolution_deg,
            "centre": "ecmf",
            "class": label.class_,
            "stream": label.stream,
            "type": label.type,
            "expver": "0001",
            "paramId": param_id,
        }
        if self._on_pressure_levels:
            settings["level"] = level_hpa
        if label.accumulated:
            settings |= {"stepUnits": 1, "stepType": "accum"}
        for key, value in settings.items():
            eccodes.codes_set(message, key, value)
        eccodes.codes_set_values(message, np.linspace(0, 1, rows * columns))
        eccodes.codes_set(message, "bitsPerValue", _BITS)
        return message


def forecast_step(valid_time: datetime) -> tuple[datetime, int]:
    """Start and step in hours of the ERA5 forecast whose step ends at ``valid_time``.

    >>> forecast_step(datetime(2001, 1, 15, 6)), forecast_step(datetime(2001, 1, 15, 7))
    ((datetime.datetime(2001, 1, 14, 18, 0), 12), (datetime.datetime(2001, 1, 15, 6, 0), 1))
    """
    step = (valid_time.hour - 7) % 12 + 1
    return valid_time - timedelta(hours=step), step
