"""The training loop: one code path for pretraining and for every method."""

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import nn

from weatherpeft.interfaces import Adapter, Backbone
from weatherpeft.samples.batch import Batch, Samples
from weatherpeft.training.checkpoint import load_checkpoint, save_checkpoint
from weatherpeft.training.distributed import GradientMean, check_same, gather, rank, ranks, sum_over_ranks
from weatherpeft.training.interruption import Interrupted, Interruption
from weatherpeft.training.spec import Training

Loss = Callable[[Backbone, Batch], torch.Tensor]
_log = logging.getLogger(__name__)


def learning_rate(training: Training, step: int) -> float:
    """Learning rate of a step, from 0: linear warm-up, then cosine to 0.

    >>> training = Training(steps=10, learning_rate=1.0, warmup_steps=2)
    >>> [round(learning_rate(training, step), 3) for step in (0, 1, 2, 6, 9)]
    [0.5, 1.0, 1.0, 0.5, 0.038]
    """
    if step < training.warmup_steps:
        return training.learning_rate * (step + 1) / training.warmup_steps
    progress = (step - training.warmup_steps) / (training.steps - training.warmup_steps)
    return training.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


@dataclass
class History:
    """Curves of a run.

    Attributes:
        train_loss: of every step.
        validation_step: steps after which the model was validated.
        validation_loss: mean loss of the validation samples then.
    """

    train_loss: list[float] = field(default_factory=list)
    validation_step: list[int] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)

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
) -> History:
    """Train a model in place, in one process or in several.

    The result is a function of the arguments: a killed training that is called again with the same
    ``work`` directory goes on from its last checkpoint and ends with the same weights. It may go on in
    another number of processes; then, as in any comparison between numbers of processes, the result
    is the same but for rounding.

    Args:
        model: on its device.
        dense: every parameter that AdamW trains, by name.
        adapters: what updates parameters beyond that.
        samples: training samples; their order is a function of the seed.
        validation: validation samples.
        loss: of a model on a batch.
        training: schedule.
        seed: of the sample order.
        work: directory of the running training's checkpoint, of this training alone, the same for
            all processes.
        interruption: whether to stop before the last step; by default never.
        checkpoint_minutes: write a checkpoint when the last one is so old, whatever the step.

    Raises:
        ValueError: the processes cannot share a step evenly, or do not hold the same weights.
        FloatingPointError: a loss that is not finite; the message gives the step and the samples.
        Interrupted: after a checkpoint.
    """
    training.check_processes(ranks())
    device = next(model.parameters()).device
    decayed = [parameter for parameter in dense.values() if parameter.ndim > 1]
    others = [parameter for parameter in dense.values() if parameter.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": training.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW([group for group in groups if group["params"]], betas=training.betas)
    history, first = History(), 0
    checkpoint = work / "checkpoint.pt"
    if checkpoint.exists():
        first = load_checkpoint(checkpoint, dense, optimizer, adapters, history.__dict__)
        _log.info("resuming at step %d of %d", first, training.steps)
    parameters, saved = list(model.parameters()), time.monotonic()
    check_same(f"what the training starts from at step {first}", first, parameters)
    interruption = interruption or Interruption()
    gradients = GradientMean(list(dense.values()))
    start = first * training.accumulation
    batches = samples.batches(seed, training.batch_size // training.accumulation, start, rank(), ranks())
    model.train()
    for step in range(first, training.steps):
        rate = learning_rate(training, step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        losses = [
            _backward(model, next(batches).to(device), loss, step, number, training, gradients)
            for number in range(training.accumulation)
        ]
        gradients.finish()
        if training.clip_norm is not None:
            clip(dense.values(), adapters, training.clip_norm)
        optimizer.step()
        for adapter in adapters:
            adapter.step(step, rate)
        done = step + 1
        old = checkpoint_minutes is not None and time.monotonic() - saved >= 60 * checkpoint_minutes
        old, stop = map(any, zip(*gather([old, interruption.reason is not None]), strict=True))
        history.train_loss.append(float(np.mean(gather(losses))))
        if done % training.validate_every == 0 or done == training.steps:
            history.validation_step.append(done)
            history.validation_loss.append(validate(model, validation, loss, training.validation_samples))
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
                save_checkpoint(checkpoint, done, dense, optimizer, adapters, history.__dict__)
            saved = time.monotonic()
        if stop and done < training.steps:
            raise Interrupted(interruption.reason or "another process", f"{done} of {training.steps} steps")
    return history


def _backward(
    model: Backbone,
    batch: Batch,
    loss: Loss,
    step: int,
    number: int,
    training: Training,
    gradients: GradientMean,
) -> float:
    """One of a step's backward passes; returns the loss."""
    value = loss(model, batch)
    if not torch.isfinite(value):
        times = ", ".join(map(str, batch.times))
        raise FloatingPointError(f"loss is {value.item()} at step {step}, sample times {times}")
    if number == training.accumulation - 1:
        gradients.expect()
    (value / training.accumulation).backward()
    return value.item()


@torch.no_grad()
def clip(parameters: Iterable[nn.Parameter], adapters: Sequence[Adapter], largest: float) -> None:
    """Scale down the gradients of a step whose norm, as one vector, exceeds ``largest``.

    Args:
        parameters: dense ones, with their gradients.
        adapters: whose own gradients count as far as they are used: of a sparse method the entries
            that this step updates, and no others.
        largest: norm.
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
def validate(model: Backbone, samples: Samples, loss: Loss, count: int) -> float:
    """Mean loss of samples that are spread evenly over a split, each computed by one process."""
    device = next(model.parameters()).device
    model.eval()
    chosen = np.unique(np.linspace(0, len(samples) - 1, min(count, len(samples))).round().astype(int))
    values = torch.zeros(len(chosen), dtype=torch.float64)
    for number in range(rank(), len(chosen), ranks()):
        values[number] = loss(model, samples.batch([int(chosen[number])]).to(device)).item()
    model.train()
    return float(np.mean(sum_over_ranks(values).numpy()))


def single_batches(samples: Samples, count: int, seed: int) -> Iterator[Batch]:
    """Batches of one sample each, chosen by the seed without repeats, as far as they are this process's.

    Args:
        samples: to choose from.
        count: samples of all processes together.
        seed: of the choice.

    Raises:
        ValueError: if the split has fewer samples than asked for.
    """
    if count > len(samples):
        raise ValueError(f"{count} samples asked for, the split has {len(samples)}")
    for index in islice(samples.order(seed), rank(), count, ranks()):
        yield samples.batch([index])
