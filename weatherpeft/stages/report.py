"""Stage ``report``: one page, one table and one text that compare the runs of an experiment."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from weatherpeft.spec import Spec
from weatherpeft.variables import FieldSet
from weatherpeft.window import Split, Window


class ReportedRun(Spec):
    """A fine-tuning run, as the report names it."""

    label: str
    """Folder name of its artifacts, for example ``lora-seed0``."""
    name: str
    """Row of the tables; runs with the same name differ by their seed alone."""
    seed: int
    """Of the run."""
    start: Literal["pretrained", "random"]
    """Weights that the run started from."""


class ReportSpec(Spec):
    """What the report compares."""

    experiment: str
    """Name of the experiment."""
    source: str
    """Name of the data source."""
    fields: FieldSet
    """Variables in the data and declared placeholders."""
    window: Window
    """Frames and grids of a sample."""
    baselines: tuple[Literal["interpolation", "regression"], ...]
    """Forecasts without a trained network, scored beside the runs."""
    runs: tuple[ReportedRun, ...]
    """Fine-tuning runs, in the order of the experiment."""
    test: Split
    """Samples that are scored and shown."""


def report(
    spec: ReportSpec,
    data: Sequence[Path],
    scores: Sequence[Path],
    predictions: Sequence[Path],
    runs: Sequence[Path],
    output: Path,
    benchmarks: Path | None = None,
    pretrained: Path | None = None,
) -> None:
    """Write the report."""
    raise NotImplementedError
