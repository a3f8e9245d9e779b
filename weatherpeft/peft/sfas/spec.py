"""SFAS: stochastic Fisher-guided adaptive selection, arXiv:2509.22020."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from weatherpeft.interfaces import PeftMethod
from weatherpeft.spec import Count, Decay, NotNegative, Positive

if TYPE_CHECKING:
    from weatherpeft.interfaces import Adapter, Backbone, TuningContext

Fraction = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[float, Field(gt=0, le=1)]
NormalizerName = Literal["max", "mean", "quantile", "rank"]
ScoreName = Literal[
    "fisher", "magnitude", "random", "gradient", "child_tuning_f", "child_tuning_d", "second_order"
]
SELECT_ONCE = ("magnitude", "random", "child_tuning_d", "second_order")
"""Scores that select before the first step and keep the selection."""
TAKE_NOISE = ("fisher", "gradient")
"""Scores that noise can be added to."""
PUBLISHED: dict[str, Any] = {
    "fraction": 0.001,
    "count_of": "model",
    "score": "fisher",
    "gamma": 0.2,
    "noise": "additive",
    "normalizer": "max",
    "beta": 0.0,
    "refresh": 1,
    "budget": None,
    "weight_decay": 0.05,
    "betas": (0.9, 0.999),
}
"""Values of the paper's rule, independent of the defaults."""


