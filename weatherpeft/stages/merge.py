"""Stage ``merge``: a tuned model as a checkpoint of the upstream package."""

from pathlib import Path


def merge(run: Path, output: Path, base: Path | None = None) -> None:
    """Merge a tuned model into a checkpoint that the upstream package loads by itself, and print how.

    The model that it loads makes the forecast of the tuned one, but for rounding. What no checkpoint can hold
    is refused: prompts, modules beside the layers, a residual prediction, heads for an ensemble.

    Args:
        run: artifact of the finetune stage, or adapter's folder.
        output: new file, for example ``aurora-uk.ckpt``.
        base: artifact or checkpoint with the pretrained weights; by default where it was, seen from the run,
            or the file of the Hub that the folder names.

    Raises:
        ValueError: the model cannot be merged, what it started from is not there or is something else, or the
            file is there already.

    Example:
        weatherpeft merge --run results/default/runs/lora-seed0 --output aurora-uk.ckpt
    """
    import torch

    from weatherpeft.training.merging import check_mergeable, save_merged
    from weatherpeft.training.tuning import tuned_model
    from weatherpeft.tuned.base import found_base
    from weatherpeft.tuned.config import CONFIG
    from weatherpeft.tuned.model import load
    from weatherpeft.tuned.parts import Run

    if (run / CONFIG).is_file():
        print(load(run, base=base, device="cpu", precision="float32").merge().save(output))
        return
    source = Run(run)  # without the fields of load, which no checkpoint needs
    check_mergeable(source.model.methods)
    place, known = source.base(base)
    weights = found_base(known, place)
    tuned = tuned_model(source.model, torch.device("cpu"), weights, statistics=source.statistics)
    tuned.load_result(source.tensors())
    print(save_merged(tuned, output))
