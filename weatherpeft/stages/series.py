"""Stage ``series``: the training values of a period, in stores for reading along time."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from weatherpeft.artifacts import store
from weatherpeft.fields.grid import Grid
from weatherpeft.samples.splits import Split
from weatherpeft.spec import HourOfDay, Period, Spec, Step


class SeriesSpec(Spec):
    """Variables, grid and training times of the series."""

    names: tuple[str, ...]
    """WeatherBench 2 names of the variables; ``total_precipitation_6hr`` is the sum of the six hours to the
    valid time."""
    grid: Grid
    """Grid of the values."""
    step_hours: Step
    """Time step of the values in hours, from 00 UTC."""
    period: Period
    """Period whose values are written."""
    train: Split
    """Part of the training split that lies in the period or on the day before."""
    hours: tuple[HourOfDay, ...] = Field(default=(), exclude_if=lambda hours: not hours)
    """Hours of the day of the values in UTC; by default every ``step_hours``."""


def series(spec: SeriesSpec, data: Sequence[Path], output: Path) -> None:
    """Arrange the training values of one period along time, for the climatology.

    The stage keeps the values themselves. Few of them share an hour and a day of year, so that sums would
    take no less space, and quantiles need the values. All hours of a sum lie in one training period.

    Args:
        spec: variables, grid and training times.
        data: artifact of the regrid stage for the period and, for sums of hours, that of the day before.
        output: artifact with a store ``<name>-<hour>.zarr`` for every variable and hour of day.

    Raises:
        ValueError: the data lacks a variable or member.

    Example:
        weatherpeft series --spec @series.json
            --data results/precipitation_toy/regridded/20010111-20010301
            --output results/precipitation_toy/series/20010111-20010301
    """
    import numpy as np

    from weatherpeft.artifacts.fields import FieldReader
    from weatherpeft.artifacts.series import write_series

    first, stop = np.datetime64(spec.period.first), np.datetime64(spec.period.stop)
    hours = np.array(spec.hours or range(0, 24, spec.step_hours), "timedelta64[h]")
    with store.artifact(output, spec, __name__, data) as directory:
        for name in spec.names:
            reader = FieldReader(data, spec.grid, [name])
            times = [
                time
                for time in reader.times(spec.train.periods)
                if first <= time < stop and (time - time.astype("datetime64[D]")) in hours
            ]
            write_series(reader, name, times, spec.train.members, directory)
