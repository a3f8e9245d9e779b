"""Weight-decomposed low-rank adaptation (DoRA, Liu et al. 2024, arXiv 2402.09353), by Hugging Face peft."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from weatherpeft.peft.adapters.low_rank import LowRank

if TYPE_CHECKING:
    from weatherpeft.interfaces import Adapter, Backbone, TuningContext


class Dora(LowRank):
    """LoRA of the direction of each row of a weight matrix, whose magnitudes are trained apart.

    A layer has one magnitude for each output, as in the code of the paper's authors. On ``qkv`` and ``proj``
    of Aurora with rank 8 and the biases, that is 3.87 M parameters. The WeatherPEFT paper (arXiv 2509.22020)
    counts 3.75 M, which is one magnitude for each input.
    """

    name: Literal["dora"]
    """Selects this method."""

    @property
    def takes(self) -> dict[str, bool]:
        """Like LoRA; without ``biases`` also the weights, so that no SFAS follows.

        DoRA subtracts a layer's bias from its output. So the samples of a batch do not stay apart in the
        gradient of a bias that is left to others.
        """
        return super().takes | ({} if self.biases else {"weights": False})

    def attach(self, model: Backbone, context: TuningContext) -> Adapter:
        """Put the decomposed layers around the target layers (see ``LowRank.attach_low_rank``)."""
        return self.attach_low_rank(model, context, decomposed=True)
