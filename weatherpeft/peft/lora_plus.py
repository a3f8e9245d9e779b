"""LoRA+ (Hayou et al. 2024, arXiv 2402.12354): LoRA with a larger learning rate for B than for A."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from weatherpeft.peft.adapters.low_rank import LowRank
from weatherpeft.spec import Positive

if TYPE_CHECKING:
    from weatherpeft.interfaces import Adapter, Backbone, TuningContext


class LoraPlus(LowRank):
    """LoRA whose matrices B, which start at zero, learn ``ratio`` times as fast as its matrices A."""

    name: Literal["lora_plus"]
    """Selects this method."""
    ratio: Positive = 16.0
    """Learning rate of B over that of A; the paper recommends 16."""

    def peak(self, default: float, parameter: str = "") -> float:
        """See ``PeftMethod.peak``; ``learning_rate`` is that of A."""
        peak = super().peak(default, parameter)
        return self.ratio * peak if ".lora_B." in parameter else peak

    def attach(self, model: Backbone, context: TuningContext) -> Adapter:
        """Put the low-rank layers around the target layers (see ``LowRank.attach_low_rank``)."""
        return self.attach_low_rank(model, context)
