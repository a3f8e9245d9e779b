"""The Fisher warm-up: the diagonal Fisher information of the backbone on a task's calibration samples."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
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
from weatherpeft.training.checkpoint import replacing, to_disk
from weatherpeft.training.distributed import rank, ranks, sum_over_ranks
from weatherpeft.training.interruption import Interrupted, Interruption

_Key = tuple[str, str]
"""What is summed, ``square`` or ``gradient``, and the parameter's name."""


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
    ends with the same bytes. Each of several processes adds up its own batches without waiting for the
    others. At the end their sums are added, and the first process writes the store.

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
    sums = _Sums(work / f"{rank()}-of-{ranks()}", kept)
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


class _Sums:
    """Sums by kind and parameter in files.

    Whenever the process or the node ends, they are those of complete batches.

    There are two files of all sums. The batches write them in turns.

    Attributes:
        batches: number of complete batches.
        samples: number of samples in them.
    """

    def __init__(self, directory: Path, parameters: Mapping[_Key, nn.Parameter]) -> None:
        """Go on from what the directory holds."""
        directory.mkdir(parents=True, exist_ok=True)
        self._progress = directory / "progress.json"
        self.batches, self.samples = 0, 0
        if self._progress.exists():
            self.batches, self.samples = json.loads(self._progress.read_text())
        sizes = {name: parameter.numel() for name, parameter in parameters.items()}
        self._paths = [directory / f"sums-{turn}" for turn in (0, 1)]
        self._files: list[dict[_Key, torch.Tensor]] = []
        for path in self._paths:
            path.touch()  # torch alone would hide it from other users
            everything = torch.from_file(
                str(path), shared=True, size=sum(sizes.values()), dtype=torch.float64
            )
            parts = zip(parameters.items(), everything.split(list(sizes.values())), strict=True)
            self._files.append({name: part.view(parameter.shape) for (name, parameter), part in parts})
        self._missing = set(sizes)

    def add(self, name: _Key, mean: torch.Tensor, count: int) -> None:
        """Add ``count`` times a mean to a sum, as part of the current batch."""
        old, new = self._turns()
        torch.add(old[name], mean.to("cpu", torch.float64), alpha=count, out=new[name])
        self._missing.discard(name)

    def complete(self, count: int) -> None:
        """Complete the current batch of ``count`` samples."""
        old, new = self._turns()
        for name in self._missing:
            new[name].copy_(old[name])
        to_disk(self._paths[(self.batches + 1) % 2])
        self._missing = set(new)
        self.batches, self.samples = self.batches + 1, self.samples + count
        with replacing(self._progress) as stream:
            stream.write(json.dumps([self.batches, self.samples]).encode())

    def items(self) -> Iterable[tuple[_Key, torch.Tensor]]:
        """Keys and sums of the complete batches."""
        return self._turns()[0].items()

    def _turns(self) -> tuple[dict[_Key, torch.Tensor], dict[_Key, torch.Tensor]]:
        """The sums of the complete batches, zero before the first batch, and those being written."""
        return self._files[self.batches % 2], self._files[(self.batches + 1) % 2]


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