class Sfas(PeftMethod):
    """Trains only the k backbone weights that matter most at each step.

    At step n of t, entry i scores ``F_i / norm(F) + gamma·(1 − n/t)·U_i``: its diagonal Fisher information
    plus noise that anneals away, with U uniform on [0, 1). AdamW updates the k entries of the pool with the
    highest scores; the others do not move. The pool is what is frozen in the backbone when the method is
    attached. So the method comes last in the list of methods.

    The defaults are those that the experiments of docs/sfas.md favor. ``preset: published`` is the paper's
    rule.
    """

    name: Literal["sfas"]
    """Selects this method."""
    preset: Literal["published"] | None = None
    """Defaults of keys that are not given: ``published`` for the paper's values, none for the project's."""
    fraction: Share = 0.001
    """Entries trained at each step, k, as a share of what ``count_of`` counts."""
    count_of: Literal["model", "pool"] = "model"
    """Parameters that ``fraction`` is a share of. ``model`` counts all parameters of the model before any
    method was attached, as the paper does. ``pool`` counts the entries that compete."""
    score: ScoreName = "fisher"
    """What entries are selected by. ``fisher`` is the method itself; the others are baselines at the same k.

    - ``fisher``: F, the diagonal Fisher information.
    - ``gradient``: |g|, the size of the gradient of the batch's loss.
    - ``child_tuning_f``: a random subset, drawn anew at every selection (Child-Tuning_F of Xu et al., 2021,
      arXiv:2109.05687, with exactly k entries).
    - ``random``: a random subset, drawn once.
    - ``magnitude``: |θ| of the pretrained weights.
    - ``child_tuning_d``: F of the Fisher warm-up (Child-Tuning_D of the same paper). This is a FISH mask; it
      equals ``fisher`` with beta = 1 and no noise.
    - ``second_order``: g² of the Fisher warm-up, where g is the mean gradient of its samples (SAM of Fu et
      al., 2023, arXiv:2211.15583). The published rule replaces all second derivatives by one upper bound.

    The last four select before the first step and keep the selection, so they take neither ``refresh`` nor
    ``budget``. Only ``fisher`` takes ``beta``; only ``fisher`` and ``gradient`` take ``noise`` and
    ``normalizer``, with |g| in place of F."""
    gamma: NotNegative = 0.2
    """Weight of the noise at the first step."""
    noise: Literal["additive", "multiplicative", "none"] = "none"
    """Noise of the selection. ``none`` selects by Fisher information alone. ``multiplicative`` is an ablation
    that selects by F·U. It cannot anneal, because no factor common to all entries changes a top-k, and it
    does not use gamma."""
    normalizer: NormalizerName = "max"
    """Norm of this step's Fisher information over the pool; the paper's code divides by the maximum.
    ``rank`` replaces F by the share of the pool with a smaller F."""
    quantile: Annotated[float, Field(gt=0, lt=1)] = 0.999
    """Quantile that the normalizer ``quantile`` divides by."""
    beta: Fraction = 0.0
    """Memory of the Fisher information, F_t = beta·F_{t−1} + (1 − beta)·f_t, where f_t is that of this batch
    and F_0 that of the warm-up. 0 is the paper's rule. 1 never looks at a batch, which is a FISH mask if
    there is no noise."""
    refresh: Count = 1
    """Number of steps from one selection to the next. In between, the same entries are trained at little more
    cost than a frozen backbone, and f of these batches does not enter F."""
    budget: Annotated[int, Field(gt=0, le=10**12)] | Share | None = None
    """Largest number of entries trained in the whole run, as a number or as a share of what ``count_of``
    counts. A selection takes no more new entries than are left. If none are left, the entries trained before
    compete."""
    weight_decay: NotNegative | None = None
    """Decoupled weight decay of the selected entries of matrices; by default the training's."""
    betas: tuple[Decay, Decay] | None = None
    """Decay rates of the first and second moments; by default the training's."""
    eps: Positive = 1e-8
    """Constant that is added to the root of the second moment."""

    @model_validator(mode="after")
    def _published(self) -> Self:
        if self.preset == "published":
            for name in PUBLISHED.keys() - self.model_fields_set:
                object.__setattr__(self, name, PUBLISHED[name])
        return self

    @model_validator(mode="after")
    def _score_takes_its_options(self) -> Self:
        defaults: dict[str, Any] = {}
        if self.score != "fisher":
            defaults["beta"] = 0.0
        if self.score not in TAKE_NOISE:
            defaults |= {"noise": "none", "normalizer": "max"}
        if self.score in SELECT_ONCE:
            defaults |= {"refresh": 1, "budget": None}
        for name, default in defaults.items():
            if (found := getattr(self, name)) != default:
                raise ValueError(
                    f"sfas: score {self.score} takes no {name}, found {found}, expected {default}"
                )
        return self

    @property
    def memory(self) -> float:
        """Weight of the past in the score: ``beta``, or 1 where the warm-up alone decides."""
        return 1.0 if self.score in ("child_tuning_d", "second_order") else self.beta

    @property
    def needs_fisher(self) -> bool:
        """Whether the Fisher warm-up must run before."""
        return self.memory > 0

    @property
    def needs_squares(self) -> bool:
        """Whether a selection needs the squared gradients of the samples."""
        return self.score == "fisher" and self.beta < 1

    @property
    def draws(self) -> bool:
        """Whether every entry of the pool gets a uniform number at a selection."""
        return self.noise == "multiplicative" or self.score in ("random", "child_tuning_f")

    def selects_at(self, step: int) -> bool:
        """Whether a step, counted from 0, makes a new selection."""
        return step == 0 if self.score in SELECT_ONCE else step % self.refresh == 0

    @property
    def takes_the_rest(self) -> bool:
        """Yes: the pool is what the others leave frozen."""
        return True

    @property
    def takes(self) -> dict[str, bool]:
        """Every pretrained parameter that is left."""
        return {"weights": True, "biases": False}

    def entries(self, total: int, pool: int) -> tuple[int, int | None]:
        """Number of entries of a step and, if there is a budget, of the whole run.

        Args:
            total: number of parameters that ``count_of`` counts.
            pool: number of entries that compete.

        Raises:
            ValueError: k is not between 1 and the pool's size, or the budget is less than k.
        """
        k = round(self.fraction * total)
        if not 1 <= k <= pool:
            raise ValueError(
                f"sfas: fraction {self.fraction} of the {self.count_of} selects {k} entries, "
                f"expected 1 to {pool}, the size of the pool"
            )
        budget = round(self.budget * total) if isinstance(self.budget, float) else self.budget
        if budget is not None and budget < k:
            raise ValueError(f"sfas: found a budget of {budget} entries, expected at least k = {k}")
        return k, budget

    def attach(self, model: Backbone, context: TuningContext) -> Adapter:
        """Take the frozen entries of the backbone into the pool and listen to their gradients.

        Raises:
            ValueError: nothing in the backbone is frozen, k is not between 1 and the pool's size, the
                budget is less than k, or the warm-up's store is missing or belongs to another model.
        """
        from weatherpeft.peft.sfas.adapter import SfasAdapter

        return SfasAdapter(self, model, context)
