"""Stage ``pretrain``: pretraining of a small backbone, for experiments that bring their own planet."""

from collections.abc import Sequence
from pathlib import Path

from weatherpeft.artifacts import store
from weatherpeft.backbones import AnyBackbone
from weatherpeft.fields.variables import FieldSet
from weatherpeft.samples.splits import Splits
from weatherpeft.spec import Seed, Spec
from weatherpeft.tasks import AnyTask
from weatherpeft.training.spec import Training


class PretrainSpec(Spec):
    """A model, its pretraining task and its training."""

    backbone: AnyBackbone
    """Backbone that is pretrained."""
    fields: FieldSet
    """Variables that the model sees and declared placeholders."""
    task: AnyTask
    """Pretraining task."""
    splits: Splits
    """Samples of training, validation and test."""
    training: Training
    """Schedule of the training."""
    seed: Seed
    """Seed of the initial weights and of the order of the samples."""


def pretrain(
    spec: PretrainSpec,
    data: Sequence[Path],
    statistics: Path,
    output: Path,
    work: Path,
    time_budget_minutes: float | None = None,
    checkpoint_minutes: float | None = None,
) -> None:
    """Train a backbone from random weights on the pretraining task.

    Args:
        spec: the model, its task and its training.
        data: artifacts of the regrid stage.
        statistics: artifact of the statistics stage.
        output: artifact with ``pretrained.ckpt``, in the upstream package's format, and ``history.zarr``.
        work: directory of the running training's checkpoints; a retry resumes from them.
        time_budget_minutes: minutes after which the job saves and exits with status 75, so that it can be run
            again.
        checkpoint_minutes: most minutes between two checkpoints, in addition to those of the spec.

    Example:
        weatherpeft pretrain --spec @pretrain.json
            --data results/test/regridded/20010115-20010117 results/test/regridded/20020115-20020116
            --statistics results/test/statistics --output results/test/pretrained --work results/test/work
            --checkpoint-minutes 30
    """
    from weatherpeft.samples.batch import Samples
    from weatherpeft.samples.counts import log_counts
    from weatherpeft.samples.rollout import Feedback
    from weatherpeft.training.distributed import process_group, rank, ranks
    from weatherpeft.training.interruption import Interruption
    from weatherpeft.training.loop import train, write_kept
    from weatherpeft.training.memory import save_memory
    from weatherpeft.training.rollout import Forecasts
    from weatherpeft.training.tuning import build_model, task_loss
    from weatherpeft.training.unfinished import working

    task, training = spec.task, spec.training
    inputs = [*data, statistics]
    with (
        process_group() as device,
        Interruption(time_budget_minutes) as interruption,
        working(work, output, spec, __name__, inputs, interruption) as running,
    ):
        training.check_processes(ranks())
        training.check_rollout(task.rollout_steps)
        splits = {"train": spec.splits.train, "validation": spec.splits.validation}
        steps = {"train": training.rollout_steps, "validation": task.rollout_steps}
        frames = {
            name: task.training_window(steps[name]).frames(spec.fields, data, own)
            for name, own in splits.items()
        }
        counts = log_counts(frames)
        train_samples, validation_samples = map(Samples, frames.values())
        model = build_model(spec.backbone, spec.fields, task, spec.seed, None, statistics).to(device)
        save_memory(model, training.precision, training.recompute)
        scale = task.loss_scale(statistics, spec.fields.measured)
        history = train(
            model,
            dict(model.named_parameters()),
            (),
            train_samples,
            validation_samples,
            task_loss(task, scale, device, forecasts=Forecasts(Feedback(spec.fields), training.rollout)),
            training,
            spec.seed,
            running,
            interruption,
            checkpoint_minutes,
            keep=model.save,
        )
        if rank() == 0:
            parameters = sum(parameter.numel() for parameter in model.parameters())
            facts = {"parameters": parameters, "samples": counts}
            with store.artifact(output, spec, __name__, inputs, facts) as directory:
                write_kept(model.save, training, running, directory / "pretrained.ckpt", history)
                store.write_dataset(history.to_dataset(), directory / "history.zarr")
