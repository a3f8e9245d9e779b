"""The Fisher warm-up: the diagonal Fisher information of the backbone on a task's calibration samples."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import torch
from torch import nn

from weatherpeft.interfaces import Backbone
from weatherpeft.peft.sfas.fisher_store import write_fisher
from weatherpeft.peft.sfas.per_sample import GradientStream
from weatherpeft.samples.batch import Batch
from weatherpeft.training.distributed import rank, ranks, sum_over_ranks
from weatherpeft.training.fisher_sums import FisherSums
from weatherpeft.training.interruption import Interrupted, Interruption


def estimate_fisher(
    model: Backbone,
    batches: Iterable[Batch],
    loss: Callable[[Backbone, Batch], torch.Tensor],
    output: Path,
    *,
    work: Path | None = None,
    interruption: Interruption | None = None,
) -> int:
    """Estimate the diagonal empirical Fisher information of every backbone parameter, and its mean gradient.

    The information is the mean over the calibration samples of the squared gradient of the sample's own loss
    against its true target. Each batch takes one backward pass. The sums lie in float64 files under ``work``.
    So only one layer's gradient at a time is in memory beside the weights.

    A killed estimate that is called again with the same arguments goes on after its last complete batch and
    ends with the same bytes. Where the sums of that batch are damaged, it goes on from those before or begins
    anew. Each of several processes adds up its own batches without waiting for the others. At the end their
    sums are added, and the first process writes the store.

    Args:
        model: model in the mode (train or eval) in which it is judged; it is left as it was.
        batches: this process's batches, of any sizes, on the model's device.
        loss: loss of a model on a batch, the mean over the batch's samples.
        output: directory of the new Zarr store; it must not exist.
        work: directory of this estimate alone, with 32 bytes per entry and process. The caller removes it.
            By default it is a temporary one, from which a killed estimate cannot go on.
        interruption: tells whether to stop before the last batch; by default never.

    Returns:
        Number of samples of all processes.

    Raises:
        ValueError: there is no batch, a gradient is not finite, or all are zero.
        Interrupted: the estimate stopped early, after a complete batch.
    """
    if work is None:
        with TemporaryDirectory(prefix="fisher-") as directory:
            return estimate_fisher(
                model, batches, loss, output, work=Path(directory), interruption=interruption
            )
    parameters = model.backbone_parameters()
    kept = {(kind, name): value for kind in ("square", "gradient") for name, value in parameters.items()}
    sums = FisherSums(work / f"{rank()}-of-{ranks()}", kept)
    interruption = interruption or Interruption()

    def add(name: str, gradient: torch.Tensor, square: torch.Tensor | None) -> None:
        square = gradient.square() if square is None else square
        if not bool(square.isfinite().all()):
            raise ValueError(f"the gradient of {name} is not finite after {sums.samples} samples")
        sums.add(("square", name), square, stream.batch_size)
        sums.add(("gradient", name), gradient, stream.batch_size)

    with (
        _only(cast(nn.Module, model), parameters.values()),
        GradientStream(model.backbone, parameters, add) as stream,
    ):
        for batch in islice(batches, sums.batches, None):
            loss(model, batch).backward()
            sums.complete(stream.batch_size)
            if interruption.reason:
                raise Interrupted(interruption.reason, f"{sums.samples} samples")
    samples = int(sum_over_ranks(torch.tensor(sums.samples)))
    if not samples:
        raise ValueError("found no calibration batch, expected at least one")
    informative = []

    def means(kind: str) -> Iterator[tuple[str, torch.Tensor]]:
        for (own, name), values in sums.items():
            if own == kind:
                mean = sum_over_ranks(values.clone()) / samples
                informative.append(bool(mean.any()))
                yield name, mean

    squares, gradients = means("square"), means("gradient")
    if rank() == 0:
        write_fisher(output, squares, samples, gradients)
    else:
        deque(chain(squares, gradients), maxlen=0)  # takes part in the sums
    if not any(informative):
        raise ValueError(
            f"the loss of {samples} samples depends on no weight of the backbone: all gradients are 0"
        )
    return samples


@contextmanager
def _only(model: nn.Module, parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Make only these parameters of a model require a gradient."""
    before = {parameter: parameter.requires_grad for parameter in model.parameters()}
    try:
        model.requires_grad_(False)
        for parameter in parameters:
            parameter.requires_grad_(True)
        yield
    finally:
        for parameter, requires_grad in before.items():
            parameter.requires_grad_(requires_grad)
