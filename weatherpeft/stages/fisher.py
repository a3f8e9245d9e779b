"""Stage ``fisher``: the Fisher warm-up, which finds how much the loss depends on every backbone weight."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from weatherpeft.backbones import AnyBackbone
from weatherpeft.fields.grid import Region
from weatherpeft.fields.regions import training_points
from weatherpeft.fields.variables import FieldSet
from weatherpeft.samples.splits import Split
from weatherpeft.spec import Count, Seed, Spec
from weatherpeft.tasks import AnyTask


class FisherSpec(Spec):
    """A model, a task and a number of calibration samples."""

    backbone: AnyBackbone
    """Backbone of the model."""
    fields: FieldSet
    """Variables that the model sees and declared placeholders."""
    task: AnyTask
    """Task whose loss is differentiated."""
    train: Split
    """Samples from which the calibration samples are drawn."""
    samples: Count
    """Number of calibration samples."""
    pretrained: bool
    """Whether the model starts from pretrained weights."""
    seed: Seed
    """Seed of the random weights and of the choice of samples."""
    precision: Literal["float32", "autocast"] = "float32"
    """Number format that the backbone computes in."""
    recompute: bool = False
    """Whether blocks are computed again in the backward pass."""
    held_out: tuple[Region, ...] = Field(default=(), exclude_if=lambda regions: not regions)
    """Regions whose targets do not count in the loss."""


def fisher(
    spec: FisherSpec,
    data: Sequence[Path],
    statistics: Path,
    output: Path,
    pretrained: Path | None = None,
    work: Path | None = None,
    forecasts: Sequence[Path] = (),
    time_budget_minutes: float | None = None,
) -> None:
    """Estimate the diagonal empirical Fisher information of the backbone on the task.

    If the forecasts of the task have several steps, it is that of the first step's loss.

    Args:
        spec: the model, the task and the number of samples.
        data: artifacts of the regrid stage that cover the training split.
        statistics: artifact of the statistics stage or, if the task corrects forecasts, of the
            standardization stage.
        output: artifact with ``fisher.zarr``, which has one array for each backbone parameter.
        pretrained: artifact or checkpoint with the pretrained weights, if the model starts from them.
        work: directory of the running estimate's sums, from which a retry goes on; by default they are not
            kept.
        forecasts: artifacts of the regrid stage with the forecasts that the task corrects.
        time_budget_minutes: minutes after which the job saves and exits with status 75, so that it can be run
            again.

    Raises:
        ValueError: the model starts from pretrained weights and none are given.

    Example:
        weatherpeft fisher --spec @fisher.json --data results/test/regridded/20010115-20010117
            --statistics results/test/statistics --pretrained results/test/pretrained
            --output results/test/fisher --work results/test/work
    """
    from contextlib import nullcontext

    from weatherpeft.samples.batch import Samples
    from weatherpeft.samples.counts import log_counts
    from weatherpeft.training.distributed import process_group, wait_for_all
    from weatherpeft.training.fisher import estimate_fisher
    from weatherpeft.training.interruption import Interruption
    from weatherpeft.training.loop import single_batches
    from weatherpeft.training.memory import save_memory
    from weatherpeft.training.tuning import build_model, task_loss
    from weatherpeft.training.unfinished import artifact, working

    if spec.pretrained and pretrained is None:
        raise ValueError("the Fisher information is of pretrained weights, but none are given")
    inputs = [*data, *forecasts, statistics, *([pretrained] if pretrained else [])]
    with (
        process_group() as device,
        Interruption(time_budget_minutes) as interruption,
        working(work, output, spec, __name__, inputs, interruption) if work else nullcontext() as running,
    ):
        frames = spec.task.training_window(1).frames(spec.fields, data, spec.train, forecasts)
        log_counts({"train": frames})
        samples = Samples(frames)
        start = pretrained if spec.pretrained else None
        model = build_model(spec.backbone, spec.fields, spec.task, spec.seed, start, statistics).to(device)
        save_memory(model, spec.precision, spec.recompute)
        points = training_points(spec.task.window.target_grid, spec.held_out)
        scale = spec.task.loss_scale(statistics, spec.fields.measured)
        loss = task_loss(spec.task, scale, device, points)
        batches = (batch.to(device) for batch in single_batches(samples, spec.samples, spec.seed))
        with artifact(output, spec, __name__, inputs, interruption) as directory:
            path = directory / "fisher.zarr"
            estimate_fisher(model, batches, loss, path, work=running, interruption=interruption)
        wait_for_all()
