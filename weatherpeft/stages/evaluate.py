"""Stage ``evaluate``: scores of predictions against the target data."""

from collections.abc import Sequence
from pathlib import Path

from weatherpeft.artifacts import store
from weatherpeft.spec import Spec
from weatherpeft.verification.scoring import AnyScoring


class EvaluateSpec(Spec):
    """The scoring of predictions."""

    scoring: AnyScoring
    """Fields, grid and lead times that are scored."""


def evaluate(
    spec: EvaluateSpec,
    data: Sequence[Path],
    predictions: Path,
    output: Path,
    climatology: Path | None = None,
    efi: Path | None = None,
) -> None:
    """Score forecasts at every time, lead time and member.

    Args:
        spec: fields, grid and lead times.
        data: artifacts of the regrid stage that cover the predicted times.
        predictions: artifact with ``predictions.zarr``, or anybody's Zarr store in WeatherBench 2's layout
            (see ``artifacts.forecasts``).
        output: artifact with ``scores.zarr``. ``rmse`` and ``bias`` have dims ``([member,] time,
            [prediction_timedelta,] channel)``. ``acc``, against a climatology, has the same dims. For sums of
            precipitation, ``seeps`` has no channels, and ``contingency`` has ``(forecast, observed)`` in
            their place. Distributions and ensembles have the scores of ``verification.ensemble``. If parts
            of the grid are scored, ``regions.zarr`` holds their scores, with a dim ``region`` before the
            others.
        climatology: artifact of the climatology stage, if variables are compared with it.
        efi: artifact of the efi stage, if the forecasts are distributions or ensembles.

    Raises:
        ValueError: predictions and data do not share a variable, level, time, lead time, member or grid, a
            prediction is not finite, or a climatology or index is needed and not given. The message names it.

    Example:
        weatherpeft evaluate --spec @evaluate.json --data results/test/regridded/20030115-20030116
            --predictions results/test/predictions/full-seed0 --output results/test/scores/full-seed0
    """
    from weatherpeft.verification.scores import scores_of

    stores = scores_of(spec.scoring, data, predictions, climatology, efi)
    inputs = [*data, predictions, *(path for path in (climatology, efi) if path)]
    with store.artifact(output, spec, __name__, inputs) as directory:
        for name, scores in stores.items():
            store.write_dataset(scores, directory / name)
