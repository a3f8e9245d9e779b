"""The specs of a tuned model and of its training."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from weatherpeft.backbones import AnyBackbone
from weatherpeft.fields.grid import Region
from weatherpeft.fields.variables import FieldSet
from weatherpeft.peft import AnyMethod
from weatherpeft.peft.adapters.composition import composed
from weatherpeft.samples.splits import Splits
from weatherpeft.spec import Positive, Seed, Spec
from weatherpeft.tasks import AnyTask
from weatherpeft.training.spec import Training


class TunedModelSpec(Spec):
    """A tuned model, which can be rebuilt from this spec and its files."""

    backbone: AnyBackbone
    """Backbone of the model."""
    fields: FieldSet
    """Variables that the model sees and declared placeholders."""
    task: AnyTask
    """Task that the model is tuned for."""
    methods: Annotated[tuple[AnyMethod, ...], AfterValidator(composed)]
    """Methods in the order in which they are attached to the backbone; without any it is the model itself."""
    pretrained: bool
    """Whether the model starts from pretrained instead of random weights."""
    seed: Seed
    """Seed of the run."""


class Tuning(Spec):
    """A tuned model and the learning rate of its ends."""

    model: TunedModelSpec
    """Backbone, task and methods."""
    learning_rate: Positive | None = None
    """Peak learning rate of encoder and decoder; by default the training's."""


class FinetuneSpec(Spec):
    """A model, its methods and its training."""

    model: TunedModelSpec
    """Backbone, task and methods."""
    splits: Splits
    """Samples of training, validation and test."""
    training: Training
    """Schedule of the training, with the peak learning rate of methods that have none of their own."""
    learning_rate: Positive | None = None
    """Peak learning rate of encoder and decoder; by default the training's."""
    candidates: tuple[Tuning, ...] = Field(default=(), exclude_if=lambda candidates: not candidates)
    """Candidates of which a choice takes the place of ``model`` and ``learning_rate``."""
    is_candidate: bool = Field(default=False, exclude_if=lambda is_candidate: not is_candidate)
    """Whether the training is one of several to choose among. If it diverges, its artifact says so; any other
    training fails."""
    held_out: tuple[Region, ...] = Field(default=(), exclude_if=lambda regions: not regions)
    """Regions whose targets do not count in the losses."""

    def chosen(self, record: Mapping[str, Any] | None) -> Tuning:
        """The model and the rate to train.

        Args:
            record: record of the run's choice among the candidates; None where there is none.

        Raises:
            ValueError: there are candidates and no choice among them.
        """
        return chosen(self.candidates, Tuning(model=self.model, learning_rate=self.learning_rate), record)


def chosen(candidates: Sequence[Tuning], only: Tuning, record: Mapping[str, Any] | None) -> Tuning:
    """The candidate that a record names.

    Args:
        candidates: of a run; none where there is nothing to choose.
        only: what there is then.
        record: record of a choice or of a run that followed it.

    Raises:
        ValueError: there are candidates, and the record names none of them.
    """
    if not candidates:
        return only
    number = (record or {}).get("candidate")
    if not isinstance(number, int) or not 0 <= number < len(candidates):
        raise ValueError(f"expected a choice among {len(candidates)} candidates, found {number}")
    return candidates[number]
