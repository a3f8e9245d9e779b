"""Mean and scale of the input frames at every grid point over the training period, as tensors."""

from pathlib import Path

import numpy as np
import torch

from weatherpeft.artifacts import store
from weatherpeft.fields.variables import VariableSet, channel_label
from weatherpeft.samples.batch import Fields
from weatherpeft.samples.ensemble import Ensemble

STORE = "standardization.zarr"
FRAMES = {"moments": ("spread", "mean"), "members": ("member",)}
"""Names of the frames with statistics of their own. All members share one."""


def training_standardization(
    directory: Path, variables: VariableSet, ensemble: Ensemble
) -> tuple[Fields, Fields]:
    """Mean and scale of every input frame and grid point.

    Args:
        directory: artifact of the standardization stage.
        variables: variables in the data that the model sees.
        ensemble: ensemble of the task's window.

    Returns:
        Mean and scale in the units of the fields: surface ``(history, latitude, longitude)``, atmospheric
        ``(history, level, latitude, longitude)`` each. They are NaN where a variable is not defined.

    Raises:
        ValueError: the artifact has other frames or lacks a field.
    """
    dataset = store.open_dataset(directory / STORE).load()
    frames, labels = (dataset[name].values.tolist() for name in ("frame", "channel"))
    if frames != list(FRAMES[ensemble.frames]):
        expected = ", ".join(FRAMES[ensemble.frames])
        raise ValueError(f"{directory}: expected the frames {expected}, found {', '.join(frames)}")
    missing = [label for label in _labels(variables) if label not in labels]
    if missing:
        raise ValueError(
            f"{directory}: no standardization of {', '.join(missing)}; found {', '.join(labels)}"
        )

    def fields(part: str) -> Fields:
        values = dataset[part].values
        if ensemble.frames == "members":
            values = np.broadcast_to(values, (ensemble.members, *values.shape[1:]))

        def of(name: str, levels: tuple[int | None, ...]) -> torch.Tensor:
            places = [labels.index(channel_label(name, level)) for level in levels]
            return torch.from_numpy(values[:, places].astype(np.float32))

        return Fields(
            {name: of(name, (None,))[:, 0] for name in variables.surface},
            {name: of(name, variables.levels_hpa) for name in variables.atmospheric},
        )

    return fields("mean"), fields("scale")


def _labels(variables: VariableSet) -> list[str]:
    return [channel_label(name, level) for name, level in variables.channels()]
