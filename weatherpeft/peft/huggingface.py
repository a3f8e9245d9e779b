"""Methods of Hugging Face peft (Mangrulkar et al. 2022) that work on the layers of any model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from weatherpeft.peft.adapters.biases import BiasedMethod
from weatherpeft.spec import Real, Whole, did_you_mean

if TYPE_CHECKING:
    import peft

    from weatherpeft.interfaces import Adapter, Backbone, TuningContext

_FEEDFORWARD = "feedforward_modules"
OPTIONS: dict[str, dict[str, type | tuple[type, ...]]] = {
    "beft": {},
    "boft": {"boft_block_size": int, "boft_block_num": int},
    "c3a": {"block_size": int, "init_weights": (bool, str)},
    "deft": {"r": int, "decomposition_method": str, "init_scale": float, "alpha": int, "para": bool},
    "delora": {"r": int, "delora_lambda": int},
    "fourierft": {"n_frequency": int, "scaling": float, "init_weights": bool},
    "glora": {"r": int, "config_A_B": str, "config_C": str, "config_D_E": str},
    "gralora": {"r": int, "hybrid_r": int, "alpha": int, "gralora_k": int},
    "hira": {"r": int, "init_weights": (bool, str)},
    "hra": {"r": int, "apply_GS": bool},
    "ia3": {_FEEDFORWARD: tuple},
    "lily": {"r": int, "stride_A": int, "num_B": int, "scaling": float},
    "ln_tuning": {},
    "loha": {"r": int, "alpha": int},
    "lokr": {
        "r": int,
        "alpha": int,
        "decompose_both": bool,
        "decompose_factor": int,
        "init_weights": (bool, str),
    },
    "miss": {"r": int, "mini_r": int, "init_weights": (bool, str)},
    "oft": {
        "r": int,
        "oft_block_size": int,
        "coft": bool,
        "eps": float,
        "block_share": bool,
        "use_cayley_neumann": bool,
        "num_cayley_neumann_terms": int,
    },
    "osf": {"effective_rank": (int, float)},
    "peanut": {"r": int, "depth": int, "act_fn": str, "scaling": float},
    "psoft": {
        "r": int,
        "psoft_alpha": int,
        "ab_svd_init": str,
        "psoft_svd": str,
        "psoft_svd_lowrank_niter": int,
        "psoft_orth": bool,
        "psoft_mag_a": bool,
        "psoft_mag_b": bool,
        "use_cayley_neumann": bool,
        "num_cayley_neumann_terms": int,
        "cayley_neumann_eps": float,
    },
    "randlora": {"r": int, "randlora_alpha": int, "sparse": bool, "very_sparse": bool},
    "road": {"variant": str, "group_size": int},
    "shira": {"r": int},
    "supertuning": {"sparsity": float, "select_top": bool, "r": int, "lora_alpha": float},
    "tinylora": {"r": int, "u": int, "weight_tying": float, "init_v_bound": float},
    "unilora": {"r": int, "theta_d_length": int, "init_theta_d_bound": float},
    "vblora": {
        "r": int,
        "num_vectors": int,
        "vector_length": int,
        "topk": int,
        "init_vector_bank_bound": float,
        "init_logits_std": float,
    },
    "vera": {"r": int, "d_initial": float},
    "waveft": {
        "n_frequency": int,
        "scaling": float,
        "wavelet_family": str,
        "use_idwt": bool,
        "proportional_parameters": bool,
    },
}
"""The types and their options, by peft's own names.

