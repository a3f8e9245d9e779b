"""Predict the test period without a network."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from weatherpeft.artifacts import store
from weatherpeft.fields.variables import FieldSet, VariableSet
from weatherpeft.samples.window import Split, Window
from weatherpeft.spec import Spec

if TYPE_CHECKING:
    import numpy as np

    from weatherpeft.samples.frames import SampleFrames

Baseline = Literal["interpolation", "regression", "persistence", "climatology", "ensemble", "emos"]


class BaselineSpec(Spec):
    """A baseline and its samples."""

    baseline: Baseline
    fields: FieldSet
    predicted: VariableSet
    """What is written."""
    window: Window
    train: Split
    test: Split


def baseline(
    spec: BaselineSpec,
    data: Sequence[Path],
    output: Path,
    climatology: Path | None = None,
    forecasts: Sequence[Path] = (),
) -> None:
    """Write predictions that every method has to beat.

    ``interpolation`` is the last input frame on the target grid. ``regression`` corrects it with a slope
    and an intercept of its own for every grid point and field, fitted by least squares to the training
    split. ``persistence`` is the last input frame, on the same grid. ``climatology`` is the training period's
    mean of the target's hour and day of year. ``ensemble`` are the members of the forecasts; ``emos`` is a
    normal distribution from their mean and spread, fitted to the training split at every grid point.

    Args:
        spec: which baseline and which samples.
        data: artifacts of the regrid stage that cover the training and the test split.
        output: artifact with ``predictions.zarr``, in WeatherBench 2 names.
        climatology: artifact of the climatology stage, for the baseline of this name.
        forecasts: artifacts of the regrid stage with the forecasts of both splits, for the last two.

    Raises:
        ValueError: no climatology is given for the baseline of this name.
    """
    import numpy as np

    from weatherpeft.artifacts.climatology import ClimatologyReader
    from weatherpeft.samples.ensemble_frames import EnsembleFrames, frames_of
    from weatherpeft.samples.frames import SampleFrames
    from weatherpeft.samples.predictions import Predict, write_predictions
    from weatherpeft.verification.baselines import fitted_emos, raw_ensemble

    samples = frames_of(spec.window, spec.fields, data, spec.test, forecasts)

    def interpolated(index: int) -> dict[str, np.ndarray]:
        return samples.inputs(samples.samples[index])[-1]

    predicted: Predict = interpolated
    numbers: list[int] = []
    if isinstance(samples, EnsembleFrames):
        if spec.baseline == "ensemble":
            numbers, predicted = samples.members, raw_ensemble(samples)
        else:
            training = EnsembleFrames(spec.window, spec.fields, data, spec.train, forecasts)
            predicted = fitted_emos(training, samples)

    elif spec.baseline == "regression":
        slope, intercept = _fit(SampleFrames(spec.window, spec.fields, data, spec.train))

        def predicted(index: int) -> dict[str, np.ndarray]:
            fields = interpolated(index)
            return {name: (slope[name] * fields[name] + intercept[name]).astype(np.float32) for name in slope}

    elif spec.baseline == "climatology":
        if climatology is None:
            raise ValueError("the baseline climatology needs a climatology, and none is given")
        reader = ClimatologyReader(climatology, spec.window.target_grid)

        def predicted(index: int) -> dict[str, np.ndarray]:
            sample = samples.samples[index]
            valid = sample.time + np.timedelta64(sample.lead_hours, "h")
            names = (*spec.predicted.surface, *spec.predicted.atmospheric)
            return {name: reader.read(name, valid) for name in names}

    inputs = [*data, *forecasts, *([climatology] if climatology else [])]
    with store.artifact(output, spec, __name__, inputs) as directory:
        write_predictions(predicted, samples, spec.predicted, directory / "predictions.zarr", numbers)


def _fit(samples: "SampleFrames") -> tuple[dict[str, "np.ndarray"], dict[str, "np.ndarray"]]:
    """Least squares of target on interpolated input at every grid point: slope and intercept by name.

    Where the input does not vary the slope is 1, so that only the mean is corrected.
    """
    import numpy as np

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
