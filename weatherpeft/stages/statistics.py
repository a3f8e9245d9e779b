"""Stage ``statistics``: mean and standard deviation of every field over the training period."""

from collections.abc import Sequence
from pathlib import Path

from weatherpeft.artifacts import store
from weatherpeft.fields.variables import VariableSet, channel_label
from weatherpeft.spec import Spec


class StatisticsSpec(Spec):
    """Fields of the statistics."""

    variables: VariableSet
    """Fields whose statistics are computed."""


def statistics(spec: StatisticsSpec, moments: Sequence[Path], output: Path) -> None:
    """Merge the moments of all training times into a mean and a standard deviation per field.

    The moments are merged in order of time.

    Args:
        spec: fields.
        moments: artifacts of the moments stage.
        output: artifact with ``statistics.zarr``: ``mean`` and ``standard_deviation`` with dim ``channel``.

    Raises:
        ValueError: two artifacts hold the same sample, or one holds other fields.

    Example:
        weatherpeft statistics --spec @statistics.json --moments results/test/moments/20010115-20010117
            --output results/test/statistics
    """
    import numpy as np
    import xarray as xr

    from weatherpeft.fields.moments import Moments

    labels = [channel_label(name, level) for name, level in spec.variables.channels()]
    parts = []
    for directory in moments:
        part = store.open_dataset(directory / "moments.zarr").load()
        if part["channel"].values.tolist() != labels:
            found = ", ".join(part["channel"].values.tolist())
            raise ValueError(f"{directory}: expected moments of {', '.join(labels)}, found {found}")
        parts.append(part)
    whole = xr.concat(parts, "sample").sortby(["time", "member"])
    same = (np.diff(whole["time"]) == np.timedelta64(0)) & (np.diff(whole["member"]) == 0)
    if same.any():
        raise ValueError(f"the moments of {whole['time'].values[1:][same][0]} are there twice")
    names = ("weight", "mean", "squares")
    total = Moments(*(np.ascontiguousarray(whole[name].values) for name in names)).merged(axis=0)
    dataset = xr.Dataset(
        {"mean": ("channel", total.mean), "standard_deviation": ("channel", total.standard_deviation)},
        coords={"channel": labels},
    )
    with store.artifact(output, spec, __name__, moments) as directory:
        store.write_dataset(dataset, directory / "statistics.zarr")
