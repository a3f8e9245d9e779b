"""Predictions of a tuned model, sample by sample."""

from collections.abc import Callable

import numpy as np
import torch

from weatherpeft.interfaces import Backbone
from weatherpeft.samples.batch import Samples
from weatherpeft.samples.rollout import Feedback, RolledOut


def predictor(
    model: Backbone, samples: Samples, rolled_out: bool = False
) -> Callable[[int], dict[str, np.ndarray]]:
    """The function that predicts one sample after the other.

    Args:
        model: model on its device, which is put into evaluation mode.
        samples: samples to predict.
        rolled_out: whether later lead times are predicted from the forecasts of those before.

    Returns:
        Gives the fields ``([level,] latitude, longitude)`` by name, in units, of the sample with an index.
    """
    device = next(model.parameters()).device
    model.eval()
    rollouts = RolledOut(model, samples, Feedback(samples.frames.fields), device) if rolled_out else None

    @torch.inference_mode()
    def predicted(index: int) -> dict[str, np.ndarray]:
        found = rollouts(index) if rollouts else model(samples.batch([index]).to(device))
        arrays = {name: each[0].cpu().numpy() for name, each in (found.surface | found.atmospheric).items()}
        return samples.frames.in_units(arrays)

    return predicted
