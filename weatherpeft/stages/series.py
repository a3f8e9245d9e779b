"""The training values of a period, in stores for reading along time."""

from collections.abc import Sequence
from pathlib import Path

from weatherpeft.artifacts import store
from weatherpeft.fields.grid import Grid
from weatherpeft.samples.splits import Split
from weatherpeft.spec import Period, Spec


class SeriesSpec(Spec):
    """Which values, where and when."""

    names: tuple[str, ...]
    """WeatherBench 2 names; ``total_precipitation_6hr`` for the sum of the six hours to the valid time."""
    grid: Grid
    step_hours: int
    """Time step of the values, from 00 UTC."""
    period: Period
    """Values of these days are written."""
    train: Split
    """The part of the training split that lies in the period or on the day before."""


def series(spec: SeriesSpec, data: Sequence[Path], output: Path) -> None:
    """Bring the training values of a period into the order that a climatology is made in.

    A period's part of a climatology is its values: few of them share an hour and a day of year, so that
    sums would be no smaller, and quantiles need the values. Of a sum of hours all lie in one training period.

    Args:
        spec: which values.
        data: artifacts of the regrid stage: the period's, and for sums of hours that of the day before.
        output: artifact with a store ``<name>-<hour>.zarr`` for every variable and hour of day.

    Raises:
        ValueError: a variable or member that is not in the data.
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
