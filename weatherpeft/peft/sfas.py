"""SFAS: stochastic Fisher-guided adaptive selection, arXiv:2509.22020."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from weatherpeft.interfaces import PeftMethod

if TYPE_CHECKING:
    from weatherpeft.interfaces import Adapter, Backbone, TuningContext

Share = Annotated[float, Field(ge=0, le=1)]


class Sfas(PeftMethod):
    """Trains, at each step, the k backbone weights that matter most at that step, and no others.

    Entry i of step n of t scores ``F_i / norm(F) + gamma·(1 − n/t)·U_i``: diagonal Fisher
    information plus noise that anneals away, U uniform on [0, 1). The k best entries of the
    pool are updated by AdamW, the rest do not move. The pool is what is frozen in the backbone when
    the method is attached, so it comes last in the list of methods.
    """

    name: Literal["sfas"]
    fraction: Annotated[float, Field(gt=0, le=1)] = 0.001
    """k as a share of what ``count_of`` counts."""
    count_of: Literal["model", "pool"] = "model"
    """``model``: all parameters as they stand when the method is attached, the paper's count;
    ``pool``: those that compete."""
    gamma: Annotated[float, Field(ge=0)] = 0.2
    """Weight of the noise at the first step."""
    noise: Literal["additive", "none"] = "additive"
    """``none`` selects by Fisher information alone."""
    normalizer: Literal["max", "mean"] = "max"
    """Norm of the Fisher information over the pool; the paper's code divides by the maximum."""
    beta: Share = 0.0
    """Memory of the Fisher information, F_t = beta·F_{t−1} + (1 − beta)·f_t with f_t this batch's and
    F_0 from the warm-up: 0 is the paper's rule, 1 never looks at a batch (without noise, a FISH mask)."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    """Decoupled, on the selected entries of matrices."""
    betas: tuple[Share, Share] = (0.9, 0.999)
    """Of the first and second moments."""
    eps: Annotated[float, Field(gt=0)] = 1e-8
    """Added to the root of the second moment."""

    @property
    def needs_fisher(self) -> bool:
        """Whether the Fisher warm-up must run before."""
        return self.beta > 0

    @property
    def takes_the_rest(self) -> bool:
        """The pool is what the others leave frozen."""
        return True

    def attach(self, model: Backbone, context: TuningContext) -> Adapter:
        """Take the frozen entries of the backbone into the pool and listen to their gradients.

        Raises:
            ValueError: nothing in the backbone is frozen, k is not between 1 and the pool's size, or
                the warm-up's store is missing or not of this model.
        """
        from weatherpeft.peft.sfas_adapter import SfasAdapter

        return SfasAdapter(self, model, context)
