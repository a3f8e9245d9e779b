"""The modules of task-adaptive dynamic prompting: prompt generator and prompted window attention.

Heavy: imported by ``Tadp.attach`` only.
"""

from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
import torch.nn.functional as F
from aurora.model.swin3d import WindowAttention
from aurora.model.util import fp16_safe_scaled_dot_product_attention
from einops import rearrange
from torch import Tensor, nn

from weatherpeft.interfaces import Backbone
from weatherpeft.peft.adapters.dense import DenseAdapter, seeded
from weatherpeft.peft.tadp.spec import Tadp


class Bottleneck(nn.Module):
    """``h + up(gelu(down(h)))`` with ``h = norm(x)``, over the last axis.

    The paper does not state the initialization. Here ``up`` is zero, so that the module starts as
    its norm, and ``down`` is normal with variance 2 / width (He), without bias.
    """

    def __init__(self, width: int, bottleneck: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.down = nn.Linear(width, bottleneck)
        self.up = nn.Linear(bottleneck, width)
        nn.init.kaiming_normal_(self.down.weight, nonlinearity="relu")
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., width)`` to the same shape."""
        normed = self.norm(x)
        return normed + self.up(F.gelu(self.down(normed)))


class PromptGenerator(nn.Module):
    """Patch-embedding weights to prompt tokens (arXiv 2509.22020, section on TADP).

    The embedding is refined along the patch, the variables and the width in turn, each entry
    attends to all others, and a linear map mixes them into prompts. The map starts as a truncated
    normal of deviation 0.02 without bias, as Aurora's linear layers do; the paper does not say.

    Args:
        width: D, of the patch embedding.
        variables: V.
        patch: S, history × patch height × patch width.
        prompts: P.
        internal: refine along the patch and the width.
        external: refine along the variables, and attend.
    """

    def __init__(
        self,
        width: int,
        variables: int,
        patch: int,
        prompts: int,
        *,
        internal: bool = True,
        external: bool = True,
    ) -> None:
        super().__init__()
        self.internal, self.external = internal, external
        if internal:
            self.along_patch = Bottleneck(patch, 8)
        if external:
            self.along_variables = Bottleneck(variables, variables // 2)
        if internal:
            self.along_width = Bottleneck(width, 16)
        else:
            self.token_norm = nn.LayerNorm(width)
        self.norm = nn.LayerNorm(variables * patch)
        self.mix = nn.Linear(variables * patch, prompts)
        nn.init.trunc_normal_(self.mix.weight, std=0.02)
        nn.init.zeros_(self.mix.bias)

    def forward(self, embedding: Tensor) -> Tensor:
        """``(width, variable, patch)`` to ``(prompt, width)``."""
        x = self.along_patch(embedding) if self.internal else embedding
        x = rearrange(x, "width variable patch -> patch width variable")
        x = self.along_variables(x) if self.external else x
        x = rearrange(x, "patch width variable -> variable patch width")
        x = self.along_width(x) if self.internal else x
        norm = self.along_width.norm if self.internal else self.token_norm  # a second time, as published
        tokens = norm(x.flatten(0, 1))
        if self.external:
            tokens = F.scaled_dot_product_attention(tokens[None], tokens[None], tokens[None])[0]
        return self.mix(self.norm(tokens.T)).T


class PromptedWindowAttention(WindowAttention):
    """Aurora's window attention with prompt tokens in every window.

    The outputs at the prompt positions would be dropped, so the prompts are a prefix of the keys
    and values: these are computed once for all windows, and only the window's tokens ask. Where
    per-sample gradients of the projection are asked for, as by SFAS on batches of several samples, the
    prefix is computed once a sample, so that what each sample adds to the gradient stays apart.

    Never constructed: ``prompt`` changes the class of a pretrained attention, whose parameters
    keep their names. The linear layers are called as modules and may be wrapped by other methods.
    """

    generator: PromptGenerator
    embedding_weights: Callable[[], Tensor]
    """Bound to the model, so that a deep copy of the model asks itself."""
    samples: int
    """In the batch; the windows of a sample stand next to each other."""
    _prefixes: dict[tuple[int, torch.dtype], tuple[Tensor, Tensor]]

    @classmethod
    def prompt(
        cls, attention: nn.Module, generator: PromptGenerator, embedding_weights: Callable[[], Tensor]
    ) -> Self:
        """Turn a window attention into a prompted one, in place."""
        attention.__class__ = cls
        attention.generator = generator
        attention.embedding_weights = embedding_weights  # type: ignore[assignment]
        attention.samples = 1  # type: ignore[assignment]
        attention._prefixes = {}  # type: ignore[assignment]
        return attention  # type: ignore[return-value]

    def forward(self, x: Tensor, mask: Tensor | None = None, rollout_step: int = 0) -> Tensor:
        """Attend to the window's own tokens and the prompts.

        Args:
            x: tokens, ``(batch·window, token, width)``.
            mask: added to the scores between the tokens, ``(window, token, token)``; zero is
                added to those of the prompts.
            rollout_step: for Aurora's own LoRA layers.

        Returns:
            Tokens, ``(batch·window, token, width)``.
        """
        query, key, value = self._project(x, rollout_step)
        if torch.is_grad_enabled():
            query = query.contiguous()  # else backward holds key and value twice, without prompts and with
        prompt_key, prompt_value = self._prefix(rollout_step, query.dtype)
        key, value = _prepend(prompt_key, key), _prepend(prompt_value, value)
        if mask is not None:
            mask = F.pad(mask, (key.shape[1] - mask.shape[2], 0))
            mask = mask.repeat(len(x) // len(mask), 1, 1)[:, None]

        safe = self.use_fp16_safe_attention
        attend: Any = fp16_safe_scaled_dot_product_attention if safe else F.scaled_dot_product_attention
        dropout = self.attn_drop if self.training else 0.0
        query, key, value = (
            rearrange(part, "window token (head channel) -> window head token channel", head=self.num_heads)
            for part in (query, key, value)
        )
        out = attend(query, key, value, attn_mask=mask, dropout_p=dropout)
        out = rearrange(out, "window head token channel -> window token (head channel)")
        projected = self.proj(out)
        if self._has_lora:
            projected = projected + self.lora_proj(out, rollout_step)
        return self.proj_drop(projected)

    @property
    def _has_lora(self) -> bool:
        """Whether Aurora's own LoRA layers are in use; upstream adds a zero to every entry where not."""
        return isinstance(self.lora_qkv, nn.Module)

    def _project(self, x: Tensor, rollout_step: int) -> tuple[Tensor, ...]:
        """Query, key and value of tokens ``(window, token, width)``, of the same shape each."""
        projected = self.qkv(x)
        if self._has_lora:
            projected = projected + self.lora_qkv(x, rollout_step)
        return projected.chunk(3, dim=-1)

    def prompts(self) -> Tensor:
        """The prompt tokens at this stage's width, ``(prompt, width)``."""
        prompts = self.generator(self.embedding_weights())
        if prompts.shape[1] != self.dim:  # deeper stages are wider than the patch embedding
            prompts = F.interpolate(prompts[None], size=self.dim, mode="linear", align_corners=False)[0]
        return prompts

    def _prefix(self, rollout_step: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Key and value of the prompts, ``(sample or 1, prompt, width)``; constants at inference."""
        if self.training or torch.is_grad_enabled():
            self.forget()
            return self._compute_prefix(rollout_step, self.samples if _apart(self.qkv) else 1)
        if (rollout_step, dtype) not in self._prefixes:
            self._prefixes[rollout_step, dtype] = self._compute_prefix(rollout_step, 1)
        return self._prefixes[rollout_step, dtype]

    def _compute_prefix(self, rollout_step: int, samples: int) -> tuple[Tensor, Tensor]:
        _, key, value = self._project(self.prompts().expand(samples, -1, -1), rollout_step)
        return key, value

    def forget(self) -> None:
        """Drop the cached prefix, after parameters have changed."""
        self._prefixes.clear()

    def train(self, mode: bool = True) -> Self:
        """Switch the mode; parameters may have changed since the last time."""
        self.forget()
        return super().train(mode)

    def _apply(self, *args: Any, **kwargs: Any) -> Self:  # the module moves to another device or type
        self.forget()
        return super()._apply(*args, **kwargs)


def _prepend(prefix: Tensor, own: Tensor) -> Tensor:
    """Join ``(sample, prompt, width)`` and ``(sample·window, token, width)``."""
    own = own.unflatten(0, (len(prefix), -1))
    prefix = prefix[:, None].expand(-1, own.shape[1], -1, -1)
    return torch.cat([prefix, own], dim=2).flatten(0, 1)


def _apart(layer: nn.Module) -> bool:
    """Whether a ``per_sample.GradientStream`` takes the samples of this forward pass apart in a layer."""
    streams: list[Any] = [module._stream for module in layer.modules() if hasattr(module, "_stream")]
    return any(stream.capturing for stream in streams)


def _note_samples(block: nn.Module, arguments: tuple[Tensor, ...]) -> None:
    """Tell a block's attention, which sees windows only, of how many samples they are."""
    block.attn.samples = len(arguments[0])  # type: ignore[union-attr]


class PromptAdapter(DenseAdapter):
    """Trains the prompt generators; a new result makes the attentions forget their cached prefixes."""

    def __init__(
        self, parameters: Mapping[str, nn.Parameter], attentions: list[PromptedWindowAttention]
    ) -> None:
        super().__init__(parameters)
        self._attentions = attentions

    def load_result(self, tensors: Mapping[str, Tensor]) -> None:
        """See ``DenseAdapter.load_result``."""
        super().load_result(tensors)
        for attention in self._attentions:
            attention.forget()


def attach_prompts(
    model: Backbone, spec: Tadp, biases: Mapping[str, nn.Parameter], seed: int
) -> PromptAdapter:
    """Prompt every attention of the backbone, each with a generator of its own.

    Args:
        model: with Aurora's window attentions.
        spec: number of prompts and what they are made by.
        biases: backbone parameters to train along, by name.
        seed: of the initialization.

    Raises:
        TypeError: an attention of another kind.
    """
    modules = model.attention_modules()
    for path, module in modules.items():
        if type(module) is not WindowAttention:
            raise TypeError(f"{path} is a {type(module).__name__}, expected an Aurora WindowAttention")
    width, variables, patch = model.embedding_weights().shape
    parameters = dict(biases)
    attentions = []
    with seeded(seed):
        for path, module in modules.items():
            generator = PromptGenerator(
                width, variables, patch, spec.prompts, internal=spec.internal, external=spec.external
            ).to(next(module.parameters()))
            attentions.append(PromptedWindowAttention.prompt(module, generator, model.embedding_weights))
            model.backbone.get_submodule(path.rpartition(".")[0]).register_forward_pre_hook(_note_samples)
            parameters |= {f"tadp.{path}.{name}": value for name, value in generator.named_parameters()}
    return PromptAdapter(parameters, attentions)
