"""Statistics of the training period as tensors."""

from pathlib import Path

import torch

from weatherpeft.artifacts import store
from weatherpeft.fields.variables import VariableSet, channel_label
from weatherpeft.samples.batch import Fields


def training_scale(statistics: Path, variables: VariableSet) -> Fields:
    """Standard deviations of the training period, shaped to divide fields.

    Args:
        statistics: artifact of the statistics stage.
        variables: variables in the data.

    Returns:
        Surface ``()``, atmospheric ``(level, 1, 1)`` each, in the units of the fields.

    Raises:
        ValueError: a variable has no statistics or does not vary. The message names it.
    """
    scale = _read(statistics, variables, "standard_deviation")
    for name, level in variables.channels():
        deviation = scale.surface[name] if level is None else scale.atmospheric[name]
        if level is not None:
            deviation = deviation[variables.levels_hpa.index(level)]
        if not deviation > 0:
            label = channel_label(name, level)
            raise ValueError(f"{statistics}: {label} does not vary over the training period")
    return scale


def training_mean(statistics: Path, variables: VariableSet) -> Fields:
    """Means of the training period.

    Args:
        statistics: artifact of the statistics stage.
        variables: variables in the data.

    Returns:
        Surface ``()``, atmospheric ``(level, 1, 1)`` each, in the units of the fields.

    Raises:
        ValueError: a variable has no statistics. The message names it.
    """
    return _read(statistics, variables, "mean")


def _read(statistics: Path, variables: VariableSet, moment: str) -> Fields:
    values = store.open_dataset(statistics / "statistics.zarr")[moment].load()
    known = set(values.channel.values.tolist())

    def value(name: str, level: int | None) -> float:
        label = channel_label(name, level)
        if label not in known:
            raise ValueError(f"{statistics}: no statistics of {label}; found {', '.join(sorted(known))}")
        return float(values.sel(channel=label))

    return Fields(
        {name: torch.tensor(value(name, None)) for name in variables.surface},
        {
            name: torch.tensor([value(name, level) for level in variables.levels_hpa])[:, None, None]
            for name in variables.atmospheric
        },
    )
