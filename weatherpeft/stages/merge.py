"""Stage ``merge``: a run as a checkpoint of the upstream package."""

from pathlib import Path
from typing import Any

from weatherpeft.artifacts import store
from weatherpeft.training.model import FinetuneSpec


def merge(run: Path, output: Path, pretrained: Path | None = None, statistics: Path | None = None) -> None:
    """Merge a tuned model into a checkpoint that the upstream package loads by itself, and print how.

    The model that it loads makes the forecast of the tuned one, but for rounding. What no checkpoint can hold
    is refused: prompts, modules beside the layers, a residual prediction, heads for an ensemble.

    Args:
        run: artifact of the finetune stage, or adapter's folder.
        output: new file, for example ``aurora-uk.ckpt``.
        pretrained: artifact or checkpoint that the run started from; by default where it was, seen from the
            run.
        statistics: artifact of the statistics stage that the run used; by default where it was.

    Raises:
        ValueError: the run cannot be merged, what it started from is not there or is something else, or the
            file is there already.

    Example:
        weatherpeft merge --run results/default/runs/lora-seed0 --output aurora-uk.ckpt
    """
    from weatherpeft.training.merging import check_mergeable, save_merged
    from weatherpeft.tuned.config import CONFIG

    if (run / CONFIG).is_file():
        from weatherpeft.tuned.model import load

        print(load(run, base=pretrained, device="cpu", precision="float32").merge().save(output))
        return
    record = store.read_provenance(run)
    if "trainable_total" not in record:
        raise ValueError(f"{run}: no run of the finetune stage")
    model = FinetuneSpec.parse(record["spec"]).chosen(record).model
    check_mergeable(model.methods)
    weights = _input(run, record, "pretrained", pretrained) if model.pretrained else None
    numbers = _input(run, record, "statistics", statistics)

    import torch

    from weatherpeft.training.checkpoint import load_tensors
    from weatherpeft.training.tuning import tuned_model

    tuned = tuned_model(model, torch.device("cpu"), weights, statistics=numbers)
    tuned.load_result(load_tensors(run / "tuned.safetensors"))
    print(save_merged(tuned, output))


def _input(run: Path, record: dict[str, Any], kind: str, given: Path | None) -> Path:
    """An input of a run: what is given, or else what lies where it was when the run was made.

    Raises:
        ValueError: there is none, or it is not what the run was made with.
    """
    known: dict[str, str] = record["inputs"]
    root = run.resolve().parents[2]
    places = [given] if given else [root / name for name in known if name.rpartition("/")[2] == kind]
    for place in places:
        if not place.exists():
            raise ValueError(f"{place}: is not there; give it as --{kind}")
        if store.artifact_digest(place) not in known.values():
            raise ValueError(f"{place}: is not what {run} was made with")
        return place
    raise ValueError(f"{run}: its record names no {kind} beside it; give --{kind}")