Dropout is left out: it draws random numbers at each step, so a killed run would not resume as it was. What
the workflow sets is left out too: the layers, the biases and the seeds. BOFT's number of butterfly factors is
left out, since peft sets it to 1 without its CUDA extension.
"""

_LANGUAGE = "works on the tokens of a language model, which the backbone is not"
REFUSED = {
    "adalora": "needs calls from the training loop to move its ranks, and a term of its own in the loss",
    "adamss": "needs scikit-learn, which is not installed",
    "adaption_prompt": "is written for the attention of some language models only",
    "cartridge": _LANGUAGE,
    "cpt": _LANGUAGE,
    "frod": "decomposes all layers of one name together; here, their shapes differ between the stages",
    "lora": "is a method of its own: expected name lora, dora or lora_plus",
    "multitask_prompt_tuning": _LANGUAGE,
    "p_tuning": _LANGUAGE,
    "poly": "needs the number of a task at every call of the model",
    "prefix_tuning": _LANGUAGE,
    "prompt_tuning": _LANGUAGE,
    "pvera": "draws random numbers at each step, so that a killed run would not resume as it was",
    "shadow": "runs a second network beside a language model that it wraps",
    "trainable_tokens": "trains rows of a token embedding, which the backbone does not have",
    "xlora": "mixes finished LoRA adapters of a language model that it wraps",
}
"""The types that a model cannot have here, and why."""

_SEEDS = {
    "fourierft": "random_loc_seed",
    "psoft": "random_seed",
    "randlora": "projection_prng_key",
    "shira": "random_seed",
    "tinylora": "projection_seed",
    "unilora": "proj_seed",
    "vera": "projection_prng_key",
    "waveft": "random_loc_seed",
}
"""Options that seed what a type draws apart from its parameters."""
_FIXED = {
    "fourierft": ("indices",),
    "osf": ("_osf_U_low_init", "_osf_S_low_init", "_osf_V_low_init", "_osf_U_high", "_osf_V_high"),
    "psoft": ("_psoft_A_cache", "_psoft_B_cache"),
    "randlora": ("randlora_A", "randlora_B"),
    "shira": ("shira_indices",),
    "supertuning": ("supertuning_indices",),
    "tinylora": ("tinylora_A", "tinylora_B", "tinylora_P"),
    "unilora": ("unilora_indices_A", "unilora_indices_B", "unilora_scales_A", "unilora_scales_B"),
    "vera": ("vera_A", "vera_B"),
    "waveft": ("waveft_indices",),
}
"""Tensors that are drawn, or that follow from the pretrained weights: not trained, but saved."""
_NEEDS_WEIGHTS = {
    *("boft", "deft", "glora", "hira", "hra", "ln_tuning", "peanut", "shira", "supertuning"),
}
"""Types that train pretrained weights, or whose layers do more with them than call the pretrained layer."""


class HuggingFace(BiasedMethod):
    """Trains a method of Hugging Face peft by its type, on linear layers of the backbone.

    The default is VeRA (Kopiczko et al. 2024, arXiv 2310.11454) of rank 256; the paper puts it on query and
    value. Other types are (IA)³ (``ia3``, Liu et al. 2022, arXiv 2205.05638), SHiRA (``shira``, Bhardwaj et
    al. 2024, arXiv 2406.13175) and RandLoRA (``randlora``, Albert et al. 2025, arXiv 2502.00987). peft's
    documentation cites the papers of all. The defaults of the options are peft's.

    ``ln_tuning`` trains weights and biases of layer norms. peft trains copies of them. Here they are trained
    in place, which gives the same model.

    The model starts as the pretrained one, except that ``deft``, ``hra`` and ``osf`` change its last bits and
    that ``c3a``, ``fourierft``, ``unilora`` and ``vblora`` start from random updates.

    What a type draws at random follows from the seed of the run. Random tensors that stay fixed, such as
    VeRA's projections, are no trained parameters. The result holds them too, as peft's own files do.
    """

    name: Literal["huggingface"]
    """Selects this method."""
    type: Annotated[str, Field(json_schema_extra={"enum": list(OPTIONS)})] = "vera"
    """Type of the method by peft's own name, in lower case."""
    options: dict[str, bool | Whole | Real | str | tuple[str, ...]] = {}
    """Options of the type by peft's own names; by default peft's."""
    targets: Annotated[tuple[str, ...], Field(min_length=1)] = ("qkv", "proj")
    """Last parts of the names of the linear layers to adapt, or of the layer norms for ``ln_tuning``."""

    @field_validator("type")
    @classmethod
    def _usable(cls, value: str) -> str:
        if value in REFUSED:
            raise ValueError(f"huggingface: type {value!r} {REFUSED[value]}")
        if value not in OPTIONS:
            raise ValueError(
                f"huggingface: found type {value!r}, expected one of {', '.join(OPTIONS)}"
                f"{did_you_mean(value, OPTIONS)}"
            )
        return value

    @model_validator(mode="after")
    def _known(self) -> HuggingFace:
        known = OPTIONS[self.type]
        for key, value in self.options.items():
            if key not in known:
                expected = ", ".join(known) or "none"
                raise ValueError(
                    f"huggingface: type {self.type!r} has no option {key!r}: expected {expected}"
                    f"{did_you_mean(key, known)}"
                )
            if not _fits(value, known[key]):
                raise ValueError(f"huggingface: option {key!r} of type {self.type!r} cannot be {value!r}")
        return self

    @property
    def takes(self) -> dict[str, bool]:
        """The target layers, which can be wrapped once, and the biases that are left.

        Some types need the weights for themselves. For others, gradients of the pretrained weights would be
        missing, or would not keep the samples of a batch apart, as SFAS needs it.
        """
        weights = {"weights": True} if self.type in _NEEDS_WEIGHTS else {}
        return {f"{name} layers": True for name in self.targets} | super().takes | weights

    @property
    def kept_apart(self) -> str | None:
        """Lily's updates depend on the tokens, so no weights have them."""
        if self.type == "lily":
            return "the update of a layer by its type lily depends on the tokens"
        return None

    def attach(self, model: Backbone, context: TuningContext) -> Adapter:
        """Put peft's layers around the target layers.

        Raises:
            ValueError: a target is the name of no such layer of the backbone, or peft refuses an option's
                value for the layers. The message names the type.
        """
        from weatherpeft.peft.adapters import injection

        if self.type == "ln_tuning":
            return self.adapter(model, injection.frozen_norms(model, self.targets, self.name))
        try:
            layers = injection.linear_layers(model, self.targets)
            parameters = injection.inject(model, self._config(model, context), self.name, context.seed)
        except ValueError as error:
            raise ValueError(f"huggingface: type {self.type!r} with {self.options}: {error}") from error
        fixed = injection.layer_tensors(model, _FIXED.get(self.type, ()), self.name)
        merge = injection.merges(model, layers)
        return injection.FixedTensorsAdapter({**parameters, **self.left_biases(model)}, fixed, merge)

    def peft_config(self, model: Backbone, context: TuningContext) -> peft.PeftConfig | None:
        """The configuration of the type; None for layer norms, which are trained in place."""
        return None if self.type == "ln_tuning" else self._config(model, context)

    def _config(self, model: Backbone, context: TuningContext) -> peft.PeftConfig:
        import peft

        from weatherpeft.peft.adapters.injection import linear_layers

        options: dict[str, Any] = {**self.options, "target_modules": linear_layers(model, self.targets)}
        if self.type == "ia3":
            options[_FEEDFORWARD] = linear_layers(model, options.get(_FEEDFORWARD, ()))
        if self.type in _SEEDS:
            options[_SEEDS[self.type]] = context.seed
        return peft.PEFT_TYPE_TO_CONFIG_MAPPING[peft.PeftType(self.type.upper())](**options)


def _fits(value: object, kinds: type | tuple[type, ...]) -> bool:
    """Whether a value is of a type, where whole numbers are numbers and truth values are not."""
    allowed = kinds if isinstance(kinds, tuple) else (kinds,)
    return type(value) in (*allowed, *((int,) if float in allowed else ()))
