"""How long and how fast a run trains."""

from typing import Self

from pydantic import Field, model_validator

from weatherpeft.spec import Spec


class Training(Spec):
    """AdamW with linear warm-up and cosine decay."""

    steps: int = Field(gt=0)
    """Optimizer steps."""
    batch_size: int = Field(default=1, gt=0)
    """Samples a step."""
    accumulation: int = Field(default=1, gt=0)
    """Backward passes that share a step's samples evenly, to save memory."""
    learning_rate: float = Field(gt=0)
    """Peak of the schedule."""
    warmup_steps: int = Field(default=0, ge=0)
    """Steps of linear warm-up from 0."""
    weight_decay: float = 0.05
    """Decoupled decay of matrices; biases and norms have none."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's."""
    clip_norm: float | None = None
    """Largest norm of the gradient of what a step updates, as one vector; none by default."""
    validate_every: int = Field(default=100, gt=0)
    """Steps between validations."""
    validation_samples: int = Field(default=16, gt=0)
    """Samples a validation, spread evenly over the validation split."""
    checkpoint_every: int = Field(default=100, gt=0)
    """Steps between checkpoints of the running training."""

    @model_validator(mode="after")
    def _even_passes(self) -> Self:
        if self.batch_size % self.accumulation:
            raise ValueError(
                f"batch_size {self.batch_size} must be a multiple of accumulation {self.accumulation}"
            )
        return self

    @model_validator(mode="after")
    def _warmup(self) -> Self:
        if self.warmup_steps >= self.steps:
            raise ValueError(f"warmup_steps {self.warmup_steps} must be fewer than steps {self.steps}")
        return self
