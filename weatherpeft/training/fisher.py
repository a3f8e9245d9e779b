"""The Fisher warm-up: which backbone entries a task's calibration samples inform about."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import torch
from torch import nn

from weatherpeft.batch import Batch
from weatherpeft.interfaces import Backbone
from weatherpeft.peft.fisher_store import write_fisher
from weatherpeft.peft.per_sample import GradientStream


def estimate_fisher(
    model: Backbone,
    batches: Iterable[Batch],
    loss: Callable[[Backbone, Batch], torch.Tensor],
    output: Path,
    *,
    scratch: Path | None = None,
) -> int:
    """Estimate the diagonal empirical Fisher information of every backbone parameter.

    The mean over the calibration samples of the squared gradient of the sample's own loss against
    its true target. One batched backward pass serves a batch. The sums lie in float64 files under
    ``scratch``, so that beside the weights one layer's gradient is in memory at a time.

    Args:
        model: in the mode (train or eval) in which it should be judged; left as it was found.
        batches: on the model's device, of any sizes.
        loss: of a model on a batch, the mean over the batch's samples.
        output: directory of the new Zarr store, which must not exist.
        scratch: existing directory for the sums, 8 bytes an entry; by default the system's.

    Returns:
        Number of samples.

    Raises:
        ValueError: there is no batch, or a gradient is not finite.
    """
    parameters = model.backbone_parameters()
    with TemporaryDirectory(prefix="fisher-", dir=scratch) as directory:
        sums = {
            name: torch.from_file(
                str(Path(directory) / str(number)), shared=True, size=parameter.numel(), dtype=torch.float64
            ).view(parameter.shape)
            for number, (name, parameter) in enumerate(parameters.items())
        }

        def add(name: str, gradient: torch.Tensor, square: torch.Tensor) -> None:
            if not bool(square.isfinite().all()):
                raise ValueError(f"the gradient of {name} is not finite after {samples} samples")
            sums[name].add_(square.to("cpu", torch.float64), alpha=stream.batch_size)

        samples = 0
        with (
            _only(cast(nn.Module, model), parameters.values()),
            GradientStream(model.backbone, parameters, add) as stream,
        ):
            for batch in batches:
                loss(model, batch).backward()
                samples += stream.batch_size
        if not samples:
            raise ValueError("found no calibration batch, expected at least one")
        write_fisher(output, ((name, values / samples) for name, values in sums.items()), samples)
    return samples


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
