"""Statistics of the training period as tensors."""

from pathlib import Path

import torch

from weatherpeft import store
from weatherpeft.batch import Fields
from weatherpeft.variables import VariableSet, channel_label


def training_scale(statistics: Path, variables: VariableSet) -> Fields:
    """Standard deviations of the training period, shaped to divide fields.

    Args:
        statistics: artifact of the statistics stage.
        variables: the variables that are in the data.

    Returns:
        surface ``()``, atmospheric ``(level, 1, 1)`` each.

    Raises:
        ValueError: a variable without statistics, or one that does not vary; the message names it.
    """
    deviations = store.open_dataset(statistics / "statistics.zarr")["standard_deviation"].load()
    known = set(deviations.channel.values.tolist())

    def value(name: str, level: int | None) -> float:
        label = channel_label(name, level)
        if label not in known:
            raise ValueError(f"{statistics}: no statistics of {label}; found {', '.join(sorted(known))}")
        deviation = float(deviations.sel(channel=label))
        if not deviation > 0:
            raise ValueError(f"{statistics}: {label} does not vary over the training period")
        return deviation

    return Fields(
        {name: torch.tensor(value(name, None)) for name in variables.surface},
        {
            name: torch.tensor([value(name, level) for level in variables.levels_hpa])[:, None, None]
            for name in variables.atmospheric
        },
    )
