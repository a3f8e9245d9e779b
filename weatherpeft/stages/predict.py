"""Predict the test period with a tuned model."""

from collections.abc import Sequence
from pathlib import Path

from weatherpeft import store
from weatherpeft.spec import Spec
from weatherpeft.training.model import TunedModelSpec
from weatherpeft.window import Split


class PredictSpec(Spec):
    """A tuned model and the samples to predict."""

    model: TunedModelSpec
    test: Split


def predict(
    spec: PredictSpec, data: Sequence[Path], run: Path, output: Path, pretrained: Path | None = None
) -> None:
    """Write predictions of every test sample.

    Args:
        spec: the model and the samples.
        data: artifacts of the regrid stage that cover the test split.
        run: artifact of the finetune stage.
        output: artifact with ``predictions.zarr``, in WeatherBench 2 names.
        pretrained: what the run started from.
    """
    import numpy as np
    import torch

    from weatherpeft.batch import Samples
    from weatherpeft.checkpoint import load_tensors
    from weatherpeft.predictions import write_predictions
    from weatherpeft.training.tuning import training_device, tuned_model

    device = training_device()
    samples = Samples(spec.model.task.window, spec.model.fields, data, spec.test)
    tuned = tuned_model(spec.model, device, pretrained)
    tuned.load_result(load_tensors(run / "tuned.safetensors"))
    model = tuned.model.eval()

    @torch.inference_mode()
    def predicted(index: int) -> dict[str, np.ndarray]:
        fields = model(samples.batch([index]).to(device))
        return {name: field[0].cpu().numpy() for name, field in (fields.surface | fields.atmospheric).items()}

    inputs = [*data, run, *([pretrained] if pretrained else [])]
    with store.artifact(output, spec, __name__, inputs) as directory:
        write_predictions(predicted, samples, directory / "predictions.zarr")
