"""Per-sample squares of one backward pass against backward passes of their own."""

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tests.backbones.small_aurora import loss, small_aurora, small_batch
from tests.peft.toy_backbone import Toy, sample_gradients, toy_batch, toy_loss
from weatherpeft.peft.sfas.per_sample import GradientStream
from weatherpeft.samples.batch import Batch, Fields

Found = dict[str, tuple[Tensor, Tensor]]


def streamed(model: nn.Module, parameters: dict[str, nn.Parameter], backward: object) -> Found:
    """Gradient and mean square by name, from one call of ``backward``."""
    found: Found = {}
    for parameter in parameters.values():
        parameter.requires_grad_(True)

    def consume(name: str, gradient: Tensor, square: Tensor | None) -> None:
        assert name not in found
        assert all(parameter.grad is None for parameter in parameters.values())
        found[name] = gradient, gradient.square() if square is None else square

    with GradientStream(model.backbone, parameters, consume):
        backward()
    assert all(parameter.grad is None for parameter in parameters.values())
    return found


@pytest.mark.parametrize("size", [1, 2, 3])
def test_squares_are_taken_per_sample(size: int) -> None:
    model = Toy()
    batch = toy_batch(0, size)
    found = streamed(model, model.backbone_parameters(), lambda: toy_loss(model, batch).backward())
    samples = sample_gradients(model, batch)
    assert found.keys() == samples[0].keys() - {"idle.weight"}
    for name, (gradient, square) in found.items():
        expected = torch.stack([sample[name] for sample in samples])
        torch.testing.assert_close(gradient, expected.mean(0), rtol=1e-12, atol=1e-15)
        torch.testing.assert_close(square, expected.square().mean(0), rtol=1e-12, atol=1e-15)
        if size > 1:
            assert not torch.allclose(square, expected.mean(0).square(), rtol=0.1)


def one_sample(batch: Batch, index: int) -> Batch:
    def pick(fields: Fields) -> Fields:
        return Fields(
            {name: field[index : index + 1] for name, field in fields.surface.items()},
            {name: field[index : index + 1] for name, field in fields.atmospheric.items()},
        )

    return Batch(
        pick(batch.inputs),
        batch.static,
        pick(batch.target),
        batch.times[:1],
        batch.latitude,
        batch.longitude,
        batch.levels_hpa,
    )


def test_on_aurora() -> None:
    """Shifted windows, patch merging and splitting; every layer keeps the batch slowest."""
    model, batch = small_aurora(depth=2), small_batch(2)
    batch.target.surface.clear()  # the loss must be a mean over samples: scale it by a constant
    deviation = {name: field.std() for name, field in batch.target.atmospheric.items()}

    def mean_loss(part: Batch) -> Tensor:
        prediction = model(part).atmospheric
        errors = [
            (prediction[name] - part.target.atmospheric[name]) / scale for name, scale in deviation.items()
        ]
        return torch.stack(errors).square().mean()

    parameters = model.backbone_parameters()
    found = streamed(model, parameters, lambda: mean_loss(batch).backward())
    assert found.keys() == parameters.keys()
    own = [
        torch.autograd.grad(mean_loss(one_sample(batch, index)), list(parameters.values()))
        for index in (0, 1)
    ]
    for name, *samples in zip(parameters, *own, strict=True):
        expected = torch.stack(samples)
        gradient, square = found[name]
        for one, other in ((gradient, expected.mean(0)), (square, expected.square().mean(0))):
            assert float(other.norm()) > 0, name
            assert float((one - other).norm() / other.norm()) < 1e-3, name


@pytest.mark.parametrize("reentrant", [False, True])
def test_under_activation_checkpointing(reentrant: bool) -> None:
    model, batch = Toy(), toy_batch(0)
    plain = streamed(model, model.backbone_parameters(), lambda: toy_loss(model, batch).backward())
    forward = model.backbone.forward
    model.backbone.forward = lambda tokens: checkpoint(forward, tokens, use_reentrant=reentrant)
    found = streamed(model, model.backbone_parameters(), lambda: toy_loss(model, batch).backward())
    assert found.keys() == plain.keys()
    for name, pair in found.items():
        assert all(torch.equal(one, other) for one, other in zip(pair, plain[name], strict=True))


