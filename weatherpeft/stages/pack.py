"""Stage ``pack``: a copy of a period's fields as 16-bit integers, for training that waits for reading."""

from pathlib import Path
from typing import TYPE_CHECKING

from weatherpeft.artifacts import store
from weatherpeft.fields.grid import Grid
from weatherpeft.fields.variables import VariableSet, channel_label
from weatherpeft.spec import Spec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from weatherpeft.artifacts.period_stores import PeriodStores

_STEPS = 4096
"""Integers per standard deviation; the range is ±8 standard deviations around the mean. The steps of a
variable with a transformation are larger where its range in the period needs it."""
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

    A variable with a transformation is packed after it, and readers return it in its units. Its rare large
    values may lie many standard deviations from the mean, so its steps are larger where the period needs it.
    Half a step s of log(1 + x / scale) is an error of s / 2 · (scale + x).

    Args:
        spec: variables and grids.
        data: artifact of the regrid stage.
        statistics: artifact of the statistics stage.
        output: directory of the stores.

    Raises:
        ValueError: a channel has no statistics or does not vary, or a value is not finite or, without a
            transformation, more than 8 standard deviations from the mean. The message names channel and time.

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
    columns = (slice(None), None, None)
    fields = stores.fields(names)

    def read(index: int, member: int | None) -> np.ndarray:
        found = variables.transformed(fields.read(index, member))
        return np.concatenate([found[name].reshape(-1, *grid.shape) for name in names])

    steps_of = np.maximum(deviation / _STEPS, _farthest(stores, variables, mean) / _LARGEST)
    packing = {"scale": steps_of, "offset": mean, "error_max": unknown, "error_rms": unknown}
    block = shard_times([grid], variables)
    writer = FieldWriter(path, dataset, grid, variables, block, {}, packing)
    scale, offset = (packing[name].astype(np.float32) for name in ("scale", "offset"))
    largest, squares, count = np.zeros(len(labels)), np.zeros(len(labels)), 0
    for place in writer.blocks(store.FIELDS):
        member, times = (place[0] if len(place) == 2 else None), place[-1]
        packed = np.empty((times.stop - times.start, len(labels), *grid.shape), np.int16)
        for row, index in enumerate(range(times.start, times.stop)):
            values = read(index, member)
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


def _farthest(
    stores: "PeriodStores", variables: VariableSet, mean: "NDArray[np.float64]"
) -> "NDArray[np.float64]":
    """Largest distance of a period's values from the means, ``(channel,)``; 0 without a transformation."""
    import numpy as np

    channels = variables.channels()
    changed = [name for name in dict(channels) if getattr(variables.definition(name), "transformation", None)]
    found = np.zeros(len(channels))
    fields = stores.fields(changed)
    for index, member in np.ndindex(len(fields.times), max(len(fields.members), 1)) if changed else ():
        values = variables.transformed(fields.read(index, member if fields.members else None))
        for name, field in values.items():
            places = [place for place, channel in enumerate(channels) if channel[0] == name]
            distance = np.abs(field.reshape(len(places), -1) - mean[places][:, None])
            finite = np.where(np.isfinite(distance), distance, 0)  # the rest is refused later, by time
            found[places] = np.maximum(found[places], finite.max(axis=1))
    return found * (1 + 1e-6)  # the offset is rounded to float32
