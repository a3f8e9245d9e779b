"""How long and how fast a run trains."""

from typing import Literal, Self

from pydantic import Field, model_validator

from weatherpeft.spec import Count, Decay, NotNegative, Positive, Spec

Precision = Literal["float32", "autocast", "bfloat16"]
"""Number format of the backbone between encoder and decoder, which always compute in float32.

``autocast`` computes matrix products in bfloat16, from weights in float32. ``bfloat16`` gives the same bits
from frozen matrices that are kept in bfloat16, which takes half the memory. It is not for methods that train
the matrices. Methods that compute with the matrices themselves, such as ``dora``, differ in the last bits.
"""


class Rollout(Spec):
    """Training on the model's own forecasts, which are its next inputs."""

    steps: int = Field(ge=2, le=1000)
    """Number of steps of the model, of one lead time each."""
    gradient: Literal["backpropagation", "pushforward"]
    """``backpropagation``: the loss is the mean over all steps, and its gradient goes back through all of
    them. All steps but the last are computed again in the backward pass, so that the activations of one
    step are in memory at a time. ``pushforward``: the loss is that of the last step, and the steps before it
    have no gradient (Brandstetter et al. 2022, arXiv 2202.03376)."""


class Training(Spec):
    """AdamW with linear warm-up and cosine decay."""

    steps: Count
    """Number of optimizer steps."""
    batch_size: Count = 1
    """Number of samples per step, of all processes together."""
    accumulation: Count = 1
    """Number of backward passes that evenly share the samples of a process in each step, to save memory."""
    precision: Precision = "float32"
    """Number format that the backbone computes in, in training and in prediction."""
    recompute: bool = False
    """Whether only the inputs of each block, of the encoder and of the decoder are kept, and the rest is
    computed again in the backward pass. This takes less memory and about a third more time for the same
    result."""
    rollout: Rollout | None = Field(default=None, exclude_if=lambda rollout: rollout is None)
    """Steps of a forecast that the loss sees; by default one. The task must have as many. Validation is by
    the mean loss of all steps of the task."""
    learning_rate: Positive
    """Peak learning rate of the schedule."""
    warmup_steps: int = Field(default=0, ge=0, le=10**9)
    """Number of steps of linear warm-up from 0."""
    weight_decay: NotNegative = 0.05
    """Decoupled weight decay of matrices; biases and norms have none."""
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    """Decay rates of AdamW's first and second moments."""
    clip_norm: Positive | None = None
    """Largest norm of the gradient of all parameters that a step updates, as one vector; none by default."""
    validate_every: Count = 100
    """Number of steps between validations."""
    validation_samples: Count = 16
    """Number of samples per validation, spread evenly over the validation split."""
    keep: Literal["last", "best"] = "last"
    """Weights that the run keeps: those after the last step, or those with the smallest validation loss."""
    checkpoint_every: Count = 100
    """Number of steps between checkpoints of the running training. A job may add further ones by time."""

    @model_validator(mode="after")
    def _even_passes(self) -> Self:
        if self.batch_size % self.accumulation:
            raise ValueError(
                f"batch_size {self.batch_size} must be a multiple of accumulation {self.accumulation}"
            )
        return self

    @property
    def rollout_steps(self) -> int:
        """Number of steps of the model in the forecast of a training sample."""
        return self.rollout.steps if self.rollout else 1

    def check_rollout(self, steps: int) -> None:
        """Check that the forecasts of a task are as long as those of the training.

        Args:
            steps: number of steps of the task's forecasts.

        Raises:
            ValueError: they are not.
        """
        if self.rollout_steps > steps:
            raise ValueError(
                f"rollout: found {self.rollout_steps} steps, expected at most the {steps} of the task's "
                "forecasts (the key steps of a task forecasting)"
            )

    def check_processes(self, count: int) -> None:
        """Check that a number of processes can share a step evenly.

        Raises:
            ValueError: they cannot.
        """
        if self.batch_size % (self.accumulation * count):
            raise ValueError(
                f"batch_size {self.batch_size} must be a multiple of accumulation {self.accumulation} "
                f"x {count} processes"
            )

    @model_validator(mode="after")
    def _warmup(self) -> Self:
        if self.warmup_steps >= self.steps:
            raise ValueError(f"warmup_steps {self.warmup_steps} must be fewer than steps {self.steps}")
        return self
