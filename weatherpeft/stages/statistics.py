"""Mean and standard deviation of every field over the training period."""

from collections.abc import Sequence
from pathlib import Path

from weatherpeft import store
from weatherpeft.grid import Grid
from weatherpeft.spec import Spec
from weatherpeft.variables import VariableSet, channel_label
from weatherpeft.window import Split


class StatisticsSpec(Spec):
    """Which fields, where and when."""

    variables: VariableSet
    grid: Grid
    train: Split


def statistics(spec: StatisticsSpec, data: Sequence[Path], output: Path) -> None:
    """Area-weighted moments of every channel over the training period, in float64.

    Args:
        spec: which fields.
        data: artifacts of the regrid stage that cover the training split.
        output: artifact with ``statistics.zarr``: ``mean`` and ``standard_deviation`` with dim ``channel``.

    Raises:
        ValueError: if the data has no time in the training period.
    """
    import numpy as np
    import xarray as xr

    from weatherpeft.frames import GridReader
    from weatherpeft.moments import Moments

    variables = spec.variables
    reader = GridReader(data, spec.grid, (*variables.surface, *variables.atmospheric))
    weights = spec.grid.area_weights()[:, None]
    total: Moments | None = None
    for time in reader.times(spec.train.periods):
        for member in spec.train.members or (None,):
            fields = reader.read(time, member)
            surface = [fields[name][None] for name in variables.surface]
            channels = np.concatenate(surface + [fields[name] for name in variables.atmospheric])
            part = Moments.of(channels, weights, axis=(1, 2))
            total = part if total is None else total + part
    if total is None:
        raise ValueError(f"no data in the training periods {', '.join(p.label for p in spec.train.periods)}")
    labels = [channel_label(name, level) for name, level in variables.channels()]
    dataset = xr.Dataset(
        {"mean": ("channel", total.mean), "standard_deviation": ("channel", total.standard_deviation)},
        coords={"channel": labels},
    )
    with store.artifact(output, spec, __name__, data) as directory:
        store.write_dataset(dataset, directory / "statistics.zarr")
