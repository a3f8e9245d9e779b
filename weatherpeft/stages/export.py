"""Stage ``export``: a run as a folder that others load."""

from pathlib import Path


def export(run: Path, output: Path, base: Path | None = None) -> None:
    """Write a run of the workflow as an adapter's folder in the layout of Hugging Face peft.

    The folder has what was tuned, the fields without time, the normalization of the input, and a model card
    with the scores of the experiment's report. The pretrained weights are named in it, not copied.

    Args:
        run: artifact of the finetune stage, among the other artifacts of its experiment.
        output: new folder.
        base: checkpoint that the run started from, if it is the user's own.

    Raises:
        ValueError: it is no run, or something that it was made from is gone or damaged.

    Example:
        weatherpeft export --run results/default/runs/weatherpeft-seed0 --output my_adapter
    """
    from weatherpeft.tuned.model import load

    load(run, base=base).save(output)
