"""A checkpoint of the user's own: there, and of the size of the backbone. Of its weights nothing is read."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from weatherpeft.config import Experiment

if TYPE_CHECKING:
    from weatherpeft.interfaces import Backbone


def weights(experiment: Experiment) -> Iterator[str]:
    """What is wrong with the checkpoint that a configuration names as a file."""
    if not isinstance(experiment.checkpoint, str):
        return
    path = Path(os.path.expanduser(experiment.checkpoint))
    if not path.is_file():
        yield f"checkpoint: {path}: no such file"
        return
    try:
        unfilled(experiment).load(path)
    except ValueError as error:
        yield f"checkpoint: {error}; is it of another size than the backbone?"


def unfilled(experiment: Experiment) -> "Backbone":
    """The experiment's model with weights on the meta device, which have shapes and take no memory."""
    import torch
    from torch.overrides import TorchFunctionMode

    class WithoutMemory(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            place = {"device": "meta"} if function is torch.empty else {}
            return function(*args, **(kwargs or {}) | place)

    with WithoutMemory():
        return experiment.backbone.build(experiment.inputs, experiment.task, experiment.seed)
