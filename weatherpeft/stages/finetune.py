"""Fine-tune a backbone on a task with a list of methods."""

from collections.abc import Sequence
from pathlib import Path

from weatherpeft import store
from weatherpeft.spec import Spec
from weatherpeft.training.model import TunedModelSpec
from weatherpeft.training.spec import Training
from weatherpeft.window import Splits


class FinetuneSpec(Spec):
    """A model, its methods and its training."""

    model: TunedModelSpec
    splits: Splits
    training: Training


def finetune(
    spec: FinetuneSpec,
    data: Sequence[Path],
    statistics: Path,
    output: Path,
    work: Path,
    pretrained: Path | None = None,
    fisher: Path | None = None,
) -> None:
    """Train encoder, decoder and what the methods choose of the backbone.

    Args:
        spec: the model, its methods and its training.
        data: artifacts of the regrid stage.
        statistics: artifact of the statistics stage.
        output: artifact with ``tuned.safetensors`` and ``history.zarr``; its record gives
            ``trainable_backbone`` and ``trainable_total``.
        work: where checkpoints of the running training lie; a retry resumes from them.
        pretrained: artifact or checkpoint with the pretrained weights, where the run starts from them.
        fisher: artifact of the fisher stage, where a method asks for it.
    """
    import logging
    import shutil

    from weatherpeft.batch import Samples
    from weatherpeft.checkpoint import save_tensors
    from weatherpeft.normalization import training_scale
    from weatherpeft.training.loop import train
    from weatherpeft.training.tuning import task_loss, training_device, tuned_model

    device, task = training_device(), spec.model.task
    train_samples = Samples(task.window, spec.model.fields, data, spec.splits.train)
    validation_samples = Samples(task.window, spec.model.fields, data, spec.splits.validation)
    training = spec.training
    tuned = tuned_model(spec.model, device, pretrained, training.steps, fisher, training.accumulation)
    counts = tuned.counts()
    logging.getLogger(__name__).info(
        "trainable_backbone %d, trainable_total %d", counts["trainable_backbone"], counts["trainable_total"]
    )
    scale = training_scale(statistics, spec.model.fields.measured)
    inputs = [*data, statistics, *(path for path in (pretrained, fisher) if path)]
    running = work / store.artifact_key(spec, __name__, inputs)
    history = train(
        tuned.model,
        tuned.dense_parameters(),
        tuned.adapters,
        train_samples,
        validation_samples,
        task_loss(task, scale, device),
        training,
        spec.model.seed,
        running,
    )
    with store.artifact(output, spec, __name__, inputs, dict(counts)) as directory:
        save_tensors(tuned.result(), directory / "tuned.safetensors")
        store.write_dataset(history.to_dataset(), directory / "history.zarr")
    shutil.rmtree(running, ignore_errors=True)
