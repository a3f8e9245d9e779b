"""An experiment described in a few lines."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from weatherpeft.fields.grid import Grid
from weatherpeft.fields.variables import VariableSet

if TYPE_CHECKING:
    from weatherpeft.samples.frames import SampleFrames


def title(experiment: str, source: str, synthetic: bool, placeholders: Mapping[str, float]) -> list[str]:
    """Lines above the table of ``scores.txt``.

    Args:
        experiment: name of the experiment.
        source: name of the data source.
        synthetic: whether the data is simulated.
        placeholders: value of every declared constant field by name.
    """
    lines = [f"Experiment {experiment}, data source {source}"]
    if synthetic:
        lines.append("A toy planet, not Earth: compare methods, not skill.")
    if placeholders:
        lines.append(f"Constant placeholders, not trained on, not scored: {', '.join(placeholders)}")
    return lines


def facts(
    source: str,
    measured: VariableSet,
    samples: "SampleFrames",
    seeds: Sequence[int],
    counts: Mapping[str, Sequence[int]],
) -> list[tuple[str, str]]:
    """Names and texts for the head of the page.

    Args:
        source: name of the data source.
        measured: variables that the model sees.
        samples: samples of the test split.
        seeds: seeds of the runs.
        counts: number of samples by split, and of how many if no time were missing.
    """
    window, split = samples.window, samples.split
    frames = ", ".join(map(_hours, window.input_hours))
    targets = ", ".join(map(_hours, window.target_hours))
    test = ", ".join(map(str, split.periods))
    members = f", members {', '.join(map(str, split.members))}" if split.members else ""
    found = [
        ("Data source", source),
        ("Input", f"{frames}, grid {_grid(window.input_grid)}"),
        ("Target", f"{targets}, grid {_grid(window.target_grid)}"),
        ("Surface fields", ", ".join(measured.surface).replace("_", " ")),
        ("Upper-air fields", ", ".join(measured.atmospheric).replace("_", " ")),
        ("Pressure levels", f"{', '.join(map(str, measured.levels_hpa))} hPa" if measured.levels_hpa else ""),
        ("Static fields", ", ".join(measured.static).replace("_", " ")),
        ("Test split", f"{test}{members}: {len(samples)} of {samples.expected} samples"),
        (
            "Other splits",
            ", ".join(f"{name}: {own} of {all_} samples" for name, (own, all_) in counts.items()),
        ),
        ("Seeds", ", ".join(map(str, sorted(set(seeds))))),
        *samples.facts(),
    ]
    return [(name, text) for name, text in found if text]


def _hours(hours: int) -> str:
    return f"{hours:+d} h".replace("-", "−") if hours else "0 h"


def _grid(grid: Grid) -> str:
    rows, columns = grid.shape
    return f"{grid.label.replace('deg', '°')} ({rows} × {columns} cells)"
