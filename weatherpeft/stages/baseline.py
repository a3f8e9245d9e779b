"""Stage ``baseline``: predictions of the test period without a network."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from weatherpeft.artifacts import store
from weatherpeft.fields.variables import FieldSet, VariableSet
from weatherpeft.samples.ensemble_window import AnyWindow
from weatherpeft.samples.splits import Split
from weatherpeft.spec import Spec

Baseline = Literal["interpolation", "regression", "persistence", "climatology", "ensemble", "emos"]
AnyBaseline = Literal[Baseline, "pretrained"]
"""The same, and the pretrained model as it is, which the stage predict makes."""


class BaselineSpec(Spec):
    """A baseline and its samples."""

    baseline: Baseline
    """Name of the baseline."""
    fields: FieldSet
    """Variables of the samples and declared placeholders."""
    predicted: VariableSet
    """Variables that are written."""
    window: AnyWindow
    """Frames and grids of a sample."""
    train: Split
    """Samples that a baseline is fitted to."""
    test: Split
    """Samples that are predicted."""


def baseline(
    spec: BaselineSpec,
    data: Sequence[Path],
    output: Path,
    climatology: Path | None = None,
    forecasts: Sequence[Path] = (),
) -> None:
    """Predict every test sample with a baseline.

    Every method has to beat these predictions. ``interpolation`` is the last input frame on the target
    grid. ``regression`` corrects it with a slope and an intercept for every grid point and field. They are
    fitted to the training split by least squares. ``persistence`` is the last input frame, on the same grid.
    ``climatology`` is the mean of the training period at the target's hour and day of year. ``ensemble`` is
    the members of the forecasts. ``emos`` is a normal distribution from their mean and spread, fitted to the
    training split at every grid point.

    Args:
        spec: the baseline and its samples.
        data: artifacts of the regrid stage that cover the training and the test split.
        output: artifact with ``predictions.zarr``, in WeatherBench 2 names.
        climatology: artifact of the climatology stage, for the baseline climatology.
        forecasts: artifacts of the regrid stage with the forecasts of both splits, for the baselines ensemble
            and emos.

    Raises:
        ValueError: no climatology is given for the baseline ``climatology``.

    Example:
        weatherpeft baseline --spec @baseline.json
            --data results/test/regridded/20010115-20010117 results/test/regridded/20030115-20030116
            --output results/test/predictions/regression
    """
    from weatherpeft.artifacts.predictions import write_predictions
    from weatherpeft.baselines.registry import BASELINES, Material, numbers_of

    samples = spec.window.frames(spec.fields, data, spec.test, forecasts)
    material = Material(
        samples,
        lambda: spec.window.frames(spec.fields, data, spec.train, forecasts),
        spec.predicted,
        climatology,
    )
    predict = BASELINES[spec.baseline](material)
    numbers = numbers_of(spec.baseline, samples)
    inputs = [*data, *forecasts, *([climatology] if climatology else [])]
    with store.artifact(output, spec, __name__, inputs) as directory:
        write_predictions(predict, samples, spec.predicted, directory / "predictions.zarr", numbers)
