"""Predictions of a tuned model, sample by sample."""

from collections.abc import Callable

import numpy as np
import torch

from weatherpeft.interfaces import Backbone
from weatherpeft.samples.batch import Samples


def predictor(model: Backbone, samples: Samples) -> Callable[[int], dict[str, np.ndarray]]:
    """The function that predicts one sample after the other.

    Args:
        model: model on its device, which is put into evaluation mode.
        samples: samples to predict.

    Returns:
        Gives the fields ``([level,] latitude, longitude)`` by name, in units, of the sample with an index.
    """
    device = next(model.parameters()).device
    model.eval()

    @torch.inference_mode()
    def predicted(index: int) -> dict[str, np.ndarray]:
        found = model(samples.batch([index]).to(device))
        arrays = {name: each[0].cpu().numpy() for name, each in (found.surface | found.atmospheric).items()}
        return samples.frames.in_units(arrays)

    return predicted
