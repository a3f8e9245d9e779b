"""The Fisher warm-up: which backbone entries a task's calibration samples inform about."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import torch
from torch import nn

from weatherpeft.batch import Batch
from weatherpeft.interfaces import Backbone
from weatherpeft.peft.fisher_store import write_fisher
from weatherpeft.peft.per_sample import GradientStream, mean_over_ranks


def estimate_fisher(
    model: Backbone,
    batches: Iterable[Batch],
    loss: Callable[[Backbone, Batch], torch.Tensor],
    output: Path,
    *,
    work: Path | None = None,
) -> int:
    """Estimate the diagonal empirical Fisher information of every backbone parameter.

    The mean over the calibration samples of the squared gradient of the sample's own loss against
    its true target. One batched backward pass serves a batch. The sums lie in float64 files under
    ``work``, so that beside the weights one layer's gradient is in memory at a time.

    A killed estimate that is called again with the same arguments goes on after its last complete
    batch and ends with the same bytes.

    Args:
        model: in the mode (train or eval) in which it should be judged; left as it was found.
        batches: on the model's device, of any sizes.
        loss: of a model on a batch, the mean over the batch's samples.
        output: directory of the new Zarr store, which must not exist.
        work: directory of this estimate alone, 16 bytes an entry, to be removed afterwards; by
            default a temporary one, from which nothing can go on.

    Returns:
        Number of samples.

    Raises:
        ValueError: there is no batch, or a gradient is not finite.
    """
    if work is None:
        with TemporaryDirectory(prefix="fisher-") as directory:
            return estimate_fisher(model, batches, loss, output, work=Path(directory))
    parameters = model.backbone_parameters()
    sums = _Sums(work, parameters)

    def add(name: str, gradient: torch.Tensor, square: torch.Tensor | None) -> None:
        square = mean_over_ranks(gradient.square() if square is None else square)
        if not bool(square.isfinite().all()):
            raise ValueError(f"the gradient of {name} is not finite after {sums.samples} samples")
        sums.add(name, square, stream.batch_size)

    with (
        _only(cast(nn.Module, model), parameters.values()),
        GradientStream(model.backbone, parameters, add) as stream,
    ):
        for batch in islice(batches, sums.batches, None):
            loss(model, batch).backward()
            sums.complete(stream.batch_size)
    if not sums.samples:
        raise ValueError("found no calibration batch, expected at least one")
    write_fisher(output, ((name, values / sums.samples) for name, values in sums.items()), sums.samples)
    return sums.samples


class _Sums:
    """Sums by parameter in files, of the last complete batch whenever the process ends.

    Each parameter has two files, which the batches write in turns.

    Attributes:
        batches: complete ones.
        samples: in them.
    """

    def __init__(self, directory: Path, parameters: Mapping[str, nn.Parameter]) -> None:
        """Go on from what the directory holds."""
        directory.mkdir(parents=True, exist_ok=True)
        self._progress = directory / "progress.json"
        self.batches, self.samples = 0, 0
        if self._progress.exists():
            self.batches, self.samples = json.loads(self._progress.read_text())
        self._files = {
            name: [
                torch.from_file(
                    str(directory / f"{number}-{turn}"),
                    shared=True,
                    size=parameter.numel(),
                    dtype=torch.float64,
                ).view(parameter.shape)
                for turn in (0, 1)
            ]
            for number, (name, parameter) in enumerate(parameters.items())
        }
        self._missing = set(self._files)

    def add(self, name: str, square: torch.Tensor, count: int) -> None:
        """Add ``count`` times a mean square to a sum, in the batch that is under way."""
        old, new = self._turns(name)
        torch.add(old, square.to("cpu", torch.float64), alpha=count, out=new)
        self._missing.discard(name)

    def complete(self, count: int) -> None:
        """A batch of ``count`` samples is complete."""
        for name in self._missing:
            old, new = self._turns(name)
            new.copy_(old)
        self._missing = set(self._files)
        self.batches, self.samples = self.batches + 1, self.samples + count
        partial = self._progress.with_suffix(".partial")
        partial.write_text(json.dumps([self.batches, self.samples]))
        os.replace(partial, self._progress)

    def items(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Names and sums of the complete batches."""
        for name in self._files:
            yield name, self._turns(name)[0]

    def _turns(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        files = self._files[name]
        if not self.batches:
            files[0].zero_()
        return files[self.batches % 2], files[(self.batches + 1) % 2]


@contextmanager
def _only(model: nn.Module, parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Let only these parameters of a model require a gradient."""
    before = {parameter: parameter.requires_grad for parameter in model.parameters()}
    try:
        model.requires_grad_(False)
        for parameter in parameters:
            parameter.requires_grad_(True)
        yield
    finally:
        for parameter, requires_grad in before.items():
            parameter.requires_grad_(requires_grad)
