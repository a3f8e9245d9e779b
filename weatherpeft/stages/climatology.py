"""Stage ``climatology``: mean, spread and SEEPS thresholds of the training period by hour and day of year."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from weatherpeft.artifacts import store
from weatherpeft.fields.grid import Grid
from weatherpeft.spec import Days, HourOfDay, Positive, Spec, Step

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

    from weatherpeft.climatology.calendar import Calendar

_log = logging.getLogger(__name__)


class ClimatologySpec(Spec):
    """Variables, grid and smoothing of a climatology."""

    names: tuple[str, ...]
    """WeatherBench 2 names of the variables, including sums of hours."""
    grid: Grid
    """Grid of the climatology."""
    step_hours: Step
    """Hours between the times of day of the climatology, from 00 UTC."""
    window_days: Days = 61
    """Length of the triangular window in days."""
    hours: tuple[HourOfDay, ...] = Field(default=(), exclude_if=lambda hours: not hours)
    """Hours of the day in UTC; by default every ``step_hours``. Those without a value are left out."""
    dry_thresholds: dict[str, Positive] = Field(default={}, exclude_if=lambda dry: not dry)
    """Values, by name of a sum, from which on a time is not dry. Those of total precipitation are known."""


def climatology(spec: ClimatologySpec, series: Sequence[Path], output: Path) -> None:
    """Compute the climatology of the training period by WeatherBench 2's rules.

    Variables have WeatherBench 2's names. A day without a value in its window is NaN. Memory holds one hour
    of day at one level: a year of fields, and all samples of some rows.

    Args:
        spec: variables, grid, time step and window.
        series: artifacts of the series stage.
        output: artifact with ``climatology.zarr``. It holds ``<name>`` and ``<name>_std``, for sums of
            precipitation also ``<name>_seeps_threshold`` and ``<name>_seeps_dry_fraction``. Dims are ``(hour,
            dayofyear, [level,] latitude, longitude)``.

    Raises:
        ValueError: a variable has no series, a sum of precipitation has no dry threshold, or the time step
            does not divide the day.

    Example:
        weatherpeft climatology --spec @climatology.json
            --series results/precipitation_toy/series/20010111-20010301
            results/precipitation_toy/series/20020111-20020301
            --output results/precipitation_toy/climatology
    """
    import numpy as np
    import zarr

    from weatherpeft.artifacts.series import SeriesReader
    from weatherpeft.climatology.calendar import Calendar

    if spec.step_hours < 1 or 24 % spec.step_hours:
        raise ValueError(f"step_hours: expected a divisor of 24, found {spec.step_hours}")
    known = {name: _hours(spec, series, name) for name in spec.names}
    hours = sorted({hour for own in known.values() for hour in own})
    with store.artifact(output, spec, __name__, series) as directory:
        path = directory / "climatology.zarr"
        for name in spec.names:
            dry = spec.dry_thresholds.get(name) or _dry_threshold(name)
            for hour in known[name]:
                number = hours.index(hour)
                _log.info("climatology of %s at %02d UTC", name, hour)
                reader = SeriesReader(series, name, hour)
                calendar = Calendar(reader.times, spec.window_days)
                if hour == known[name][0]:
                    _create(path, spec, hours, name, reader.template, dry is not None)
                group: Any = zarr.open_group(path, mode="r+")
                levels = range(reader.template.sizes["level"]) if "level" in reader.template.dims else [None]
                for level in levels:
                    bands = [
                        _fields(name, calendar, reader.read(rows, level), dry) for rows in reader.bands()
                    ]
                    place = (number, slice(None)) if level is None else (number, slice(None), level)
                    for each in bands[0]:
                        group[each][place] = np.concatenate([band[each] for band in bands], axis=1)


def _hours(spec: ClimatologySpec, series: Sequence[Path], name: str) -> list[int]:
    """Hours of the day at which a variable has values."""
    wanted = spec.hours or range(0, 24, spec.step_hours)
    found = [hour for hour in wanted if any((path / f"{name}-{hour:02d}.zarr").is_dir() for path in series)]
    if not found:
        hours = ", ".join(f"{hour:02d}" for hour in wanted)
        raise ValueError(f"no series of {name} at {hours} UTC in {', '.join(map(str, series))}")
    return found


def _dry_threshold(name: str) -> float | None:
    """Dry threshold of a sum of precipitation in meters; None for any other variable."""
    from weatherpeft.climatology.calendar import DRY_THRESHOLD_M
    from weatherpeft.fields.variables import accumulation

    match accumulation(name):
        case ("total_precipitation", hours) if hours in DRY_THRESHOLD_M:
            return DRY_THRESHOLD_M[hours]
        case ("total_precipitation", hours):
            known = ", ".join(map(str, DRY_THRESHOLD_M))
            raise ValueError(f"{name}: dry thresholds are known of sums of {known} h, found {hours} h")
    return None


def _fields(
    name: str, calendar: "Calendar", values: "np.ndarray", dry: float | None
) -> "dict[str, np.ndarray]":
    """All fields of one variable for some rows, ``(dayofyear, latitude, longitude)`` each."""
    import numpy as np

    samples = values.reshape(len(values), -1)
    moments = calendar.moments(samples)
    found = {name: moments.mean, f"{name}_std": moments.standard_deviation}
    if dry is not None:
        found[f"{name}_seeps_threshold"] = calendar.wet_threshold(samples, dry)
        found[f"{name}_seeps_dry_fraction"] = calendar.dry_fraction(samples, dry)
    return {key: field.reshape(-1, *values.shape[1:]).astype(np.float32) for key, field in found.items()}


def _create(
    path: Path, spec: ClimatologySpec, hours: Sequence[int], name: str, like: "xr.DataArray", seeps: bool
) -> None:
    """Write metadata and coordinates of a variable; the values are not written yet."""
    import dask.array
    import numpy as np
    import xarray as xr

    from weatherpeft.climatology.calendar import DAYS

    shape = (len(hours), DAYS, *like.shape)
    field = (*(1 for _ in like.shape[:-2]), *like.shape[-2:])
    values = dask.array.full(shape, np.nan, dtype=np.float32, chunks=shape)
    arrays = {}
    units = like.attrs.get("units", "")
    described = {name: units, f"{name}_std": units}
    if seeps:
        described |= {f"{name}_seeps_threshold": units, f"{name}_seeps_dry_fraction": "1"}
    for each, unit in described.items():
        arrays[each] = (("hour", "dayofyear", *like.dims), values, {"units": unit})
    coordinates = {**like.coords, "hour": np.array(hours, np.int64), "dayofyear": np.arange(1, DAYS + 1)}
    dataset = xr.Dataset(arrays, coordinates, attrs={"window_days": spec.window_days})
    encoding = {each: {"chunks": (1, 1, *field), "shards": (1, DAYS, *field)} for each in arrays}
    store.write_dataset(dataset, path, mode="a" if path.exists() else "w", compute=False, encoding=encoding)
