"""The training loop, the same for pretraining and for every method."""

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import nn

from weatherpeft.artifacts.manifest import DamagedError
from weatherpeft.interfaces import Adapter, Backbone
from weatherpeft.samples.batch import Batch, Samples
from weatherpeft.training.best import Keep, check_best, copy_best, remove_best, write_best
from weatherpeft.training.checkpoint import NEWEST, OLDER, Checkpoint, read_checkpoint, save_checkpoint
from weatherpeft.training.distributed import GradientMean, check_same, gather, rank, ranks, sum_over_ranks
from weatherpeft.training.interruption import Interrupted, Interruption
from weatherpeft.training.optimizer import Peaks, optimizer_of
from weatherpeft.training.optimizer import learning_rate as learning_rate
from weatherpeft.training.spec import Training

Loss = Callable[[Backbone, Batch], torch.Tensor]
_log = logging.getLogger(__name__)


@dataclass
class History:
    """Curves of a run.

    Attributes:
        train_loss: training loss of every step.
        validation_step: numbers of steps after which the model was validated.
        validation_loss: mean loss of the validation samples at these steps.
        seconds: time of every step without validation and checkpoint, which is no part of the curves.
        kept: SHA-256 of the best weights so far, in the process that writes them.
    """

    train_loss: list[float] = field(default_factory=list)
    validation_step: list[int] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list, compare=False, repr=False)
    kept: str = field(default="", compare=False, repr=False)

    @property
    def best(self) -> float:
        """Smallest validation loss; infinity where there is none."""
        return min(self.validation_loss, default=math.inf)

    def to_dataset(self) -> xr.Dataset:
        """Curves with dims ``step`` and ``validation_step``."""
        return xr.Dataset(
            {
                "train_loss": ("step", np.asarray(self.train_loss, dtype=np.float64)),
                "validation_loss": ("validation_step", np.asarray(self.validation_loss, dtype=np.float64)),
            },
            coords={
                "step": np.arange(1, len(self.train_loss) + 1),
                "validation_step": np.asarray(self.validation_step, dtype=np.int64),
            },
        )


