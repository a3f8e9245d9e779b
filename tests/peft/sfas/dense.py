"""Runs of SFAS on the toy backbone, and a dense implementation of its rule that holds everything."""

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from tests.peft.sfas.rank import SPEC
from tests.peft.toy_backbone import Toy, toy_batch, toy_loss
from weatherpeft.interfaces import Backbone, TuningContext
from weatherpeft.peft.sfas.adapter import SfasAdapter
from weatherpeft.peft.sfas.noise import UniformNoise
from weatherpeft.peft.sfas.normalizer import SMALLEST_NORM
from weatherpeft.peft.sfas.spec import NormalizerName, Sfas

STEPS = 8
RATE = 0.05
DEFAULTS = TuningContext(steps=STEPS, seed=3)

ONCE = ("magnitude", "random", "child_tuning_d", "second_order")


def attach(model: Toy | Backbone, spec: Sfas = SPEC, **context: Any) -> SfasAdapter:
    values = {"steps": STEPS, "seed": 3} | context
    return SfasAdapter(spec, cast(Backbone, model), TuningContext(**values))


def weights(model: Toy | Backbone) -> Tensor:
    """The backbone as one vector."""
    return torch.cat([p.detach().flatten() for p in model.backbone_parameters().values()])


def train(model: Toy, adapter: SfasAdapter, steps: range, size: int = 3) -> list[Tensor]:
    """Selected entries of every step."""
    chosen = []
    for step in steps:
        toy_loss(model, toy_batch(step, size)).backward()
        adapter.step(step, RATE / (step + 1))
        chosen.append(adapter.selection)
    return chosen


def tuned(spec: Sfas = SPEC, steps: range = range(STEPS), **context: Any) -> tuple[Toy, list[Tensor]]:
    model = Toy()
    return model, train(model, attach(model, spec, **context), steps)


def normalized(fisher: Tensor, normalizer: NormalizerName, quantile: float) -> Tensor:
    """F over its norm in float64, from the whole vector."""
    if normalizer == "rank":
        cut = (fisher.float().numpy().view(np.uint32) & 0xFFFF0000).view(np.float32)
        return torch.from_numpy(np.searchsorted(np.sort(cut), cut, side="left") / len(cut))
    if normalizer == "quantile":
        norm = fisher.sort(descending=True).values[max(1, round((1 - quantile) * len(fisher))) - 1]
    else:
        norm = fisher.max() if normalizer == "max" else fisher.double().mean()
    return fisher.double() / (float(norm) or SMALLEST_NORM)


class Dense:
    """The rule with a full mask, and AdamW with full moments that the mask resets."""

    def __init__(self, spec: Sfas, model: Toy | Backbone, fisher: Tensor | None = None) -> None:
        """``fisher`` is F of the warm-up, or its mean gradient where the score is ``second_order``."""
        self.spec = spec
        parameters = model.backbone_parameters().values()
        self.sizes = [p.numel() for p in parameters]
        self.matrix = torch.cat([torch.full((p.numel(),), p.dim() > 1) for p in parameters])
        self.k = round(spec.fraction * len(self.matrix))
        self.fisher = fisher
        self.pretrained = weights(model)
        dtype = next(iter(parameters)).dtype
        self.first, self.second, self.age = (torch.zeros(len(self.matrix), dtype=dtype) for _ in range(3))
        self.mask = self.touched = torch.zeros(len(self.matrix), dtype=torch.bool)

    def select(self, samples: list[Tensor], step: int) -> Tensor:
        """The mask of a step from every sample's gradient."""
        spec = self.spec
        starts = np.cumsum([0, *self.sizes]).tolist()
        noise = torch.cat(
            [
                UniformNoise(3, step, start, 0, size, torch.device("cpu")).values()
                for start, size in zip(starts, self.sizes, strict=False)
            ]
        )
        fisher = self.unnormalized(torch.stack(samples), noise)
        score = normalized(fisher, spec.normalizer, spec.quantile)
        if spec.noise == "multiplicative":
            score = (fisher * noise).double()
        elif spec.noise == "additive":
            score = score + spec.gamma * (1 - step / STEPS) * noise
        mask = torch.zeros(len(score), dtype=torch.bool)
        left = len(score) if spec.budget is None else spec.budget - int(self.touched.sum())
        for entry in np.lexsort((np.arange(len(score)), -score.numpy())):
            if self.touched[entry] or left > 0:
                mask[entry] = True
                left -= not self.touched[entry]
            if mask.sum() == self.k:
                break
        return mask

    def unnormalized(self, samples: Tensor, noise: Tensor) -> Tensor:
        """F, or what a score has in its place, from every sample's gradient ``(sample, entry)``."""
        beta, score = self.spec.beta, self.spec.score
        if score in ("random", "child_tuning_f"):
            return noise
        if score == "gradient":
            return samples.mean(0).abs()
        if score == "magnitude":
            return self.pretrained.abs()
        fisher = samples.square().mean(0)
        if self.fisher is None:
            return fisher
        if score == "second_order":
            return self.fisher.abs()
        if score == "fisher":
            self.fisher = beta * self.fisher + (1 - beta) * fisher
        return self.fisher

    def step(self, weight: Tensor, samples: list[Tensor], step: int, rate: float) -> tuple[Tensor, Tensor]:
        """New weights and the mask, from every sample's gradient."""
        spec, gradient = self.spec, torch.stack(samples).mean(0)
        if step == 0 or (step % spec.refresh == 0 and spec.score not in ONCE):
            self.mask = self.select(samples, step)
            self.touched = self.touched | self.mask
        mask = self.mask
        one, two = spec.betas or DEFAULTS.betas
        self.age = torch.where(mask, self.age + 1, 0)
        self.first = torch.where(mask, one * self.first + (1 - one) * gradient, 0)
        self.second = torch.where(mask, two * self.second + (1 - two) * gradient.square(), 0)
        mean = self.first / (1 - one ** self.age.double())
        root = (self.second / (1 - two ** self.age.double())).sqrt()
        weight_decay = DEFAULTS.weight_decay if spec.weight_decay is None else spec.weight_decay
        decay = weight_decay * self.matrix.double()
        moved = weight - rate * decay * weight - rate * mean / (root + spec.eps)
        return torch.where(mask, moved.to(weight), weight), mask
