"""The baselines by name: how each predicts a sample."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from weatherpeft.artifacts.predictions import Predict
from weatherpeft.baselines.emos import Emos
from weatherpeft.climatology.reader import ClimatologyReader
from weatherpeft.fields.variables import STD, VariableSet
from weatherpeft.samples.ensemble_frames import EnsembleFrames, moments_of
from weatherpeft.samples.frames import SampleFrames


@dataclass(frozen=True)
class Material:
    """The data that a baseline may use.

    Attributes:
        samples: samples to predict.
        training: opens the samples of the training split.
        predicted: variables that are written.
        climatology: artifact of the climatology stage, if there is one.
    """

    samples: SampleFrames
    training: Callable[[], SampleFrames]
    predicted: VariableSet
    climatology: Path | None = None


def last_input(material: Material) -> Predict:
    """The last input frame on the target grid: interpolation, or persistence if both grids are the same."""
    samples = material.samples
    return lambda index: samples.inputs(samples.samples[index])[-1]


def regression(material: Material) -> Predict:
    """The last input frame, corrected with a slope and an intercept for every grid point and field.

    Slope and intercept are fitted to the training split by least squares.
    """
    slope, intercept = _line(material.training())
    interpolated = last_input(material)

    def predicted(index: int) -> dict[str, np.ndarray]:
        fields = interpolated(index)
        return {name: (slope[name] * fields[name] + intercept[name]).astype(np.float32) for name in slope}

    return predicted


def climatology(material: Material) -> Predict:
    """The mean of the training period at the target's hour and day of year.

    Raises:
        ValueError: there is no climatology.
    """
    if material.climatology is None:
        raise ValueError("the baseline climatology needs a climatology, and none is given")
    samples, variables = material.samples, material.predicted
    reader = ClimatologyReader(material.climatology, samples.window.target_grid)

    def predicted(index: int) -> dict[str, np.ndarray]:
        sample = samples.samples[index]
        valid = sample.time + np.timedelta64(sample.lead_hours, "h")
        return {name: reader.read(name, valid) for name in (*variables.surface, *variables.atmospheric)}

    return predicted


def raw_ensemble(material: Material) -> Predict:
    """Every member of a sample, ``(member, [level,] latitude, longitude)``, at the targets' levels.

    Raises:
        TypeError: the samples are not ensemble forecasts.
    """
    samples = _forecasts(material.samples)
    return lambda index: samples.at_target_levels(samples.forecast(samples.samples[index]))


def emos(material: Material) -> Predict:
    """A normal distribution for every target, with coefficients for every grid cell.

    The coefficients are fitted to the training split (see ``baselines.emos``). Memory holds mean, spread
    and analysis of one target at all training samples, which are read once for each target.

    Raises:
        TypeError: the samples are not ensemble forecasts.
    """
    training, samples = _forecasts(material.training()), _forecasts(material.samples)
    targets, levels = samples.ensemble.targets, samples.ensemble.variables.levels_hpa
    fits = [_emos_of(training, place) for place in range(len(targets))]

    def predicted(index: int) -> dict[str, np.ndarray]:
        members = samples.at_target_levels(samples.forecast(samples.samples[index]))
        fields: dict[str, np.ndarray] = {}
        for name, values in members.items():
            pair = moments_of(values)
            fields |= {name: pair[0].copy(), f"{name}{STD}": pair[1].copy()}
        for target, fit in zip(targets, fits, strict=True):
            place = ... if target.level_hpa is None else levels.index(target.level_hpa)
            keys = (target.variable, f"{target.variable}{STD}")
            found = fit.predict(*(fields[key][place] for key in keys))
            for key, field in zip(keys, found, strict=True):
                fields[key][place] = field
        return fields

    return predicted


BASELINES: dict[str, Callable[[Material], Predict]] = {
    "interpolation": last_input,
    "regression": regression,
    "persistence": last_input,
    "climatology": climatology,
    "ensemble": raw_ensemble,
    "emos": emos,
}
"""Baselines by their name in a configuration."""


def numbers_of(baseline: str, samples: SampleFrames) -> list[int]:
    """Numbers of the members if a baseline predicts members; empty for all others.

    Raises:
        TypeError: the baseline predicts members and the samples are not ensemble forecasts.
    """
    return _forecasts(samples).members if BASELINES[baseline] is raw_ensemble else []


def _forecasts(samples: SampleFrames) -> EnsembleFrames:
    if not isinstance(samples, EnsembleFrames):
        raise TypeError("this baseline is made of ensemble forecasts, found samples of analyses")
    return samples


def _emos_of(training: EnsembleFrames, place: int) -> Emos:
    """Fit the coefficients of one target."""
    parts = []
    for sample in training.samples:
        members = training.of_targets(training.forecast(sample))[:, place]
        parts.append((*moments_of(members), training.true_targets(sample)[place]))
    return Emos.fit(*(np.stack(each) for each in zip(*parts, strict=True)))


def _line(samples: SampleFrames) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Least-squares fit of the target to the interpolated input at every grid point.

    If the input does not vary, the slope is 1, so that only the mean is corrected.

    Returns:
        Slope and intercept by name, ``([level,] latitude, longitude)`` each.
    """
    names = (*samples.fields.measured.surface, *samples.fields.measured.atmospheric)
    count = 0
    mean: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    spread: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for sample in samples.samples:
        count += 1
        inputs, target = samples.inputs(sample)[-1], samples.target(sample)
        for name in names:
            x, y = inputs[name].astype(np.float64), target[name].astype(np.float64)
            x_mean, y_mean = mean.get(name, (np.zeros_like(x), np.zeros_like(y)))
            x_squares, products = spread.get(name, (np.zeros_like(x), np.zeros_like(x)))
            x_step = x - x_mean
            x_mean, y_mean = x_mean + x_step / count, y_mean + (y - y_mean) / count
            mean[name] = (x_mean, y_mean)
            spread[name] = (x_squares + x_step * (x - x_mean), products + x_step * (y - y_mean))
    slope = {
        name: np.divide(products, squares, out=np.ones_like(products), where=squares > 0)
        for name, (squares, products) in spread.items()
    }
    return slope, {name: y - slope[name] * x for name, (x, y) in mean.items()}
