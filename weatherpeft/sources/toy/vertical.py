"""The vertical: a reference profile, and the step from three layers and a tracer level to every pressure."""

import numpy as np

from weatherpeft.sources.toy.spectral import Array

GRAVITY = 9.80665
"""In m/s²."""
GAS_CONSTANT = 287.05
"""Gas constant of dry air in J/kg/K."""
HIGHEST_HPA = 200
LOWEST_HPA = 1000

_REFERENCE_HPA = np.array([200, 250, 500, 700, 850, 925, 1000])
_REFERENCE_KELVIN = np.array([217.5, 222.0, 253.5, 270.5, 279.0, 283.0, 287.0])
_REFERENCE_HEIGHT_500 = 5640.0

_TRACER_HPA = np.array([500, 700, 850, 925])
_TRACER_SHARE = np.array([0.0, 0.45, 1.0, 1.1])

_UPPER, _LOWER = np.log(200 / 500), np.log(800 / 500)


def depth(pressure_hpa: float | Array) -> Array:
    """The vertical coordinate: the logarithm of pressure over 500 hPa."""
    return np.log(np.asarray(pressure_hpa) / 500)


def reference_temperature(pressure_hpa: float) -> float:
    """Temperature of the reference profile in kelvin, linear in the logarithm of pressure."""
    return float(np.interp(depth(pressure_hpa), depth(_REFERENCE_HPA), _REFERENCE_KELVIN))


def reference_height(pressure_hpa: float) -> float:
    """Hydrostatic height of the reference profile in meters; 5640 m at 500 hPa."""
    thickness = _integral(depth(_REFERENCE_HPA), _REFERENCE_KELVIN, float(depth(pressure_hpa)))
    return _REFERENCE_HEIGHT_500 - GAS_CONSTANT / GRAVITY * thickness


def layer_weights(pressure_hpa: float) -> tuple[Array, Array]:
    """Weights of the three layers in the streamfunction at a pressure, and in its derivative.

    The streamfunction is quadratic in ``depth`` between the layers at 200, 500 and 800 hPa, and linear
    below, so that the vertical shear is continuous.

    Returns:
        Weights for ``ψ`` and for ``∂ψ/∂ln p``, each ``(layer,)``.
    """
    shear_upper = np.array([1.0, -1.0, 0.0]) / _UPPER
    shear_lower = np.array([0.0, 1.0, -1.0]) / -_LOWER
    middle_upper, middle_lower = _UPPER / 2, _LOWER / 2
    bend = (shear_lower - shear_upper) / (middle_lower - middle_upper)
    position = float(depth(pressure_hpa))
    inside = min(position, float(_LOWER))
    shear = shear_upper + bend * (inside - middle_upper)
    value = np.array([0.0, 1.0, 0.0]) + shear_upper * inside + bend * (inside**2 / 2 - middle_upper * inside)
    return value + shear * (position - inside), shear


def tracer_share(pressure_hpa: float) -> float:
    """Share of the temperature anomaly, which is advected at 850 hPa, at a pressure."""
    return float(np.interp(depth(pressure_hpa), depth(_TRACER_HPA), _TRACER_SHARE))


def tracer_thickness(pressure_hpa: float) -> float:
    """Integral of ``tracer_share`` over ``ln p`` from 500 hPa; 0 above that level."""
    return _integral(depth(_TRACER_HPA), _TRACER_SHARE, float(depth(pressure_hpa)))


def saturation_humidity(temperature: Array, pressure_hpa: float) -> Array:
    """Saturation specific humidity in kg/kg (Bolton 1980, Mon. Wea. Rev. 108, equation 10)."""
    vapor = 6.112 * np.exp(17.67 * (temperature - 273.15) / (temperature - 29.65))
    return 0.622 * vapor / (pressure_hpa - 0.378 * vapor)


def _integral(nodes: Array, values: Array, end: float) -> float:
    """Integral from 0 to ``end`` of a piecewise linear function that is constant beyond its nodes."""
    low, high = min(0.0, end), max(0.0, end)
    points = np.unique(np.concatenate([[low, high], nodes[(nodes > low) & (nodes < high)]]))
    size = np.trapezoid(np.interp(points, nodes, values), points)
    return float(size if end >= 0 else -size)
