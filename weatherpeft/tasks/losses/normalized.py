"""Errors of fields in standard deviations of the training period."""

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from weatherpeft.samples.batch import Fields


def normalized_squared_error(
    prediction: "Fields", target: "Fields", scale: "Fields", surface_weight: float
) -> torch.Tensor:
    """Mean squared error of normalized fields: surface_weight · MSE(surface) + MSE(upper).

    Args:
        prediction: surface ``(batch, latitude, longitude)``, atmospheric ``(batch, level, latitude,
            longitude)`` each.
        target: true fields in the shapes of ``prediction``.
        scale: standard deviation of every variable that counts, surface ``()``, atmospheric
            ``(level, 1, 1)``. Variables that it lacks (placeholders) do not count.
        surface_weight: weight of the surface part.

    Returns:
        A scalar.

    Reference: WeatherPEFT, arXiv 2509.22020, downscaling experiment.
    """

    def part(
        predicted: dict[str, torch.Tensor], true: dict[str, torch.Tensor], by: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        errors = [((predicted[name] - true[name]) / by[name]).square().mean() for name in by]
        return torch.stack(errors).mean() if errors else torch.zeros(())

    upper = part(prediction.atmospheric, target.atmospheric, scale.atmospheric)
    return surface_weight * part(prediction.surface, target.surface, scale.surface).to(upper) + upper


def normalized_absolute_error(prediction: "Fields", target: "Fields", scale: "Fields") -> torch.Tensor:
    """Mean absolute error of normalized fields, every variable and level with equal weight.

    Args:
        prediction: predicted fields, any shapes.
        target: true fields in the shapes of ``prediction``.
        scale: standard deviation of every variable that counts, broadcastable to its field.

    Returns:
        A scalar.

    Reference: WeatherPEFT, arXiv 2509.22020, precipitation experiment.
    """
    errors = [
        ((predicted[name] - true[name]) / by[name]).abs()
        for predicted, true, by in (
            (prediction.surface, target.surface, scale.surface),
            (prediction.atmospheric, target.atmospheric, scale.atmospheric),
        )
        for name in by
    ]
    return torch.cat([error.flatten() for error in errors]).mean()
