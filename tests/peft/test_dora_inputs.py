"""DoRA with a magnitude for each input, against its formula written densely in float64."""

import copy
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.backbones.small_aurora import CONTEXT, small_aurora
from tests.peft.toy_backbone import Toy, as_backbone, toy_batch, toy_loss
from weatherpeft.peft.adapters.composition import composed
from weatherpeft.peft.dora import Dora
from weatherpeft.peft.sfas.per_sample import GradientStream
from weatherpeft.peft.sfas.spec import Sfas

LAYER, RANK, SCALE = "encoder_layers.0.blocks.0.attn.qkv", 3, 2.0
METHOD = Dora(name="dora", rank=RANK, alpha=RANK * SCALE, magnitude="input")


class Dense:
    """y = W' x + b, where the columns of W' are those of V = W + 2 B A with norms of their own."""

    def __init__(self, layer: nn.Linear, parameters: dict[str, nn.Parameter]) -> None:
        self.weight, self.bias = layer.weight.detach().clone(), layer.bias.detach().clone()
        self.down, self.up, self.magnitude = (
            parameters[f"dora.{LAYER}.lora_{part}.weight"].detach().clone().requires_grad_()
            for part in ("A", "B", "magnitude_vector")
        )

    @property
    def trained(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.down, self.up, self.magnitude

    def weights(self) -> Tensor:
        updated = torch.stack(
            [
                column + SCALE * sum(self.up[:, k] * self.down[k, number] for k in range(RANK))
                for number, column in enumerate(self.weight.T)
            ],
            dim=1,
        )
        norms = (updated * updated).sum(0).sqrt().detach()  # a constant of the gradient: section 4.3
        return updated * (self.magnitude / norms)

    def __call__(self, x: Tensor) -> Tensor:
        return torch.einsum("oi,bi->bo", self.weights(), x) + self.bias


def attached() -> tuple[Any, Any, dict[str, nn.Parameter], Dense]:
    """A model in float64, its layer within DoRA and after some training, the parameters, and the formula."""
    model = small_aurora().double()
    pretrained = copy.deepcopy(model.backbone.get_submodule(LAYER))
    assert isinstance(pretrained, nn.Linear)
    parameters = METHOD.attach(model, CONTEXT).dense_parameters()
    place = f"dora.{LAYER}.lora_"
    torch.testing.assert_close(
        parameters[f"{place}magnitude_vector.weight"].detach(), (pretrained.weight**2).sum(0).sqrt().detach()
    )
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        up, magnitude = (parameters[f"{place}{part}.weight"] for part in ("B", "magnitude_vector"))
        up.copy_(torch.randn(up.shape, generator=generator, dtype=up.dtype))
        magnitude.mul_(1 + torch.rand(magnitude.shape, generator=generator, dtype=up.dtype))
    return model, model.backbone.get_submodule(LAYER), parameters, Dense(pretrained, parameters)


def inputs() -> Tensor:
    return torch.randn(7, 32, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def test_forward_and_gradients_are_those_of_the_formula() -> None:
    _, layer, parameters, dense = attached()
    x, other = inputs().requires_grad_(), inputs().requires_grad_()
    found, expected = layer(x), dense(other)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    (found**3).sum().backward()
    (expected**3).sum().backward()
    names = [f"dora.{LAYER}.lora_{part}.weight" for part in ("A", "B", "magnitude_vector")]
    for name, value in zip(names, dense.trained, strict=True):
        torch.testing.assert_close(parameters[name].grad, value.grad, rtol=1e-10, atol=1e-10)
        assert value.grad is not None and value.grad.any()
    torch.testing.assert_close(x.grad, other.grad, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("safe", [True, False])
def test_merged_weights_are_those_of_the_formula_and_come_back(safe: bool) -> None:
    _, layer, _, dense = attached()
    before, x = layer(inputs()), inputs()
    layer.merge(safe_merge=safe)
    torch.testing.assert_close(layer.base_layer.weight, dense.weights(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(layer(x), before, rtol=1e-12, atol=1e-12)
    layer.unmerge()
    torch.testing.assert_close(layer.base_layer.weight.detach(), dense.weight, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(layer(x), before, rtol=1e-12, atol=1e-12)


def test_it_can_be_copied_and_switched_off() -> None:
    model, layer, _, dense = attached()
    x = inputs()
    assert torch.equal(copy.deepcopy(model).backbone.get_submodule(LAYER)(x), layer(x))
    layer.enable_adapters(False)
    torch.testing.assert_close(layer(x), x @ dense.weight.T + dense.bias)


def test_the_samples_of_a_batch_stay_apart_for_sfas() -> None:
    """Also in the biases of its layers, which peft's own DoRA mixes."""
    model, batch = Toy(), toy_batch(0)
    parameters = model.backbone_parameters()
    trained = METHOD.model_copy(update={"targets": ("widen", "narrow"), "biases": False})
    own = trained.attach(as_backbone(model), CONTEXT).dense_parameters()
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.fill_(0.5 if "lora_B" in name else 1.5)
    for parameter in parameters.values():
        parameter.requires_grad_(True)
    called = {name: value for name, value in parameters.items() if not name.startswith("idle")}
    samples = [torch.autograd.grad(toy_loss(model, sample[None]), list(called.values())) for sample in batch]
    found: dict[str, tuple[Tensor, Tensor | None]] = {}

    def consume(name: str, gradient: Tensor, square: Tensor | None) -> None:
        found[name] = gradient, square

    with GradientStream(model.backbone, parameters, consume):
        toy_loss(model, batch).backward()
    assert found.keys() == called.keys()
    for number, name in enumerate(called):
        expected = torch.stack([sample[number] for sample in samples])
        gradient, square = found[name]
        torch.testing.assert_close(gradient, expected.mean(0), rtol=1e-12, atol=1e-15)
        torch.testing.assert_close(square, expected.square().mean(0), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(("magnitude", "biases", "allowed"), [
    ("output", True, True), ("output", False, False), ("input", True, True), ("input", False, True),
])  # fmt: skip
def test_what_sfas_can_follow(magnitude: Any, biases: bool, allowed: bool) -> None:
    method = Dora(name="dora", magnitude=magnitude, biases=biases)
    with nullcontext() if allowed else pytest.raises(ValueError, match="sfas needs the backbone's weights"):
        composed((method, Sfas(name="sfas")))
