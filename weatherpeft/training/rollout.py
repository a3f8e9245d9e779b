"""The loss of a forecast of several steps, each made from the one before."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.utils.checkpoint import checkpoint

from weatherpeft.interfaces import Backbone
from weatherpeft.samples.batch import Batch, Fields
from weatherpeft.samples.rollout import Feedback, in_rollout
from weatherpeft.training.spec import Rollout

Error = Callable[[Fields, Fields], torch.Tensor]


@dataclass(frozen=True)
class Forecasts:
    """Forecasts of several steps in training and validation.

    Attributes:
        feedback: makes the input of a step from the step before.
        rollout: how gradients go through the steps. Without gradients, as in validation, it does not count.
    """

    feedback: Feedback
    rollout: Rollout | None = None

    def loss(self, model: Backbone, batch: Batch, error: Error) -> torch.Tensor:
        """The loss of as many steps as the batch has targets.

        It is the mean over the steps, or with gradients by pushforward the loss of the last one.

        Args:
            model: predicts the fields one lead time after a batch.
            batch: samples with the targets of all steps.
            error: loss of a forecast against its target, a mean over the samples.
        """
        targets = (batch.target, *batch.later)
        if torch.is_grad_enabled() and self.rollout and self.rollout.gradient == "pushforward":
            with torch.no_grad():
                for _ in batch.later:
                    batch = self.feedback(batch, model(batch))
            return error(model(batch), targets[-1])
        return self._mean(model, batch, targets, error)

    def _mean(self, model: Backbone, batch: Batch, targets: tuple[Fields, ...], error: Error) -> torch.Tensor:
        mark = object()

        def step(inputs: Batch) -> Fields:
            # Also when it is computed again, in the backward pass.
            with in_rollout(mark):
                return model(inputs)

        losses = []
        for number, target in enumerate(targets, 1):
            last = number == len(targets)  # whose activations are needed at once
            again = torch.is_grad_enabled() and not last
            forecast = checkpoint(step, batch, use_reentrant=False) if again else step(batch)
            losses.append(error(forecast, target))
            if not last:
                batch = self.feedback(batch, forecast)
        return torch.stack(losses).mean()
