"""Stage ``choose``: the candidate of a run with the smallest validation loss."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from weatherpeft.artifacts import store
from weatherpeft.artifacts.costs import COST, SIZES
from weatherpeft.artifacts.manifest import BOOKKEEPING, check_artifact
from weatherpeft.spec import Spec
from weatherpeft.training.model import FinetuneSpec


class ChooseSpec(Spec):
    """The candidates of a run."""

    candidates: tuple[FinetuneSpec, ...] = Field(min_length=1)
    """Training of each candidate, with the run's first seed."""


def choose(spec: ChooseSpec, candidates: Sequence[Path], output: Path) -> None:
    """Choose the candidate of a run with the smallest validation loss.

    The loss is that of the weights that a candidate keeps: the last one, or the smallest. Of equal losses
    the first one counts. A candidate that diverged is not chosen. Nothing of the test period is read.

    Args:
        spec: the candidates.
        candidates: artifacts of the finetune stage, in the order of the spec.
        output: artifact with the files of the chosen one. Its record gives ``candidate``, its number, and
            ``validation_loss`` of all, null where it is not finite. ``candidate_inputs`` are the inputs of
            the chosen one.

    Raises:
        ValueError: an artifact is not that of its candidate, or no loss is finite.

    Example:
        weatherpeft choose --spec @choose.json
            --candidates results/test/candidates/full-seed0-c0 results/test/candidates/full-seed0-c1
            --output results/test/runs/full-seed0
    """
    import shutil

    import numpy as np

    if len(candidates) != len(spec.candidates):
        raise ValueError(f"expected {len(spec.candidates)} candidates, found {len(candidates)}")
    losses: list[float | None] = []
    for own, path in zip(spec.candidates, candidates, strict=True):
        record = store.read_provenance(path)
        if record["spec"] != own.model_dump(mode="json"):
            raise ValueError(f"{path}: not the candidate of the spec")
        if "diverged" in record:
            losses.append(None)
            continue
        curve = store.open_dataset(path / "history.zarr")["validation_loss"].values
        kept = curve[np.isfinite(curve)] if own.training.keep == "best" else curve[-1:]
        losses.append(float(kept.min()) if np.isfinite(kept).any() else None)
    finite = {number: loss for number, loss in enumerate(losses) if loss is not None}
    if not finite:
        raise ValueError(f"no candidate has a finite validation loss: {', '.join(map(str, candidates))}")
    chosen = min(finite, key=finite.__getitem__)
    check_artifact(candidates[chosen])
    record = store.read_provenance(candidates[chosen])
    facts = {name: record[name] for name in SIZES}
    facts |= {"candidate": chosen, "validation_loss": losses, "candidate_inputs": record["inputs"]}
    with store.artifact(output, spec, __name__, candidates, facts, [COST]) as directory:
        for source in sorted(candidates[chosen].iterdir()):
            if source.name in BOOKKEEPING:
                continue
            copy = shutil.copytree if source.is_dir() else shutil.copyfile
            copy(source, directory / source.name)
