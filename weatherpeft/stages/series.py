"""Stage ``series``: the training values of a period, in stores for reading along time."""

from collections.abc import Sequence
from pathlib import Path

from weatherpeft.artifacts import store
from weatherpeft.fields.grid import Grid
from weatherpeft.samples.splits import Split
from weatherpeft.spec import Period, Spec, Step


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
    """Days whose values are written."""
    train: Split
    """Part of the training split that lies in the period or on the day before."""


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

    first, end = np.datetime64(spec.period.start), np.datetime64(spec.period.end) + 1
    step = np.timedelta64(spec.step_hours, "h")
    with store.artifact(output, spec, __name__, data) as directory:
        for name in spec.names:
            reader = FieldReader(data, spec.grid, [name])
            times = [
                time
                for time in reader.times(spec.train.periods)
                if first <= time < end and (time - time.astype("datetime64[D]")) % step == np.timedelta64(0)
            ]
            write_series(reader, name, times, spec.train.members, directory)
