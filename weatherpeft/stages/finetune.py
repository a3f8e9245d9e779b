"""Stage ``finetune``: training of a backbone on a task with a list of methods."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from weatherpeft.artifacts import store
from weatherpeft.artifacts.costs import COST
from weatherpeft.fields.regions import training_points
from weatherpeft.training.model import FinetuneSpec


def finetune(
    spec: FinetuneSpec,
    data: Sequence[Path],
    statistics: Path,
    output: Path,
    work: Path,
    pretrained: Path | None = None,
    fisher: Path | None = None,
    forecasts: Sequence[Path] = (),
    choice: Path | None = None,
    time_budget_minutes: float | None = None,
    checkpoint_minutes: float | None = None,
) -> None:
    """Train the encoder, the decoder and what the methods train in the backbone.

    Args:
        spec: the model, its methods and its training.
        data: artifacts of the regrid stage.
        statistics: artifact of the statistics stage or, if the task corrects forecasts, of the
            standardization stage.
        output: artifact with ``tuned.safetensors``, ``history.zarr``, ``cost.json`` and, if a method chooses
            at each step what it updates, ``updates.zarr``. Its record gives ``artifacts.costs.SIZES``.
        work: directory of the running training's checkpoints; a retry resumes from them.
        pretrained: artifact or checkpoint with the pretrained weights, if the run starts from them.
        fisher: artifact of the fisher stage, if a method needs it.
        forecasts: artifacts of the regrid stage with the forecasts that the task corrects.
        choice: artifact of the choose stage, if the spec has candidates.
        time_budget_minutes: minutes after which the job saves and exits with status 75, so that it can be run
            again.
        checkpoint_minutes: most minutes between two checkpoints, in addition to those of the spec.

    Example:
        weatherpeft finetune --spec @finetune.json
            --data results/test/regridded/20010115-20010117 results/test/regridded/20020115-20020116
            --statistics results/test/statistics --pretrained results/test/pretrained
            --fisher results/test/fisher --output results/test/runs/weatherpeft-seed0
            --work results/test/work --checkpoint-minutes 30
    """
    import json
    import logging
    from statistics import median

    from weatherpeft.samples.batch import Samples
    from weatherpeft.samples.counts import log_counts
    from weatherpeft.samples.rollout import Feedback
    from weatherpeft.training.checkpoint import save_tensors, tensor_bytes
    from weatherpeft.training.distributed import process_group, rank, ranks
    from weatherpeft.training.interruption import Interruption
    from weatherpeft.training.loop import train, write_kept
    from weatherpeft.training.memory import peak_memory
    from weatherpeft.training.rollout import Forecasts
    from weatherpeft.training.tuning import task_loss, tuned_model
    from weatherpeft.training.unfinished import working

    tuning = spec.chosen(store.read_provenance(choice) if choice else None)
    task, training = tuning.model.task, spec.training
    inputs = [*data, *forecasts, statistics, *(path for path in (pretrained, fisher, choice) if path)]
    with (
        process_group() as device,
        Interruption(time_budget_minutes) as interruption,
        working(work, output, spec, __name__, inputs, interruption) as running,
    ):
        training.check_processes(ranks())
        training.check_rollout(task.rollout_steps)
        fields = tuning.model.fields
        splits = {"train": spec.splits.train, "validation": spec.splits.validation}
        steps = {"train": training.rollout_steps, "validation": task.rollout_steps}
        frames = {
            name: task.training_window(steps[name]).frames(fields, data, own, forecasts)
            for name, own in splits.items()
        }
        samples = log_counts(frames)
        train_samples, validation_samples = map(Samples, frames.values())
        tuned = tuned_model(tuning.model, device, pretrained, training, fisher, statistics)
        counts = tuned.counts()
        facts: dict[str, Any] = {**counts, "samples": samples}
        if spec.candidates:
            facts["candidate"] = spec.candidates.index(tuning)
        logging.getLogger(__name__).info(
            "trainable_backbone %d, trainable_total %d",
            counts["trainable_backbone"],
            counts["trainable_total"],
        )
        points = training_points(task.window.target_grid, spec.held_out)
        scale = task.loss_scale(statistics, fields.measured)

        def keep(path: Path) -> None:
            save_tensors(tuned.result(), path)

        history = None
        try:
            history = train(
                tuned.model,
                tuned.dense_parameters(),
                tuned.adapters,
                train_samples,
                validation_samples,
                task_loss(task, scale, device, points, Forecasts(Feedback(fields), training.rollout)),
                training,
                tuning.model.seed,
                running,
                interruption,
                checkpoint_minutes,
                tuned.peaks(training.learning_rate, tuning.learning_rate),
                keep,
            )
        except FloatingPointError as error:
            if not spec.is_candidate:
                raise
            logging.getLogger(__name__).warning("the candidate drops out: %s", error)
            facts["diverged"] = str(error)
        if rank() == 0:
            varying = [COST] if history else []
            with store.artifact(output, spec, __name__, inputs, facts, varying) as directory:
                if history:
                    write_kept(keep, training, running, directory / "tuned.safetensors", history)
                    store.write_dataset(history.to_dataset(), directory / "history.zarr")
                    if (updates := tuned.updates()) is not None:
                        store.write_dataset(updates, directory / "updates.zarr")
                    cost = {
                        "seconds_per_step": median(history.seconds),
                        "peak_memory_bytes": peak_memory(device),
                    }
                    (directory / COST).write_text(json.dumps(cost, indent=1) + "\n")
                    facts["touched_backbone"] = sum(adapter.touched for adapter in tuned.adapters)
                    facts["adapter_bytes"] = sum(
                        size
                        for name, size in tensor_bytes(directory / "tuned.safetensors").items()
                        if not name.startswith(("encoder.", "decoder."))
                    )
