"""The loss of rollouts and its gradients, against loops written by hand."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor

from tests.backbones.small_aurora import FIELDS, small_aurora, small_batch
from weatherpeft.backbones.aurora.model import AuroraBackbone
from weatherpeft.samples.batch import Batch, Fields
from weatherpeft.samples.rollout import Feedback
from weatherpeft.training.rollout import Forecasts
from weatherpeft.training.spec import Rollout, Training

STEPS = 3
FEEDBACK = Feedback(FIELDS)
BACKPROPAGATION = Rollout(steps=STEPS, gradient="backpropagation")
PUSHFORWARD = Rollout(steps=STEPS, gradient="pushforward")


def error(prediction: Fields, target: Fields) -> Tensor:
    scales = {"geopotential": 1e4}
    pairs = [(prediction.surface[name], field, 20.0) for name, field in target.surface.items()]
    pairs += [
        (prediction.atmospheric[name], field, scales.get(name, 20.0))
        for name, field in target.atmospheric.items()
    ]
    return torch.stack([((one - other) / scale).square().mean() for one, other, scale in pairs]).mean()


@pytest.fixture(scope="module")
def batch() -> Batch:
    """Two samples in float64, with targets of three times."""
    own = small_batch()
    later = tuple(own.target.map(partial(torch.add, other=number)) for number in range(1, STEPS))
    return replace(own, lead_hours=(6, 6), later=later).map(Tensor.double)


@pytest.fixture
def model() -> AuroraBackbone:
    return small_aurora().double().requires_grad_(True)


def gradients(model: AuroraBackbone, loss: Tensor) -> dict[str, Tensor]:
    named = dict(model.named_parameters())
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(named, found, strict=True))


def plain(model: AuroraBackbone, batch: Batch) -> list[Tensor]:
    """The loss of each step, with all gradients and nothing computed again."""
    losses = []
    for target in (batch.target, *batch.later):
        forecast = model(batch)
        losses.append(error(forecast, target))
        batch = FEEDBACK(batch, forecast)
    return losses


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert any(value.any() for value in expected.values())
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-14, msg=name)


def test_backpropagation_is_autograd_through_all_steps(model: AuroraBackbone, batch: Batch) -> None:
    calls: list[bool] = []
    model.backbone.register_forward_pre_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    loss = Forecasts(FEEDBACK, BACKPROPAGATION).loss(model, batch, error)
    assert len(calls) == STEPS
    found = gradients(model, loss)
    assert len(calls) == STEPS + STEPS - 1, "all steps but the last are computed again"
    expected = torch.stack(plain(model, batch)).mean()
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    assert_same(found, gradients(model, expected))


def test_a_rollout_keeps_the_activations_of_one_step(model: AuroraBackbone, batch: Batch) -> None:
    def kept(length: int) -> int:
        """Bytes that autograd keeps for the backward pass, of rollouts of some steps."""
        sizes: list[int] = []

        def pack(tensor: Tensor) -> Tensor:
            sizes.append(tensor.nbytes)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            Forecasts(FEEDBACK).loss(model, replace(batch, later=batch.later[: length - 1]), error)
        return sum(sizes)

    one, three = kept(1), kept(STEPS)
    assert three < 1.2 * one


def test_pushforward_has_the_gradient_of_the_last_step(model: AuroraBackbone, batch: Batch) -> None:
    loss = Forecasts(FEEDBACK, PUSHFORWARD).loss(model, batch, error)
    with torch.no_grad():
        before = batch
        for _ in range(STEPS - 1):
            before = FEEDBACK(before, model(before))
    expected = error(model(before), batch.later[-1])
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    found = gradients(model, loss)
    assert_same(found, gradients(model, expected))
    through = gradients(model, plain(model, batch)[-1])
    name = max(through, key=lambda name: float(through[name].abs().max()))
    assert not torch.allclose(found[name], through[name], rtol=1e-3), "back-propagation is something else"


def test_without_gradients_the_loss_is_the_mean_of_all_steps(model: AuroraBackbone, batch: Batch) -> None:
    """So that validation losses of all trainings of a task are comparable."""
    with torch.no_grad():
        expected = torch.stack(plain(model, batch)).mean()
        for rollout in (PUSHFORWARD, BACKPROPAGATION, None):
            found = Forecasts(FEEDBACK, rollout).loss(model, batch, error)
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


def test_a_training_without_a_rollout_is_written_as_before() -> None:
    training = Training(steps=1, learning_rate=1.0)
    assert training.rollout_steps == 1 and "rollout" not in training.model_dump()
    training.check_rollout(1)


def test_a_rollout_longer_than_the_forecasts_is_refused() -> None:
    training = Training(steps=1, learning_rate=1.0, rollout=PUSHFORWARD)
    training.check_rollout(STEPS)
    with pytest.raises(ValueError, match="rollout: found 3 steps, expected at most the 2 of the task's"):
        training.check_rollout(STEPS - 1)
