"""What a post-processed forecast has to beat: the ensemble as it is, and its statistical correction."""

import numpy as np

from weatherpeft.fields.variables import STD
from weatherpeft.samples.ensemble_frames import EnsembleFrames, moments_of
from weatherpeft.samples.predictions import Predict
from weatherpeft.verification.emos import Emos


def raw_ensemble(samples: EnsembleFrames) -> Predict:
    """Every member of a sample, ``(member, [level,] latitude, longitude)``, at the targets' levels."""

    def predicted(index: int) -> dict[str, np.ndarray]:
        return samples.at_target_levels(samples.forecast(samples.samples[index]))

    return predicted


def fitted_emos(training: EnsembleFrames, samples: EnsembleFrames) -> Predict:
    """A normal distribution for every target, by coefficients that each grid cell has of its own.

    Memory holds mean, spread and analysis of one target at all training samples, which are read once for
    each target.
    """
    fits = [_fit(training, place) for place in range(len(samples.ensemble.targets))]

    def predicted(index: int) -> dict[str, np.ndarray]:
        members = samples.at_target_levels(samples.forecast(samples.samples[index]))
        fields: dict[str, np.ndarray] = {}
        for name, values in members.items():
            pair = moments_of(values)
            fields |= {name: pair[0].copy(), f"{name}{STD}": pair[1].copy()}
        levels = samples.ensemble.variables.levels_hpa
        for target, fit in zip(samples.ensemble.targets, fits, strict=True):
            place = ... if target.level_hpa is None else levels.index(target.level_hpa)
            keys = (target.variable, f"{target.variable}{STD}")
            found = fit.predict(*(fields[key][place] for key in keys))
            for key, field in zip(keys, found, strict=True):
                fields[key][place] = field
        return fields

    return predicted


def _fit(training: EnsembleFrames, place: int) -> Emos:
    """Coefficients of one target."""
    parts = []
    for sample in training.samples:
        members = training.of_targets(training.forecast(sample))[:, place]
        parts.append((*moments_of(members), training.true_targets(sample)[place]))
    return Emos.fit(*(np.stack(each) for each in zip(*parts, strict=True)))
