"""A tuned model as a file that the upstream package loads by itself."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from weatherpeft.interfaces import PeftMethod

if TYPE_CHECKING:
    import torch

    from weatherpeft.training.tuning import TunedModel

INSTEAD = "keep the adapter, which weatherpeft.load and weatherpeft apply read"
"""What to do with a tuned model that cannot be merged."""


def refusal(name: str, reason: str) -> str:
    """What is said where something cannot be merged."""
    return f"{name}: {reason}, so it cannot be merged; {INSTEAD}"


def check_mergeable(methods: Sequence[PeftMethod]) -> None:
    """Check before any weights are read that no method stays apart.

    Raises:
        ValueError: naming the method, and what to do instead.
    """
    for method in methods:
        if method.kept_apart:
            raise ValueError(refusal(method.name, method.kept_apart))


def save_merged(
    tuned: "TunedModel", output: Path, tensors: Mapping[str, "torch.Tensor"] | None = None
) -> str:
    """Write the checkpoint of a tuned model.

    Args:
        tuned: model with its result loaded.
        output: new file, which appears when it is complete.
        tensors: what ``TunedModel.merged`` gave; by default it is called.

    Returns:
        Lines of Python with which the upstream package loads it.

    Raises:
        ValueError: the file is there already, or the model cannot be merged (see ``TunedModel.merged``).
    """
    if output.exists():
        raise ValueError(f"{output}: is there already; give the name of a new file")
    tensors = tuned.merged() if tensors is None else tensors
    output.parent.mkdir(parents=True, exist_ok=True)
    unfinished = output.with_name(f".{output.name}.partial")
    try:
        tuned.model.save(unfinished, tensors)
        os.replace(unfinished, output)
    finally:
        unfinished.unlink(missing_ok=True)
    return tuned.model.loading(output)
