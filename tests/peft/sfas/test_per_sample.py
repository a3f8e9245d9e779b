"""Per-sample squares of one backward pass against backward passes of their own."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tests.backbones.small_aurora import loss, small_aurora, small_batch
from tests.peft.toy_backbone import Toy, sample_gradients, toy_batch, toy_loss
from weatherpeft.backbones.aurora.model import AuroraBackbone
from weatherpeft.peft.sfas.per_sample import GradientStream
from weatherpeft.samples.batch import Batch, Fields
from weatherpeft.samples.rollout import in_rollout

Found = dict[str, tuple[Tensor, Tensor]]


def streamed(
    model: Toy | AuroraBackbone, parameters: dict[str, nn.Parameter], backward: Callable[[], None]
) -> Found:
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
    model.replace(lambda forward, tokens: checkpoint(forward, tokens, use_reentrant=reentrant))
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


def two_steps(model: Toy, batch: Tensor, again: bool) -> Tensor:
    """The loss of two steps, of which the second sees what the first has made; a mean over the samples."""

    def step(inputs: Tensor) -> Tensor:
        with in_rollout("two steps"):
            return model(inputs)

    inputs, target = batch[..., :3], batch[..., 3:]
    first = checkpoint(step, inputs, use_reentrant=False) if again else step(inputs)
    second = step(torch.cat([inputs[..., 2:], first], -1))
    return (first - target).square().mean() + (second - 2 * target).square().mean()


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("size", [1, 3])
def test_a_rollout_is_one_sum_for_each_sample(size: int, again: bool) -> None:
    model, batch = Toy(), toy_batch(0, size)
    parameters = model.backbone_parameters()
    found = streamed(model, parameters, lambda: two_steps(model, batch, again).backward())
    del parameters["idle.weight"]
    assert found.keys() == parameters.keys()
    own = [
        torch.autograd.grad(two_steps(model, sample[None], False), list(parameters.values()))
        for sample in batch
    ]
    for name, *samples in zip(parameters, *own, strict=True):
        expected = torch.stack(samples)
        gradient, square = found[name]
        torch.testing.assert_close(gradient, expected.mean(0), rtol=1e-12, atol=1e-15)
        torch.testing.assert_close(square, expected.square().mean(0), rtol=1e-12, atol=1e-15)


def test_two_rollouts_in_one_backward_pass_are_refused() -> None:
    model, batch = Toy(), toy_batch(0)

    def both() -> None:
        losses = []
        for rollout in ("one", "other"):
            with in_rollout(rollout):
                losses.append(toy_loss(model, batch))
        sum(losses, torch.zeros(())).backward()

    with pytest.raises(ValueError, match="found several forward passes of the backbone in one backward"):
        streamed(model, model.backbone_parameters(), both)


class TestSeveralForwardPasses:
    """Which samples a gradient is of is a matter of its own forward pass, whatever came after it."""

    model: Toy
    stream: GradientStream
    found: Found

    @pytest.fixture(autouse=True, params=["plain", "checkpointed"])
    def attached(self, request: pytest.FixtureRequest) -> Iterator[None]:
        self.model, self.found = Toy(), {}
        if request.param == "checkpointed":
            self.model.replace(lambda forward, tokens: checkpoint(forward, tokens, use_reentrant=False))
        self.model.backbone.requires_grad_(True)
        parameters = self.model.backbone_parameters()
        with GradientStream(self.model.backbone, parameters, self.consume) as self.stream:
            yield

    def consume(self, name: str, gradient: Tensor, square: Tensor | None) -> None:
        assert name not in self.found
        self.found[name] = gradient, gradient.square() if square is None else square

    def loss(self, step: int, size: int) -> Tensor:
        return toy_loss(self.model, toy_batch(step, size))

    def assert_found(self, step: int, size: int) -> None:
        """Gradients and squares are those of a batch."""
        samples = sample_gradients(self.model, toy_batch(step, size))
        assert self.found.keys() == samples[0].keys() - {"idle.weight"}
        for name, (gradient, square) in self.found.items():
            expected = torch.stack([sample[name] for sample in samples])
            torch.testing.assert_close(gradient, expected.mean(0), rtol=1e-12, atol=1e-15)
            torch.testing.assert_close(square, expected.square().mean(0), rtol=1e-12, atol=1e-15)
        self.found = {}

    @pytest.mark.parametrize("sizes", [(2, 3), (3, 2), (3, 3), (1, 4), (4, 1)])
    def test_one_without_a_backward_pass_changes_nothing(self, sizes: tuple[int, int]) -> None:
        for first, then in (sizes, sizes[::-1]):
            own, _ = self.loss(0, first), self.loss(1, then)  # say, a validation that forgets no_grad
            own.backward()
            assert self.stream.batch_size == first
            self.assert_found(0, first)

    @pytest.mark.parametrize("sizes", [(2, 3), (3, 3), (1, 4), (4, 1)])
    @pytest.mark.parametrize("order", [(0, 1), (1, 0)])
    def test_each_may_have_its_own_backward_pass(
        self, sizes: tuple[int, int], order: tuple[int, int]
    ) -> None:
        losses = [self.loss(step, size) for step, size in enumerate(sizes)]
        for step in order:
            losses[step].backward()
            self.assert_found(step, sizes[step])

    @pytest.mark.parametrize("sizes", [(2, 3), (3, 2), (3, 3), (1, 4), (4, 1), (1, 1)])
    def test_two_in_one_backward_pass_are_refused(self, sizes: tuple[int, int]) -> None:
        both = self.loss(0, sizes[0]) + self.loss(1, sizes[1])
        with pytest.raises(ValueError, match="found several forward passes of the backbone in one backward"):
            both.backward()
        self.found = {}
        self.model.zero_grad()
        self.loss(2, 3).backward()
        self.assert_found(2, 3)

    @pytest.mark.parametrize("size", [1, 3])
    def test_squares_that_are_wanted_too_late_are_refused(self, size: int) -> None:
        self.stream.squares = False
        early = self.loss(0, size)
        self.stream.squares = True
        with pytest.raises(ValueError, match="squared gradients are wanted now, but were not when"):
            early.backward()

    @pytest.mark.parametrize("size", [1, 3])
    def test_squares_that_are_not_wanted_any_more_are_still_right(self, size: int) -> None:
        own = self.loss(0, size)
        self.stream.squares = False
        own.backward()
        self.assert_found(0, size)

    def test_a_backward_pass_that_fails_leaves_nothing(self) -> None:
        handle = self.model.backbone.condition.weight.register_hook(lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            self.loss(0, 3).backward()
        handle.remove()
        self.found = {}
        self.model.zero_grad()
        self.loss(1, 3).backward()
        self.assert_found(1, 3)


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
        scale = nn.Parameter(torch.ones(()))
        model.backbone.register_parameter("scale", scale)
        model.replace(lambda forward, tokens: forward(tokens) * scale)
        parameters = model.backbone_parameters()
        streamed(model, parameters, lambda: toy_loss(model, toy_batch(0, 1)).backward())
        with pytest.raises(
            ValueError, match="parameter scale belongs to neither .* a batch of 2, expected 1"
        ):
            streamed(model, parameters, lambda: toy_loss(model, toy_batch(0, 2)).backward())

    def test_a_weight_used_outside_its_layer(self) -> None:
        model = Toy()
        model.replace(lambda forward, tokens: forward(tokens) @ model.backbone.condition.weight)
        parameters = model.backbone_parameters()
        with pytest.raises(ValueError, match="condition.weight is used outside its layer"):
            streamed(model, parameters, lambda: toy_loss(model, toy_batch(0, 2)).backward())

    @pytest.mark.parametrize("shape", [(5, 4), (1, 5, 4)])
    def test_inputs_without_a_batch(self, shape: tuple[int, ...]) -> None:
        model = Toy()
        shared = torch.ones(shape, dtype=torch.float64)
        model.replace(lambda forward, tokens: forward(tokens) + model.backbone.condition(shared).mean())
        parameters = model.backbone_parameters()
        with pytest.raises(ValueError, match=r"layer condition: found inputs .* expected the batch of 2"):
            streamed(model, parameters, lambda: toy_loss(model, toy_batch(0, 2)).backward())


def test_aurora_has_no_layer_without_a_rule() -> None:
    model = small_aurora()
    found = streamed(model, model.backbone_parameters(), lambda: loss(model, small_batch(2)).backward())
    assert found.keys() == model.backbone_parameters().keys()
