"""Where a method that chooses at each step what it updates has spent its updates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from weatherpeft.artifacts import store
from weatherpeft.artifacts.manifest import checked
from weatherpeft.reporting.figures import Image, image_of, style

if TYPE_CHECKING:
    from numpy.typing import NDArray

UPDATES = "updates.zarr"


@dataclass(frozen=True)
class Budget:
    """Updates of a run, summed over the parameters of a block or of a kind.

    Attributes:
        name: of the run.
        parts: names of blocks or kinds, in the order of the model.
        updates: share of the updates in each part of the run, ``(name, part)``, in percent.
        entries: share of the entries, ``(name,)``, in percent.
    """

    name: str
    parts: tuple[str, ...]
    updates: "NDArray[np.float64]"
    entries: "NDArray[np.float64]"


def block_and_kind(parameter: str) -> tuple[str, str]:
    """Split the name of a parameter behind its second number, or behind its only one.

    >>> block_and_kind("encoder_layers.0.blocks.1.attn.qkv.weight")
    ('encoder_layers.0.blocks.1', 'attn.qkv.weight')
    >>> block_and_kind("encoder_layers.0.downsample.reduction.weight")
    ('encoder_layers.0', 'downsample.reduction.weight')
    >>> block_and_kind("norm.weight")
    ('norm', 'weight')
    """
    parts = parameter.split(".")
    numbers = [place for place, part in enumerate(parts) if part.isdigit()]
    cut = numbers[:2][-1] + 1 if numbers else len(parts) - 1
    return ".".join(parts[:cut]), ".".join(parts[cut:])


def budgets(name: str, run: Path) -> list[Budget]:
    """The updates of a run by block and by kind; empty if all its steps train the same parameters.

    Args:
        name: name of the run.
        run: artifact of the finetune stage.
    """
    if not (run / UPDATES).is_dir():
        return []
    dataset = store.open_dataset(run / UPDATES)
    parameters = [block_and_kind(str(each)) for each in dataset["parameter"].values]
    updates, entries = dataset["updates"].values, dataset["entries"].values
    found = []
    for which in (0, 1):
        labels = [pair[which] for pair in parameters]
        parts = tuple(dict.fromkeys(labels))
        own = np.array([[label == part for label in labels] for part in parts])
        share = own @ updates / updates.sum(axis=0)
        found.append(Budget(name, parts, 100 * share, 100 * (own @ entries) / entries.sum()))
    return found


def chosen_by_fisher(run: Path, fisher: Path) -> float:
    """How much of what a run touched would have been chosen by the pretrained model's Fisher information.

    Memory holds as many values as the run touched, and one parameter's.

    Args:
        run: artifact of the finetune stage with ``updates.zarr``.
        fisher: artifact of the fisher stage.

    Returns:
        Share of the touched entries that are among as many entries with the largest Fisher information, in
        percent.
    """
    import torch
    from safetensors import safe_open

    from weatherpeft.peft.sfas.fisher_store import read_fisher
    from weatherpeft.peft.sfas.gaps import decoded

    pool = {str(name) for name in store.open_dataset(run / UPDATES)["parameter"].values}
    touched: dict[str, torch.Tensor] = {}
    with safe_open(checked(run / "tuned.safetensors"), "pt") as tensors:
        for key in tensors.keys():
            if key.endswith(".gaps"):
                touched[key.split("sfas.", 1)[1].removesuffix(".gaps")] = decoded(tensors.get_tensor(key))
    count = sum(map(len, touched.values()))
    best, ours = torch.empty(0), torch.empty(0, dtype=torch.bool)
    for name, values in read_fisher(fisher / "fisher.zarr"):
        if name not in pool:
            continue
        flat = values.flatten()
        own = torch.zeros(len(flat), dtype=torch.bool)
        if name in touched:
            own[touched[name]] = True
        best, ours = torch.cat([best, flat]), torch.cat([ours, own])
        if len(best) > count:
            best, place = best.topk(count)
            ours = ours[place]
    return 100 * float(ours.sum()) / count


PANELS = 3
"""Largest number of panels side by side."""


def figures(runs: Mapping[str, Path]) -> list[Image]:
    """Maps of the updates by block and by kind, of every run that has them.

    Args:
        runs: artifacts of the finetune stage by name.
    """
    by_block: list[Budget] = []
    by_kind: list[Budget] = []
    for name, run in runs.items():
        for found, budget in zip((by_block, by_kind), budgets(name, run), strict=False):
            found.append(budget)
    return [
        figure(found[first : first + PANELS])
        for found in (by_block, by_kind)
        for first in range(0, len(found), PANELS)
    ]


def figure(shown: Sequence[Budget]) -> Image:
    """A map of the updates over the run, one panel for each budget, with the share of the entries.

    Args:
        shown: budgets.
    """
    rows = max(len(budget.parts) for budget in shown)
    with style({"axes.grid": False, "font.size": 8.0}):
        drawing = Figure(figsize=(12.2, max(2.4, 0.9 + 0.22 * rows)), layout="constrained")
        axes = drawing.subplots(1, len(shown), squeeze=False)[0]
        largest = max(budget.updates.max() for budget in shown)
        for axis, budget in zip(axes, shown, strict=True):
            image = axis.imshow(budget.updates, aspect="auto", cmap="viridis", vmin=0, vmax=largest)
            labels = [
                f"{part} ({share:.1f} %)" for part, share in zip(budget.parts, budget.entries, strict=True)
            ]
            axis.set_yticks(range(len(labels)), labels)
            axis.set_xticks([])
            axis.set_xlabel("First step to last step")
            axis.set_title(budget.name)
        drawing.colorbar(image, ax=axes, label="Share of the updates (%)")
        return image_of(drawing, f"Where {', '.join(budget.name for budget in shown)} spent updates", 160)


def overlap_text(shares: Mapping[str, float]) -> str:
    """A sentence for each run on the overlap with the pretrained model's Fisher information."""
    return " ".join(
        f"{name}: {share:.0f} % of the entries that it touched are among as many with the largest Fisher "
        "information of the pretrained model."
        for name, share in shares.items()
    )
