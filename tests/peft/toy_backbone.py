"""A backbone of a few hundred weights with everything that per-sample gradients must cope with."""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from weatherpeft.interfaces import Backbone

Forward = Callable[[Tensor], Tensor]


class Body(nn.Module):
    """Windows, a conditioning input, a layer called twice, a norm, and a layer that is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.condition = nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4)
        self.widen = nn.Linear(4, 6)
        self.twice = nn.Linear(6, 6, bias=False)
        self.narrow = nn.Linear(6, 4)
        self.idle = nn.Linear(3, 3, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        batch = len(tokens)
        condition = self.condition(tokens.mean(1))  # (batch, feature)
        windows = self.norm(tokens).reshape(batch * 2, -1, 4)  # (batch·window, token, feature)
        wide = torch.tanh(self.twice(torch.tanh(self.twice(torch.tanh(self.widen(windows))))))
        return self.narrow(wide).reshape(batch, -1, 4) * condition[:, None]


class Toy(nn.Module):
    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.encoder = nn.Linear(3, 4)
            self.backbone = Body()
            self.decoder = nn.Linear(4, 2)
            nn.init.normal_(self.backbone.norm.weight)
        self.to(dtype)
        self.backbone.requires_grad_(False)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.decoder(self.backbone(self.encoder(inputs)))

    def replace(self, forward: Callable[[Forward, Tensor], Tensor]) -> None:
        """Have the backbone computed by a function of its own forward and the tokens."""
        own = self.backbone.forward
        self.backbone.__dict__["forward"] = lambda tokens: forward(own, tokens)

    def backbone_parameters(self) -> dict[str, nn.Parameter]:
        return dict(self.backbone.named_parameters())


def as_backbone(model: Toy) -> Backbone:
    """A backbone whose batches are tensors."""
    return cast(Backbone, model)


def toy_batch(step: int, size: int = 3, dtype: torch.dtype = torch.float64) -> Tensor:
    """Inputs and targets side by side, ``(batch, token, 5)``."""
    generator = torch.Generator().manual_seed(step)
    return torch.randn(size, 6, 5, generator=generator, dtype=torch.float64).to(dtype)


def toy_loss(model: nn.Module, batch: Tensor) -> Tensor:
    """Mean over the samples."""
    return (model(batch[..., :3]) - batch[..., 3:]).square().mean()


def sample_gradients(model: Toy, batch: Tensor) -> list[dict[str, Tensor]]:
    """The gradient of each sample's own loss, from backward passes of its own."""
    parameters = model.backbone_parameters()
    found = []
    for sample in batch:
        own = torch.autograd.grad(
            toy_loss(model, sample[None]),
            list(parameters.values()),
            allow_unused=True,
            materialize_grads=True,
        )
        found.append(dict(zip(parameters, own, strict=True)))
    return found
