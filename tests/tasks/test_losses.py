import math

import numpy as np
import pytest
import scoringrules
import torch

from weatherpeft.samples.batch import Fields
from weatherpeft.tasks.losses.crps import gaussian_crps, weighted_crps
from weatherpeft.tasks.losses.normalized import normalized_absolute_error, normalized_squared_error


def fields(surface: dict[str, float], upper: dict[str, float]) -> Fields:
    return Fields(
        {name: torch.full((2, 4, 8), value) for name, value in surface.items()},
        {name: torch.full((2, 3, 4, 8), value) for name, value in upper.items()},
    )


def test_value_by_hand():
    prediction, target = fields({"a": 1.0, "b": 3.0}, {"c": 2.0}), fields({"a": 0.0, "b": 1.0}, {"c": 0.0})
    scale = Fields({"a": torch.tensor(1.0), "b": torch.tensor(2.0)}, {"c": torch.full((3, 1, 1), 4.0)})
    # surface: mean of 1² and 1²; upper: (2/4)²
    assert normalized_squared_error(prediction, target, scale, 0.25).item() == pytest.approx(0.25 * 1 + 0.25)


def test_what_has_no_scale_stays_out():
    prediction, target = (
        fields({"a": 5.0, "placeholder": 9.0}, {"c": 1.0}),
        fields({"a": 5.0, "placeholder": 0.0}, {"c": 1.0}),
    )
    scale = Fields({"a": torch.tensor(1.0)}, {"c": torch.ones(3, 1, 1)})
    assert normalized_squared_error(prediction, target, scale, 0.25).item() == 0
    assert normalized_squared_error(prediction, target, Fields({}, scale.atmospheric), 0.25).item() == 0
    assert normalized_absolute_error(prediction, target, scale).item() == 0


def test_absolute_error_by_hand():
    prediction, target = fields({"a": 1.0, "b": -3.0}, {"c": 2.0}), fields({"a": 0.0, "b": 1.0}, {"c": 0.0})
    scale = Fields({"a": torch.tensor(0.5), "b": torch.tensor(2.0)}, {})
    assert normalized_absolute_error(prediction, target, scale).item() == pytest.approx((2 + 2) / 2)
    levels = torch.tensor([1.0, 2.0, 4.0])[:, None, None]
    # five fields of equal weight, three of them levels
    found = normalized_absolute_error(prediction, target, Fields(scale.surface, {"c": levels}))
    assert found.item() == pytest.approx((2 + 2 + 2 + 1 + 0.5) / 5)


def test_crps_is_that_of_scoringrules():
    random = np.random.default_rng(0)
    mean, target = 280 + 5 * random.normal(size=(2, 1000))
    sigma = random.gamma(2, 1, 1000)
    expected = scoringrules.crps_normal(target, mean, sigma)
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-4)):
        found = gaussian_crps(*(torch.tensor(each, dtype=dtype) for each in (mean, sigma, target)))
        assert found.dtype == dtype
        np.testing.assert_allclose(found, expected, atol=tolerance)


def test_gradient_of_crps_by_finite_differences_and_closed_form():
    random = torch.Generator().manual_seed(0)
    mean, target = torch.randn((2, 50), generator=random, dtype=torch.float64)
    sigma = torch.rand(50, generator=random, dtype=torch.float64) + 0.05
    inputs = [each.clone().requires_grad_() for each in (mean, sigma, target)]
    assert torch.autograd.gradcheck(gaussian_crps, inputs)
    gaussian_crps(*inputs).sum().backward()
    normal = torch.distributions.Normal(0, 1)
    standardized = (target - mean) / sigma
    torch.testing.assert_close(inputs[0].grad, 1 - 2 * normal.cdf(standardized))
    density = normal.log_prob(standardized).exp()
    torch.testing.assert_close(inputs[1].grad, 2 * density - 1 / math.sqrt(math.pi))


@pytest.mark.parametrize("sigma", [0.0, 1e-45, 1e-38, 1e-20, 1e-6])
@pytest.mark.parametrize("error", [0.0, 1e-30, 3.0, -5e4])
def test_crps_without_spread_is_the_absolute_error_with_a_bounded_gradient(sigma: float, error: float):
    mean = torch.tensor([1.0]).requires_grad_()
    spread = torch.tensor([sigma]).requires_grad_()
    score = gaussian_crps(mean, spread, torch.tensor([1 + error]))
    score.sum().backward()
    assert score.item() == pytest.approx(abs(error), rel=1e-6, abs=1e-6)
    assert mean.grad is not None and spread.grad is not None
    true_error = (torch.tensor([1 + error]) - 1).item()
    if true_error:
        assert mean.grad.item() == pytest.approx(-math.copysign(1, true_error))
        assert spread.grad.item() == pytest.approx(-1 / math.sqrt(math.pi), rel=1e-6)
    assert abs(mean.grad.item()) <= 1 and abs(spread.grad.item()) <= 1


def test_crps_through_an_exponential_that_underflows():
    """The model's spread is exp(output) · s."""
    output = torch.tensor([-200.0, -80.0, 0.0, 80.0]).requires_grad_()
    gaussian_crps(torch.zeros(4), output.exp() * 2, torch.ones(4)).sum().backward()
    assert output.grad is not None
    assert torch.isfinite(output.grad).all() and output.grad[0] == 0 and output.grad[3] > 0


def test_weights_by_variable_and_level():
    random = torch.Generator().manual_seed(1)

    def draw(shift: float) -> Fields:
        surface = {name: torch.rand((2, 4, 8), generator=random) + shift for name in ("2t", "10u", "msl")}
        upper = {name: torch.rand((2, 2, 4, 8), generator=random) + shift for name in ("z", "t", "q")}
        return Fields(surface, upper)

    mean, sigma, target = draw(0), draw(0.1), draw(0.5)
    weights = Fields(
        {"2t": torch.tensor(14.0), "10u": torch.tensor(7.0)},
        {"z": torch.tensor([0.1, 0.0])[:, None, None], "t": torch.tensor([0.0, 8.0])[:, None, None]},
    )

    def crps(name: str, level: int | None = None) -> float:
        parts = [
            (each.surface if level is None else each.atmospheric)[name] for each in (mean, sigma, target)
        ]
        mu, spread, true = ((part if level is None else part[:, level]).double().numpy() for part in parts)
        return scoringrules.crps_normal(true, mu, spread).mean()

    expected = 14 * crps("2t") + 7 * crps("10u") + 0.1 * crps("z", 0) + 8 * crps("t", 1)
    assert weighted_crps(mean, sigma, target, weights).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("deviation", [4e-8, 1e-12, 1e-19])
def test_small_variances_do_not_leave_float32(deviation: float) -> None:
    """Humidity at 50 hPa varies by 4e-8. The square of 1e-19 is below what float32 holds exactly."""
    prediction = fields({"a": 5 * deviation}, {"q": 7 * deviation})
    target = fields({"a": 2 * deviation}, {"q": 3 * deviation})
    scale = Fields({"a": torch.tensor(deviation)}, {"q": torch.full((3, 1, 1), deviation)})
    field = prediction.atmospheric["q"].requires_grad_()
    loss = normalized_squared_error(prediction, target, scale, 0.25)
    loss.backward()
    assert loss.item() == pytest.approx(0.25 * 9 + 16, rel=1e-5)
    assert field.grad is not None
    expected = 2 * 4 / (deviation * field.numel())
    torch.testing.assert_close(field.grad, torch.full_like(field, expected), rtol=1e-5, atol=0)
    assert normalized_absolute_error(prediction, target, scale).item() == pytest.approx(15 / 4, rel=1e-5)
