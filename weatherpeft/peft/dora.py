"""Weight-decomposed low-rank adaptation (DoRA, Liu et al. 2024, arXiv 2402.09353), by Hugging Face peft."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from weatherpeft.peft.adapters.low_rank import LowRank

if TYPE_CHECKING:
    from peft import LoraConfig

    from weatherpeft.interfaces import Adapter, Backbone, TuningContext


class Dora(LowRank):
    """LoRA of the directions of a weight matrix's rows or columns, whose magnitudes are trained apart.

    With the biases, that is 3.87 M parameters of ``qkv`` and ``proj`` of Aurora with a magnitude for each
    output, and 3.75 M with one for each input. The WeatherPEFT paper (arXiv 2509.22020) counts 3.75 M.
    """

    name: Literal["dora"]
    """Selects this method."""
    magnitude: Literal["output", "input"] = "output"
    """What has a magnitude: each output of a layer, which is a row of its weights, as in the code of the
    paper's authors; or each input, which is a column, as in the paper's equation 5."""

    @property
    def takes(self) -> dict[str, bool]:
        """Like LoRA; with magnitudes of outputs and without ``biases`` also the weights: no SFAS follows.

        With magnitudes of outputs, a layer's bias is subtracted from its output. So the samples of a batch do
        not stay apart in the gradient of a bias that is left to others.
        """
        alone = self.magnitude == "output" and not self.biases
        return super().takes | ({"weights": False} if alone else {})

    @property
    def decomposed(self) -> bool:
        """True (see ``LowRank.decomposed``)."""
        return True

    def peft_config(self, model: Backbone, context: TuningContext) -> LoraConfig | None:
        """None for magnitudes of inputs, which peft itself does not have."""
        return super().peft_config(model, context) if self.magnitude == "output" else None

    def attach(self, model: Backbone, context: TuningContext) -> Adapter:
        """Put the decomposed layers around the target layers (see ``LowRank.attach_low_rank``)."""
        if self.magnitude == "output":
            return self.attach_low_rank(model, context)
        from weatherpeft.peft.adapters.magnitudes import InputDoraLinear

        return self.attach_low_rank(model, context, InputDoraLinear)
