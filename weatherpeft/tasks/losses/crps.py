"""Continuous ranked probability score of normal distributions, as a loss."""

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from weatherpeft.samples.batch import Fields


def weighted_crps(mean: "Fields", sigma: "Fields", target: "Fields", weights: "Fields") -> torch.Tensor:
    """Sum over variables and levels of weight · mean CRPS of N(mean, sigma²), in physical units.

    Args:
        mean: surface ``(batch, latitude, longitude)``, atmospheric ``(batch, level, latitude, longitude)``.
        sigma: standard deviations, not negative, in the shapes of ``mean``.
        target: true fields in the shapes of ``mean``.
        weights: weight of every variable that counts, surface ``()``, atmospheric ``(level, 1, 1)``. A level
            that does not count has weight 0.

    Returns:
        A scalar.

    Reference: WeatherPEFT, arXiv 2509.22020, post-processing experiment.
    """
    parts = [
        weights.surface[name]
        * gaussian_crps(mean.surface[name], sigma.surface[name], target.surface[name]).mean()
        for name in weights.surface
    ]
    for name, weight in weights.atmospheric.items():
        score = gaussian_crps(mean.atmospheric[name], sigma.atmospheric[name], target.atmospheric[name])
        parts.append((weight.flatten() * score.mean(dim=(0, 2, 3))).sum())
    return torch.stack(parts).sum()


def gaussian_crps(mean: torch.Tensor, sigma: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Continuous ranked probability score of N(mean, sigma²), finite with finite gradients for any sigma ≥ 0.

    The score is homogeneous in (error, sigma). By Euler's theorem it is error · ∂/∂error + sigma · ∂/∂sigma.
    Both derivatives are bounded functions of error / sigma and enter as constants. Value and gradient are
    exact, and the backward pass divides nothing by sigma. Second derivatives are not available.

    Args:
        mean: means, any shape.
        sigma: standard deviations in the shape of ``mean``.
        target: true values in the shape of ``mean``.

    Returns:
        Scores in the shape of ``mean``, in the units of ``target``.

    Reference: Gneiting et al. 2005, doi:10.1175/MWR2904.1.
    """
    error = target - mean
    with torch.no_grad():
        standardized = (error / sigma.clamp(min=torch.finfo(sigma.dtype).tiny)).clamp(-1e4, 1e4)
        by_error = torch.erf(standardized / math.sqrt(2))
        by_sigma = math.sqrt(2 / math.pi) * torch.exp(-standardized.square() / 2) - 1 / math.sqrt(math.pi)
    return error * by_error + sigma * by_sigma
