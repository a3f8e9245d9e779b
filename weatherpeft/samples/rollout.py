"""Rollouts: forecasts of several steps, in which the model's own forecasts are its next inputs."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from datetime import timedelta

import numpy as np
import torch

from weatherpeft.fields.variables import FieldSet
from weatherpeft.samples.batch import Batch, Fields, Samples

_rollout: ContextVar[object | None] = ContextVar("rollout", default=None)


@contextmanager
def in_rollout(rollout: object) -> Iterator[None]:
    """Say that calls of a model belong to one rollout, so that they see the same samples.

    Args:
        rollout: the same object for all calls of a rollout.
    """
    token = _rollout.set(rollout)
    try:
        yield
    finally:
        _rollout.reset(token)


def current_rollout() -> object | None:
    """The rollout that a call of a model belongs to; None for a call of its own."""
    return _rollout.get()


class Feedback:
    """What a model gets after it has made a forecast: its last input frames and that forecast.

    Placeholders keep their values. If a variable has a minimum, smaller forecasts of it are fed back as the
    minimum, as they are written. Variables with a transformation stay transformed.

    Args:
        fields: variables that the model sees and declared placeholders.
    """

    def __init__(self, fields: FieldSet) -> None:
        self._constant = set(fields.placeholders)
        variables = fields.all
        least = {
            name: np.array(minimum, np.float32)
            for name in (*variables.surface, *variables.atmospheric)
            if (minimum := variables.row(name).minimum) is not None
        }
        self._least = {name: float(value) for name, value in variables.transformed(least).items()}

    def __call__(self, batch: Batch, forecast: Fields) -> Batch:
        """The batch one lead time later, with the targets that it had.

        Args:
            batch: input of the model, with the lead time of every sample.
            forecast: what the model made of it.
        """
        return replace(
            batch,
            inputs=Fields(
                self._shifted(batch.inputs.surface, forecast.surface),
                self._shifted(batch.inputs.atmospheric, forecast.atmospheric),
            ),
            times=tuple(
                time + timedelta(hours=lead) for time, lead in zip(batch.times, batch.lead_hours, strict=True)
            ),
        )

    def _shifted(
        self, inputs: Mapping[str, torch.Tensor], forecast: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        found = {}
        for name, frames in inputs.items():
            new = frames[:, -1] if name in self._constant else forecast[name]
            if name in self._least:
                new = new.clamp(min=self._least[name])
            found[name] = torch.cat([frames[:, 1:], new[:, None]], dim=1)
        return found


class RolledOut:
    """Forecasts of samples whose later lead times are rollouts.

    Memory holds the input of one step. The samples of a start follow each other by lead time, so that
    each takes one call of the model. Any other order gives the same forecasts.

    Args:
        model: predicts the fields one lead time after a batch.
        samples: samples whose lead times are the multiples of the first.
        feedback: makes the input of the next step.
        device: device of the model.
    """

    def __init__(
        self,
        model: Callable[[Batch], Fields],
        samples: Samples,
        feedback: Feedback,
        device: torch.device,
    ) -> None:
        self._model, self._samples, self._feedback, self._device = model, samples, feedback, device
        self._reached: tuple[int, int] | None = None

    def __call__(self, index: int) -> Fields:
        """The forecast of the sample with an index."""
        frames = self._samples.frames
        step = frames.window.target_hours.index(frames.samples[index].lead_hours)
        first = index - step
        if self._reached != (first, step):
            self._batch = self._samples.batch([first]).to(self._device)
            for _ in range(step):
                self._batch = self._feedback(self._batch, self._model(self._batch))
        forecast = self._model(self._batch)
        self._batch, self._reached = self._feedback(self._batch, forecast), (first, step + 1)
        return forecast
