"""Stage ``pack``: a copy of a period's fields as 16-bit integers, for training that waits for reading."""

from pathlib import Path

from weatherpeft.artifacts import store
from weatherpeft.fields.grid import Grid
from weatherpeft.fields.variables import VariableSet, channel_label
from weatherpeft.spec import Spec

_STEPS = 4096
"""Integers per standard deviation; the range is ±8 standard deviations around the mean."""
_LARGEST = 2**15 - 1


class PackSpec(Spec):
    """Variables and grids of the stores."""

    variables: VariableSet
    """Variables of the stores."""
    grids: tuple[Grid, ...]
    """Grids of the stores."""


def pack(spec: PackSpec, data: Path, statistics: Path, output: Path) -> None:
    """Pack the regridded fields of one period as int16, for training.

    The stage writes ``output/<label>.zarr`` for each grid, in the layout of ``field_store``. A value is
    ``fields * scale + offset``. The offset is the mean of the training period, and the scale is 1/4096 of its
    standard deviation. The stores hold the errors of every channel, ``error_max`` and ``error_rms``, in
    standard deviations. Hourly sums and static fields are copied unchanged.

    Args:
        spec: variables and grids.
        data: artifact of the regrid stage.
        statistics: artifact of the statistics stage.
        output: directory of the stores.

    Raises:
        ValueError: a channel has no statistics or does not vary, or a value is not finite or more than 8
            standard deviations from the mean. The message names channel and time.

    Example:
        weatherpeft pack --spec @pack.json --data results/test/regridded/20010115-20010117
            --statistics results/test/statistics --output results/test/packed/20010115-20010117
    """
    with store.artifact(output, spec, __name__, [data, statistics]) as directory:
        for grid in spec.grids:
            _pack(data, directory / f"{grid.label}.zarr", spec.variables, grid, statistics)


def _pack(data: Path, path: Path, variables: VariableSet, grid: Grid, statistics: Path) -> None:
    import numpy as np

    from weatherpeft.artifacts.field_store import FieldWriter, shard_times, unpack
    from weatherpeft.artifacts.period_stores import PeriodStores

    stores = PeriodStores(data, grid)
    dataset, names = stores.dataset(), (*variables.surface, *variables.atmospheric)
    labels = [channel_label(name, level) for name, level in variables.channels()]
    moments = store.open_dataset(statistics / "statistics.zarr").load()
    missing = [label for label in labels if label not in moments["channel"].values]
    if missing:
        raise ValueError(f"{statistics}: no statistics of {', '.join(missing)}")
    moments = moments.sel(channel=labels)
    mean, deviation = moments["mean"].values, moments["standard_deviation"].values
    for label in np.asarray(labels)[~(deviation > 0)]:
        raise ValueError(f"{statistics}: {label} does not vary over the training period")
    unknown = np.full(len(labels), np.nan)
    packing = {"scale": deviation / _STEPS, "offset": mean, "error_max": unknown, "error_rms": unknown}
    block = shard_times([grid], variables)
    writer = FieldWriter(path, dataset, grid, variables, block, {}, packing)
    scale, offset = (packing[name].astype(np.float32) for name in ("scale", "offset"))
    columns = (slice(None), None, None)
    fields = stores.fields(names)
    largest, squares, count = np.zeros(len(labels)), np.zeros(len(labels)), 0
    for place in writer.blocks(store.FIELDS):
        member, times = (place[0] if len(place) == 2 else None), place[-1]
        packed = np.empty((times.stop - times.start, len(labels), *grid.shape), np.int16)
        for row, index in enumerate(range(times.start, times.stop)):
            found = fields.read(index, member)
            values = np.concatenate([found[name].reshape(-1, *grid.shape) for name in names])
            steps = np.rint((values.astype(np.float64) - offset[columns]) / scale[columns])
            outside = ~(np.abs(steps) <= _LARGEST)
            if outside.any():
                channel = int(np.argmax(outside.any(axis=(1, 2))))
                beyond = outside[channel].sum()
                raise ValueError(
                    f"{data}: {labels[channel]} at {fields.times[index]}: {beyond} values are not finite "
                    f"or more than {_LARGEST / _STEPS:.1f} standard deviations from the mean, more than "
                    "int16 holds"
                )
            packed[row] = steps
            error = (unpack(packed[row], scale, offset) - values) / deviation[columns]
            largest = np.maximum(largest, np.abs(error).max(axis=(1, 2)))
            squares += np.square(error).mean(axis=(1, 2))
            count += 1
        writer.write(store.FIELDS, place, packed)
    writer.write("error_max", (), largest)
    writer.write("error_rms", (), np.sqrt(squares / count))
    for name in (*variables.accumulated, *variables.static):
        for place in writer.blocks(name):
            writer.write(name, place, dataset[name][place].values)
