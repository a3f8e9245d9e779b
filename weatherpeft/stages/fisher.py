"""Fisher warm-up: how much the loss depends on every backbone weight."""

from collections.abc import Sequence
from pathlib import Path

from weatherpeft import store
from weatherpeft.backbones import AnyBackbone
from weatherpeft.spec import Spec
from weatherpeft.tasks import AnyTask
from weatherpeft.variables import FieldSet
from weatherpeft.window import Split


class FisherSpec(Spec):
    """A model, a task and a number of calibration samples."""

    backbone: AnyBackbone
    fields: FieldSet
    task: AnyTask
    train: Split
    samples: int
    pretrained: bool
    seed: int


def fisher(
    spec: FisherSpec,
    data: Sequence[Path],
    statistics: Path,
    output: Path,
    pretrained: Path | None = None,
    work: Path | None = None,
) -> None:
    """Estimate the diagonal empirical Fisher information of the pretrained backbone on the task.

    Args:
        spec: the model, the task and the number of samples.
        data: artifacts of the regrid stage that cover the training split.
        statistics: artifact of the statistics stage.
        output: artifact with ``fisher.zarr``, one array a backbone parameter.
        pretrained: artifact or checkpoint with the pretrained weights, where the model is pretrained.
        work: where the sums of the running estimate lie, from which a retry goes on; none by default.

    Raises:
        ValueError: if the model is to be a pretrained one and no weights are given.
    """
    import shutil

    from weatherpeft.batch import Samples
    from weatherpeft.normalization import training_scale
    from weatherpeft.training.fisher import estimate_fisher
    from weatherpeft.training.loop import single_batches
    from weatherpeft.training.tuning import build_model, task_loss, training_device

    if spec.pretrained and pretrained is None:
        raise ValueError("the Fisher information is of pretrained weights, but none are given")
    device = training_device()
    samples = Samples(spec.task.window, spec.fields, data, spec.train)
    model = build_model(
        spec.backbone, spec.fields, spec.task, spec.seed, pretrained if spec.pretrained else None
    )
    model = model.to(device)
    loss = task_loss(spec.task, training_scale(statistics, spec.fields.measured), device)
    inputs = [*data, statistics, *([pretrained] if pretrained else [])]
    running = work / store.artifact_key(spec, __name__, inputs) if work else None
    with store.artifact(output, spec, __name__, inputs) as directory:
        batches = (batch.to(device) for batch in single_batches(samples, spec.samples, spec.seed))
        estimate_fisher(model, batches, loss, directory / "fisher.zarr", work=running)
    if running:
        shutil.rmtree(running)
