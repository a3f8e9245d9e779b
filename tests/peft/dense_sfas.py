"""Runs of SFAS on the toy backbone, and a dense implementation of its rule that holds everything."""

import numpy as np
import torch
from torch import Tensor, nn

from tests.peft.sfas_rank import SPEC
from tests.peft.toy_backbone import Toy, toy_batch, toy_loss
from weatherpeft.interfaces import TuningContext
from weatherpeft.peft.noise import uniform_noise
from weatherpeft.peft.sfas import Sfas
from weatherpeft.peft.sfas_adapter import SfasAdapter

STEPS = 8
RATE = 0.05


def attach(model: nn.Module, spec: Sfas = SPEC, **context: object) -> SfasAdapter:
    return spec.attach(model, TuningContext(**{"steps": STEPS, "seed": 3, **context}))


def weights(model: nn.Module) -> Tensor:
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


def tuned(spec: Sfas = SPEC, steps: range = range(STEPS), **context: object) -> tuple[Toy, list[Tensor]]:
    model = Toy()
    return model, train(model, attach(model, spec, **context), steps)


class Dense:
    """The published rule with a full mask, and AdamW with full moments that the mask resets."""

    def __init__(self, spec: Sfas, model: nn.Module, fisher: Tensor | None = None) -> None:
        self.spec = spec
        parameters = model.backbone_parameters().values()
        self.matrix = torch.cat([torch.full((p.numel(),), p.dim() > 1) for p in parameters])
        self.k = round(spec.fraction * len(self.matrix))
        self.fisher = fisher
        dtype = next(iter(parameters)).dtype
        self.first, self.second, self.age = (torch.zeros(len(self.matrix), dtype=dtype) for _ in range(3))

    def step(self, weight: Tensor, samples: list[Tensor], step: int, rate: float) -> tuple[Tensor, Tensor]:
        """New weights and the mask, from every sample's gradient."""
        spec, gradient = self.spec, torch.stack(samples).mean(0)
        fisher = torch.stack(samples).square().mean(0)
        if self.fisher is not None:
            fisher = self.fisher = spec.beta * self.fisher + (1 - spec.beta) * fisher
        norm = fisher.max() if spec.normalizer == "max" else fisher.double().mean()
        score = fisher.double() / norm
        if spec.noise == "additive":
            noise = uniform_noise(3, step, 0, len(weight), weight.device)
            score = score + spec.gamma * (1 - step / STEPS) * noise
        order = np.lexsort((np.arange(len(score)), -score.numpy()))
        mask = torch.zeros(len(weight), dtype=torch.bool)
        mask[torch.from_numpy(order[: self.k].copy())] = True

        one, two = spec.betas
        self.age = torch.where(mask, self.age + 1, 0)
        self.first = torch.where(mask, one * self.first + (1 - one) * gradient, 0)
        self.second = torch.where(mask, two * self.second + (1 - two) * gradient.square(), 0)
        mean = self.first / (1 - one ** self.age.double())
        root = (self.second / (1 - two ** self.age.double())).sqrt()
        decay = spec.weight_decay * self.matrix.double()
        moved = weight - rate * decay * weight - rate * mean / (root + spec.eps)
        return torch.where(mask, moved.to(weight), weight), mask
