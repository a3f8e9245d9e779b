"""Stage ``predict``: predictions of the test period by a tuned model."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from weatherpeft.artifacts import store
from weatherpeft.samples.splits import Split
from weatherpeft.spec import Spec
from weatherpeft.training.model import TunedModelSpec, Tuning, chosen
from weatherpeft.training.spec import Precision


class PredictSpec(Spec):
    """A tuned model and the samples to predict."""

    model: TunedModelSpec
    """Backbone, task and methods."""
    candidates: tuple[Tuning, ...] = Field(default=(), exclude_if=lambda candidates: not candidates)
    """Candidates of the run, of which its record names the one that takes the place of ``model``."""
    test: Split
    """Samples that are predicted."""
    precision: Precision = "float32"
    """Number format that the backbone computes in."""


def predict(
    spec: PredictSpec,
    data: Sequence[Path],
    statistics: Path,
    output: Path,
    run: Path | None = None,
    pretrained: Path | None = None,
    forecasts: Sequence[Path] = (),
) -> None:
    """Predict every test sample with a tuned model, or with a pretrained one as it is.

    If the forecasts of the task have several steps, each is made from the one before.

    Args:
        spec: the model and the samples.
        data: artifacts of the regrid stage that cover the test split.
        statistics: artifact of the statistics stage or, if the task corrects forecasts, of the
            standardization stage.
        output: artifact with ``predictions.zarr``, in WeatherBench 2 names.
        run: artifact of the finetune stage, if the model has methods.
        pretrained: artifact or checkpoint with the pretrained weights, if the run started from them.
        forecasts: artifacts of the regrid stage with the forecasts that the task corrects.

    Raises:
        ValueError: the model has methods and no run is given, or the other way round.

    Example:
        weatherpeft predict --spec @predict.json --data results/test/regridded/20030115-20030116
            --statistics results/test/statistics --run results/test/runs/full-seed0
            --pretrained results/test/pretrained --output results/test/predictions/full-seed0
    """
    from weatherpeft.artifacts.predictions import create_predictions, fill_predictions
    from weatherpeft.samples.batch import Samples
    from weatherpeft.training.checkpoint import load_tensors
    from weatherpeft.training.distributed import process_group, rank, ranks, wait_for_all
    from weatherpeft.training.prediction import predictor
    from weatherpeft.training.tuning import tuned_model
    from weatherpeft.training.unfinished import artifact

    if bool(spec.model.methods) != (run is not None):
        raise ValueError("a run is that of a model with methods; expected both or neither")
    inputs = [*data, *forecasts, statistics, *(path for path in (run, pretrained) if path)]
    tuning = chosen(spec.candidates, Tuning(model=spec.model), store.read_provenance(run) if run else None)
    with process_group() as device:
        predicted_variables = spec.model.task.predicted(spec.model.fields.measured)
        frames = spec.model.task.window.frames(spec.model.fields, data, spec.test, forecasts)
        samples = Samples(frames)
        tuned = tuned_model(tuning.model, device, pretrained, precision=spec.precision, statistics=statistics)
        if run:
            tuned.load_result(load_tensors(run / "tuned.safetensors"))
        predicted = predictor(tuned.model, samples, spec.model.task.rollout_steps > 1)
        with artifact(output, spec, __name__, inputs) as directory:
            path = directory / "predictions.zarr"
            if rank() == 0:
                create_predictions(frames, predicted_variables, path)
            wait_for_all()
            bounds = [len(samples) * number // ranks() for number in (rank(), rank() + 1)]
            fill_predictions(predicted, frames, predicted_variables, path, range(*bounds))
            wait_for_all()
