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
    """The experiment's model with shapes alone; this imports torch."""
    from weatherpeft.training.shapes import unfilled as shapes

    return shapes(experiment.backbone, experiment.inputs, experiment.task, experiment.seed)