def test_under_autocast() -> None:
    model, batch = Toy(torch.float32), toy_batch(0, dtype=torch.float32)

    def backward() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            value = toy_loss(model, batch)
        value.backward()

    exact = streamed(model, model.backbone_parameters(), lambda: toy_loss(model, batch).backward())
    for name, pair in streamed(model, model.backbone_parameters(), backward).items():
        for one, other in zip(pair, exact[name], strict=True):
            assert one.dtype == torch.float32
            assert float((one - other).norm() / other.norm()) < 0.1


def test_other_parameters_get_their_own_gradients() -> None:
    model, batch = Toy(), toy_batch(0)
    parameters = model.backbone_parameters()
    weights = {name: parameter for name, parameter in parameters.items() if name.endswith("weight")}
    biases = {name: parameter for name, parameter in parameters.items() if name.endswith("bias")}
    for bias in biases.values():
        bias.requires_grad_(True)
    streamed(model, weights, lambda: toy_loss(model, batch).backward())
    samples = sample_gradients(model.requires_grad_(True), batch)
    for name, bias in biases.items():
        expected = torch.stack([sample[name] for sample in samples]).mean(0)
        torch.testing.assert_close(bias.grad, expected, rtol=1e-12, atol=1e-15)
    assert model.encoder.weight.grad is not None and model.decoder.weight.grad is not None


def test_layers_and_outputs_are_left_as_they_were() -> None:
    model, batch = Toy().requires_grad_(True), toy_batch(0)
    classes = [type(module) for module in model.modules()]
    names = [name for name, _ in model.named_parameters()]
    expected = toy_loss(model, batch)
    with GradientStream(model.backbone, model.backbone_parameters(), lambda *_: None):
        assert torch.allclose(toy_loss(model, batch), expected, rtol=1e-14)
        assert [name for name, _ in model.named_parameters()] == names
    assert [type(module) for module in model.modules()] == classes
    assert not any("_stream" in module.__dict__ for module in model.modules())


class TestErrors:
    def test_a_parameter_of_another_layer(self) -> None:
        model = Toy()
        model.backbone.scale = nn.Parameter(torch.ones(()))
        forward = model.backbone.forward
        model.backbone.forward = lambda tokens: forward(tokens) * model.backbone.scale
        parameters = model.backbone_parameters()
        streamed(model, parameters, lambda: toy_loss(model, toy_batch(0, 1)).backward())
        with pytest.raises(
            ValueError, match="parameter scale belongs to neither .* a batch of 2, expected 1"
        ):
            streamed(model, parameters, lambda: toy_loss(model, toy_batch(0, 2)).backward())

    def test_a_weight_used_outside_its_layer(self) -> None:
        model = Toy()
        forward = model.backbone.forward
        model.backbone.forward = lambda tokens: forward(tokens) @ model.backbone.condition.weight
        parameters = model.backbone_parameters()
        with pytest.raises(ValueError, match="condition.weight is used outside its layer"):
            streamed(model, parameters, lambda: toy_loss(model, toy_batch(0, 2)).backward())

    @pytest.mark.parametrize("shape", [(5, 4), (1, 5, 4)])
    def test_inputs_without_a_batch(self, shape: tuple[int, ...]) -> None:
        model = Toy()
        forward = model.backbone.forward
        shared = torch.ones(shape, dtype=torch.float64)
        model.backbone.forward = lambda tokens: forward(tokens) + model.backbone.condition(shared).mean()
        parameters = model.backbone_parameters()
        with pytest.raises(ValueError, match=r"layer condition: found inputs .* expected the batch of 2"):
            streamed(model, parameters, lambda: toy_loss(model, toy_batch(0, 2)).backward())


def test_aurora_has_no_layer_without_a_rule() -> None:
    model = small_aurora()
    found = streamed(model, model.backbone_parameters(), lambda: loss(model, small_batch(2)).backward())
    assert found.keys() == model.backbone_parameters().keys()
