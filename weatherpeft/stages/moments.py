"""Stage ``moments``: moments of every field at every training time of a period."""

from collections.abc import Sequence
from pathlib import Path

from weatherpeft.artifacts import store
from weatherpeft.fields.grid import Grid
from weatherpeft.fields.variables import VariableSet, channel_label
from weatherpeft.samples.splits import Split
from weatherpeft.spec import Period, Spec


class MomentsSpec(Spec):
    """Fields, grid and training times of the moments."""

    variables: VariableSet
    """Fields whose moments are computed."""
    grid: Grid
    """Grid of the fields."""
    train: Split
    """Part of the training split that lies in the data."""
    period: Period | None = None
    """Period whose times count; by default all. Sums of hours may reach into the one before."""


def moments(spec: MomentsSpec, data: Sequence[Path], output: Path) -> None:
    """Compute the area-weighted moments of every field at every training time.

    They are of what a model sees, after the transformation of a variable that has one. The moments are in
    float64. Each time has its own, so that what they merge to does not depend on the periods.

    Args:
        spec: fields, grid and training times.
        data: artifacts of the regrid stage.
        output: artifact with ``moments.zarr``. ``weight``, ``mean`` and ``squares`` have dims ``(sample,
            channel)``. ``time`` and, in an ensemble, ``member`` identify a sample.

    Raises:
        ValueError: the data has no time in the training periods.

    Example:
        weatherpeft moments --spec @moments.json --data results/test/regridded/20010115-20010117
            --output results/test/moments/20010115-20010117
    """
    import numpy as np
    import xarray as xr

    from weatherpeft.artifacts.fields import FieldReader
    from weatherpeft.fields.moments import Moments

    variables = spec.variables
    reader = FieldReader(data, spec.grid, (*variables.surface, *variables.atmospheric))
    weights = spec.grid.area_weights()[:, None]
    samples = [
        (time, member)
        for time in reader.times(spec.train.periods)
        if spec.period is None or spec.period.first <= time.astype("datetime64[s]").item() < spec.period.stop
        for member in spec.train.members or (None,)
    ]
    if not samples:
        raise ValueError(f"no data in the training periods {', '.join(p.label for p in spec.train.periods)}")
    parts = []
    for time, member in samples:
        fields = variables.transformed(reader.read(time, member))
        surface = [fields[name][None] for name in variables.surface]
        channels = np.concatenate(surface + [fields[name] for name in variables.atmospheric])
        parts.append(Moments.of(channels, weights, axis=(1, 2)))
    whole, dims = Moments.stacked(parts), ("sample", "channel")
    dataset = xr.Dataset(
        {
            "weight": (dims, whole.weight),
            "mean": (dims, whole.mean),
            "squares": (dims, whole.squares),
            "time": ("sample", np.array([time for time, _ in samples])),
            "member": ("sample", np.array([member or 0 for _, member in samples])),
        },
        coords={"channel": [channel_label(name, level) for name, level in variables.channels()]},
    )
    with store.artifact(output, spec, __name__, data) as directory:
        store.write_dataset(dataset, directory / "moments.zarr")
