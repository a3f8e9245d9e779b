"""Activations that are computed again: the same bits, less kept."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from weatherpeft.peft.sfas.recompute import RecomputedActivations


class Block(nn.Module):
    """A residual block, as transformers have it."""

    def __init__(self, activation: nn.Module, dropout: float = 0.0) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 24), nn.Linear(24, 6)
        self.activation, self.dropout = activation, nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = x + self.second(self.dropout(self.activation(self.first(x))))
        return hidden


class Blocks(nn.Sequential):
    """Three blocks."""

    def __init__(self, activation: type[nn.Module] = nn.GELU, dropout: float = 0.0) -> None:
        torch.manual_seed(0)
        super().__init__(*(Block(activation(), dropout) for _ in range(3)))

    @property
    def activations(self) -> list[nn.Module]:
        return [block.activation for block in self if isinstance(block, Block)]


@contextmanager
def kept_bytes() -> Iterator[list[int]]:
    """Sizes of the tensors that autograd keeps by itself."""
    sizes: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        sizes.append(tensor.nbytes)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield sizes


def gradients(model: nn.Module, shape: tuple[int, ...] = (2, 5, 6)) -> list[Tensor]:
    torch.manual_seed(1)
    x = torch.randn(shape, requires_grad=True)
    loss = model(x).square().mean()
    found = torch.autograd.grad(loss, [x, *model.parameters()])
    return [loss.detach(), *found]


@pytest.mark.parametrize("activation", [nn.GELU, nn.ReLU, nn.SiLU])
@pytest.mark.parametrize("shape", [(2, 5, 6), (7, 6)])
def test_gradients_are_the_same_bits(activation: type[nn.Module], shape: tuple[int, ...]) -> None:
    plain, again = Blocks(activation), Blocks(activation)
    calls = [0]
    RecomputedActivations(again)
    again.activations[0].register_forward_hook(lambda *_: calls.__setitem__(0, calls[0] + 1))
    for one, other in zip(gradients(plain, shape), gradients(again, shape), strict=True):
        assert torch.equal(one, other)
    assert calls == [2], "computed once forward and once backward"


def test_outputs_are_not_kept() -> None:
    model = Blocks()
    outputs: list[Tensor] = []
    for activation in model.activations:
        activation.register_forward_hook(lambda _, __, output: outputs.append(output))
    recomputed = RecomputedActivations(model)
    kept: list[Any] = []
    pack = recomputed._pack
    recomputed._pack = lambda tensor: kept.append(pack(tensor)) or kept[-1]  # type: ignore[func-returns-value, method-assign]
    model(torch.randn(2, 5, 6)).sum()
    held = {each.tensor.data_ptr() for each in kept}
    assert len(outputs) == 3 and not held & {output.data_ptr() for output in outputs}


def test_a_dropped_or_changed_output_is_kept_as_it_is() -> None:
    class Changing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.activation, self.last = nn.Linear(6, 6), nn.GELU(), nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            hidden = self.activation(self.first(x))
            hidden *= 2
            result: Tensor = self.last(hidden)
            return result

    torch.manual_seed(0)
    plain = Changing()
    expected = gradients(plain)
    RecomputedActivations(plain)
    for one, other in zip(gradients(plain), expected, strict=True):
        assert torch.equal(one, other)
    dropping, again = Blocks(dropout=0.5), Blocks(dropout=0.5)
    RecomputedActivations(again)
    for one, other in zip(gradients(dropping), gradients(again), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("part", ["first rows", "transposed"])
def test_a_view_that_is_not_the_output_is_kept_as_it_is(part: str) -> None:
    """Both begin where the output does; of the second, only the order of the entries is another."""

    class Viewing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.activation, self.last = nn.Linear(6, 6), nn.GELU(), nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            if part == "first rows":
                result: Tensor = self.last(self.activation(self.first(x))[:2])
                return result
            hidden = self.activation(self.first(x).T).T
            assert hidden.is_contiguous()
            result = self.last(hidden)
            return result

    torch.manual_seed(0)
    plain = Viewing()
    expected = gradients(plain, (5, 6))
    RecomputedActivations(plain)
    for one, other in zip(gradients(plain, (5, 6)), expected, strict=True):
        assert torch.equal(one, other)


def test_under_activation_checkpointing_and_without_gradients() -> None:
    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = Blocks()

        def forward(self, x: Tensor) -> Tensor:
            for block in self.blocks:
                x = checkpoint(block, x, use_reentrant=False)
            return x

    expected = gradients(Blocks())
    model = Checkpointed()
    RecomputedActivations(model)
    for one, other in zip(gradients(model), expected, strict=True):
        assert torch.equal(one, other)
    with torch.no_grad():
        assert not model(torch.randn(2, 5, 6)).requires_grad
    with kept_bytes() as sizes:
        nn.Linear(6, 6)(torch.randn(2, 6))
    assert sizes, "hooks are left when the module is"


def test_hooks_are_left_when_the_module_fails() -> None:
    class Failing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("no")

    model = Failing()
    RecomputedActivations(model)
    with pytest.raises(RuntimeError, match="no"):
        model(torch.zeros(1, requires_grad=True))
    with kept_bytes() as outer:
        (torch.ones(2, requires_grad=True) * torch.ones(2)).sum()
    assert outer


def test_a_tensor_changed_in_place_after_it_was_kept_is_refused() -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.GELU(), nn.Linear(6, 6))
    RecomputedActivations(model)
    seen: list[Tensor] = []
    model[1].register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    loss = model(torch.randn(2, 6)).sum()
    with torch.no_grad():
        seen[0].mul_(2)
    with pytest.raises(RuntimeError, match="modified in place"):
        loss.backward()
