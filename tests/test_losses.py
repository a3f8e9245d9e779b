import pytest
import torch

from weatherpeft.batch import Fields
from weatherpeft.losses import normalized_squared_error


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
