"""Pretrain a small backbone, for experiments that bring their own planet."""

from collections.abc import Sequence
from pathlib import Path

from weatherpeft import store
from weatherpeft.backbones import AnyBackbone
from weatherpeft.spec import Spec
from weatherpeft.tasks import AnyTask
from weatherpeft.training.spec import Training
from weatherpeft.variables import FieldSet
from weatherpeft.window import Splits


class PretrainSpec(Spec):
    """A model, what it learns, and for how long."""

    backbone: AnyBackbone
    fields: FieldSet
    task: AnyTask
    splits: Splits
    training: Training
    seed: int


def pretrain(spec: PretrainSpec, data: Sequence[Path], statistics: Path, output: Path, work: Path) -> None:
    """Train a backbone from random weights on a pretraining task.

    Args:
        spec: the model and its training.
        data: artifacts of the regrid stage.
        statistics: artifact of the statistics stage.
        output: artifact with ``pretrained.ckpt``, in the upstream package's format, and ``history.zarr``.
        work: where checkpoints of the running training lie; a retry resumes from them.
    """
    import shutil

    from weatherpeft.batch import Samples
    from weatherpeft.normalization import training_scale
    from weatherpeft.training.loop import train
    from weatherpeft.training.tuning import task_loss, training_device

    task, device = spec.task, training_device()
    train_samples = Samples(task.window, spec.fields, data, spec.splits.train)
    validation_samples = Samples(task.window, spec.fields, data, spec.splits.validation)
    model = spec.backbone.build(spec.fields, task.lead_hours, task.residual, spec.seed).to(device)
    scale = training_scale(statistics, spec.fields.measured)
    inputs = [*data, statistics]
    running = work / store.artifact_key(spec, __name__, inputs)
    history = train(
        model,
        dict(model.named_parameters()),
        (),
        train_samples,
        validation_samples,
        task_loss(task, scale, device),
        spec.training,
        spec.seed,
        running,
    )
    parameters = {"parameters": sum(parameter.numel() for parameter in model.parameters())}
    with store.artifact(output, spec, __name__, inputs, parameters) as directory:
        model.save(directory / "pretrained.ckpt")
        store.write_dataset(history.to_dataset(), directory / "history.zarr")
    shutil.rmtree(running, ignore_errors=True)