def train(
    model: Backbone,
    dense: dict[str, nn.Parameter],
    adapters: Sequence[Adapter],
    samples: Samples,
    validation: Samples,
    loss: Loss,
    training: Training,
    seed: int,
    work: Path,
    interruption: Interruption | None = None,
    checkpoint_minutes: float | None = None,
    peaks: Peaks | None = None,
    keep: Keep | None = None,
) -> History:
    """Train a model in place, in one process or in several.

    The result is a function of the arguments. A killed training that is called again with the same ``work``
    directory goes on from its last checkpoint and ends with the same weights. Where that one is damaged, it
    goes on from the one before or begins anew. It may go on in another number of processes. Results of
    different numbers of processes are the same except for rounding.

    Args:
        model: model on its device.
        dense: every parameter that AdamW trains, by name.
        adapters: methods that update further parameters.
        samples: training samples; their order is a function of the seed.
        validation: validation samples.
        loss: loss of a model on a batch.
        training: schedule.
        seed: seed of the order of the samples.
        work: directory of the checkpoints, of this training alone and the same for all processes.
        interruption: tells whether to stop before the last step; by default never.
        checkpoint_minutes: age of the last checkpoint in minutes after which another one is written.
        peaks: peak learning rates of parameters and adapters; by default the training's.
        keep: writes the weights as they are to a path. Where the training keeps the best ones, it is called
            after each validation with a smaller loss than all before.

    Raises:
        ValueError: the processes cannot share a step evenly, or do not hold the same weights.
        FloatingPointError: a loss, a gradient, a weight or a validation loss is not finite. All processes
            raise it, and the last checkpoint stays. The message gives the step and the samples; if another
            process has the loss, that process.
        Interrupted: the training stopped early, after a checkpoint.
    """
    training.check_processes(ranks())
    device = next(model.parameters()).device
    peaks = peaks or Peaks()
    optimizer = optimizer_of(dense, training, peaks.dense)
    adapter_peaks = peaks.adapters or [training.learning_rate] * len(adapters)
    history, first = History(), 0
    if (checkpoint := _sound_checkpoint(work, training.keep)) is not None:
        first = checkpoint.load(dense, optimizer, adapters, history.__dict__)
        _log.info("resuming at step %d of %d", first, training.steps)
    of_checkpoints: tuple[str, ...] = (history.kept,)  # SHA-256 of their best weights
    parameters, saved = list(model.parameters()), time.monotonic()
    trained = {name: each for name, each in model.named_parameters() if each.requires_grad}
    check_same(f"what the training starts from at step {first}", first, parameters)
    interruption = interruption or Interruption()
    gradients = GradientMean(list(dense.values()))
    start = first * training.accumulation
    batches = samples.batches(seed, training.batch_size // training.accumulation, start, rank(), ranks())
    model.train()
    for step in range(first, training.steps):
        began = time.monotonic()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(training, step, group["peak"])
        optimizer.zero_grad()
        losses: list[list[float]] = []
        times: list[datetime] = []
        for number in range(training.accumulation):
            batch = next(batches).to(device)
            times += batch.times
            losses.append(_backward(model, batch, loss, step, number, training, gradients))
            del batch
        gradients.finish()
        with _naming(times):
            if training.clip_norm is not None:
                clip(dense.values(), adapters, training.clip_norm)
            optimizer.step()
            for adapter, peak in zip(adapters, adapter_peaks, strict=True):
                adapter.step(step, learning_rate(training, step, peak))
        _check_finite(trained, step, times)
        history.seconds.append(time.monotonic() - began)
        done = step + 1
        old = checkpoint_minutes is not None and time.monotonic() - saved >= 60 * checkpoint_minutes
        old, stop = map(any, zip(*gather([old, interruption.reason is not None]), strict=True))
        history.train_loss.append(float(np.mean(list(zip(*losses, strict=True)))))
        if done % training.validate_every == 0 or done == training.steps:
            history.validation_step.append(done)
            found = validate(model, validation, loss, training.validation_samples, done)
            if keep and training.keep == "best" and found < history.best:
                if rank() == 0:
                    history.kept = write_best(keep, work)
                    remove_best(work, (*of_checkpoints, history.kept))
            history.validation_loss.append(found)
            _log.info(
                "step %d of %d: training loss %.5f, validation loss %.5f",
                done,
                training.steps,
                float(np.mean(history.train_loss[-training.validate_every :])),
                history.validation_loss[-1],
            )
        if old or stop or done % training.checkpoint_every == 0:
            check_same(f"the model after step {done}", done, parameters)
            if rank() == 0:
                save_checkpoint(work, done, dense, optimizer, adapters, history.__dict__)
                of_checkpoints = (of_checkpoints[-1], history.kept)
                remove_best(work, of_checkpoints)
            saved = time.monotonic()
        if stop and done < training.steps:
            raise Interrupted(interruption.reason or "another process", f"{done} of {training.steps} steps")
    return history


def _sound_checkpoint(work: Path, keep: str) -> Checkpoint | None:
    """The newest checkpoint that is as it was written, and so are its best weights, in all processes.

    An older one takes the place of a damaged one, which is logged.
    """
    for path in (work / NEWEST, work / OLDER):
        found = None
        try:
            if path.exists():
                checkpoint = read_checkpoint(path)
                if keep == "best":
                    check_best(work, checkpoint.content["curves"]["kept"])
                found = checkpoint
        except DamagedError as error:
            _log.warning("%s; the training goes on from an older checkpoint or begins anew", error)
        if all(sound for (sound,) in gather([found is not None])):
            if rank() == 0:
                path.replace(work / NEWEST)
            return found
    return None


def write_kept(keep: Keep, training: Training, work: Path, path: Path, history: History) -> None:
    """Write the weights that a finished training keeps.

    Args:
        keep: writes the weights as they are to a path.
        training: says which weights are kept.
        work: directory of the training's checkpoints.
        path: new file.
        history: what the training returned.

    Raises:
        DamagedError: the best weights have been damaged since they were written.
    """
    if training.keep == "last":
        keep(path)
    else:
        copy_best(work, history.kept, path)


def _backward(
    model: Backbone,
    batch: Batch,
    loss: Loss,
    step: int,
    number: int,
    training: Training,
    gradients: GradientMean,
) -> list[float]:
    """Run one of a step's backward passes and return the loss of every process."""
    value = loss(model, batch)
    losses = [own for (own,) in gather([value.item()])]
    for process, found in enumerate(losses):
        if not math.isfinite(found):
            place = _told(batch.times) if process == rank() else f"in process {process}"
            raise FloatingPointError(f"loss is {found} at step {step}, {place}")
    if number == training.accumulation - 1:
        gradients.expect()
    with _naming(batch.times):
        (value / training.accumulation).backward()
    return losses


@torch.no_grad()
def _check_finite(trained: Mapping[str, nn.Parameter], step: int, times: Sequence[datetime]) -> None:
    """Stop if a weight is not finite after a step. The processes hold the same ones, so all of them stop.

    AdamW makes each weight NaN whose gradient is not finite, so that one pass over the weights is enough.

    Raises:
        FloatingPointError: naming the gradient or else the weight, the step and this process's samples.
    """
    if bool(nn.utils.get_total_norm(trained.values(), foreach=True).isfinite()):
        return
    # Something is not finite, or all is, but too large for a norm.
    gradients = {f"the gradient of {name}": each.grad for name, each in trained.items()}
    for name, tensor in {**gradients, **trained}.items():
        if tensor is not None and not bool(tensor.isfinite().all()):
            raise FloatingPointError(f"{name} is not finite at step {step}, {_told(times)}")


@contextmanager
def _naming(times: Sequence[datetime]) -> Iterator[None]:
    """Add the samples to what an adapter finds not finite."""
    try:
        yield
    except FloatingPointError as error:
        raise FloatingPointError(f"{error}, {_told(times)}") from error


def _told(times: Sequence[datetime]) -> str:
    return f"sample times {', '.join(map(str, times))}"


@torch.no_grad()
def clip(parameters: Iterable[nn.Parameter], adapters: Sequence[Adapter], largest: float) -> None:
    """Scale down the gradients of a step if their norm, as one vector, exceeds ``largest``.

    Args:
        parameters: dense parameters, with their gradients.
        adapters: adapters, whose own gradients count as far as the step uses them. For a sparse method
            these are only the entries that the step updates.
        largest: largest norm.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    squares = float(nn.utils.get_total_norm(gradients)) ** 2
    squares += sum(adapter.squared_gradient_norm() for adapter in adapters)
    factor = largest / (squares**0.5 + 1e-6)
    if factor < 1:
        for gradient in gradients:
            gradient.mul_(factor)
        for adapter in adapters:
            adapter.scale_gradients(factor)


@torch.no_grad()
def validate(model: Backbone, samples: Samples, loss: Loss, count: int, done: int) -> float:
    """Mean loss of samples that are spread evenly over a split; each process computes some of them.

    Args:
        model: model on its device.
        samples: samples of the split.
        loss: loss of a model on a batch.
        count: number of samples of all processes together.
        done: number of steps that the model has been trained for.

    Raises:
        FloatingPointError: a loss is not finite. All processes raise it, naming the step and the sample.
    """
    device = next(model.parameters()).device
    model.eval()
    chosen = np.unique(np.linspace(0, len(samples) - 1, min(count, len(samples))).round().astype(int))
    values = torch.zeros(len(chosen), dtype=torch.float64)
    for number in range(rank(), len(chosen), ranks()):
        values[number] = loss(model, samples.batch([int(chosen[number])]).to(device)).item()
    model.train()
    for index, value in zip(chosen, sum_over_ranks(values).tolist(), strict=True):
        if not math.isfinite(value):
            time, _ = samples.frames.told(samples.frames.samples[int(index)])
            told = _told([time.astype("datetime64[s]").item()])
            raise FloatingPointError(f"validation loss is {value} after step {done}, {told}")
    return float(np.mean(values.numpy()))


def single_batches(samples: Samples, count: int, seed: int) -> Iterator[Batch]:
    """This process's share of batches of one sample each, chosen by the seed without repeats.

    Args:
        samples: samples to choose from.
        count: number of samples of all processes together.
        seed: seed of the choice.

    Raises:
        ValueError: the split has fewer samples.
    """
    if count > len(samples):
        raise ValueError(f"{count} samples asked for, the split has {len(samples)}")
    for index in islice(samples.order(seed), rank(), count, ranks()):
        yield samples.batch([index])
