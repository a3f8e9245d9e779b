"""What every grid point's input frames have been like over the training period, as tensors."""

from pathlib import Path

import numpy as np
import torch

from weatherpeft.artifacts import store
from weatherpeft.fields.variables import VariableSet, channel_label
from weatherpeft.samples.batch import Fields
from weatherpeft.samples.ensemble import Ensemble

STORE = "standardization.zarr"
FRAMES = {"moments": ("spread", "mean"), "members": ("member",)}
"""Frames that have statistics of their own; those of all members are the same."""


def training_standardization(
    directory: Path, variables: VariableSet, ensemble: Ensemble
) -> tuple[Fields, Fields]:
    """Mean and scale of every input frame and grid point.

    Args:
        directory: artifact of the standardization stage.
        variables: that the model sees, in the data.
        ensemble: of the task's window.

    Returns:
        Each surface ``(history, latitude, longitude)``, atmospheric ``(history, level, latitude,
        longitude)``; NaN where a variable is not defined.

    Raises:
        ValueError: the artifact is of other frames or fields.
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
