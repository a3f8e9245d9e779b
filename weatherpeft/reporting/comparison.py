"""Every method and baseline against one reference: text, tidy CSV and a scorecard."""

import csv
import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from weatherpeft.reporting.figures import Image, image_of, style
from weatherpeft.reporting.plain_text import table_text
from weatherpeft.reporting.scores import Channel, Entry
from weatherpeft.verification.score_series import Runs, compare_series, main_score, read_series
from weatherpeft.verification.significance import FALSE_DISCOVERIES, LEVEL, Comparison

ALL_FIELDS = "all"
"""Field, in the CSV, of the geometric mean over the fields."""
_CSV_COLUMNS = (
    *("run", "field", "score", "units", "difference", "lower", "upper"),
    *("percent", "percent_lower", "percent_upper", "p", "q", "seeds", "block_days"),
)
_WIDTH = 120
_CELL = (0.36, 0.28)
"""Width and height of a cell of the scorecard in inches."""


@dataclass(frozen=True)
class Compared:
    """Methods and baselines against one of them.

    Attributes:
        reference: name of the one that the others are compared with.
        score: name of the score, of which lower is better.
        channels: fields of the comparisons.
        comparisons: each of the others by name: baselines, then methods, both from the worst to the best.
        baselines: names of the baselines.
    """

    reference: str
    score: str
    channels: Sequence[Channel]
    comparisons: Mapping[str, Comparison]
    baselines: Sequence[str]

    heads = ("name", "mean", f"{LEVEL:.0%} interval", "better", "worse", "seeds", "block")
    """Titles of the columns of ``lines``."""

    def lines(self) -> list[list[str]]:
        """Cells of a line for each of the others."""
        count = len(self.channels)
        return [
            [
                name,
                _percent(found.mean_percent),
                f"{_percent(found.mean_percent_lower)} to {_percent(found.mean_percent_upper)}",
                f"{found.better.sum()} of {count}",
                f"{found.worse.sum()} of {count}",
                str(found.seeds),
                f"{found.block_days} d",
            ]
            for name, found in self.comparisons.items()
        ]

    @property
    def note(self) -> str:
        """How to read the lines."""
        score, count = self.score.upper(), len(self.channels)
        parts = [
            f"Mean: how far the {score} lies above that of {self.reference}, as the geometric mean over",
            f"{count} fields; below zero is better. Intervals are over days and seeds, from a bootstrap of",
            "blocks of successive days; the last column has their length. Better and worse: fields that",
            "differ, after a correction for their number",
            f"(false discovery rate {FALSE_DISCOVERIES:.0%}).",
        ]
        if any(found.seeds == 1 for found in self.comparisons.values()):
            parts.append("With one seed an interval covers days only.")
        return " ".join(parts)

    def text(self) -> str:
        """The lines as aligned plain text below a title, with the note."""
        lines = table_text([list(self.heads), *self.lines()])
        return "\n".join([f"Compared with {self.reference}", lines, *textwrap.wrap(self.note, _WIDTH)])

    def csv_text(self) -> str:
        """Tidy CSV with a line for every method and field, and one for all fields, which has percent only."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(_CSV_COLUMNS)
        for name, found in self.comparisons.items():
            last = [found.seeds, found.block_days]
            for place, channel in enumerate(self.channels):
                difference = [found.difference, found.lower, found.upper]
                relative = [found.percent, found.percent_lower, found.percent_upper, found.p, found.q]
                writer.writerow(
                    [name, channel.label, self.score, channel.units]
                    + [f"{values[place]:.6e}" for values in (*difference, *relative)]
                    + last
                )
            mean = [found.mean_percent, found.mean_percent_lower, found.mean_percent_upper, found.mean_p]
            cells = [f"{value:.6e}" for value in mean]
            writer.writerow([name, ALL_FIELDS, self.score, "", "", "", "", *cells, "", *last])
        return stream.getvalue()

    def scorecard(self) -> Image:
        """The differences in percent, a row for each method and a column for each field and their mean."""
        names, found = list(self.comparisons), list(self.comparisons.values())
        percent = np.array([[each.mean_percent, *each.percent] for each in found])
        unclear = np.array(
            [
                [
                    each.mean_percent_lower <= 0 <= each.mean_percent_upper,
                    *((each.lower <= 0) & (each.upper >= 0)),
                ]
                for each in found
            ]
        )
        own = [name not in self.baselines for name in names]
        # What is far off, such as a baseline or a random start, does not take the colors from the rest.
        shown = np.abs(percent[own] if any(own) else percent)
        largest = float(np.nanpercentile(shown, 75)) if np.isfinite(shown).any() else 0.0
        largest = largest or 1.0
        rows, columns = percent.shape
        width = max(6.5, 0.085 * max(map(len, names)) + _CELL[0] * columns + 0.5)
        with style({"axes.grid": False, "axes.spines.top": True, "axes.spines.right": True}):
            figure = Figure(figsize=(width, _CELL[1] * rows + 1.9), layout="constrained")
            axis = figure.subplots()
            mesh = axis.pcolormesh(
                percent, cmap="RdBu_r", vmin=-largest, vmax=largest, edgecolors="white", linewidth=0.6
            )
            for row, column in np.argwhere(unclear):
                axis.add_patch(
                    Rectangle(
                        (column, row), 1, 1, fill=False, hatch="/////", edgecolor="#5b6670", linewidth=0
                    )
                )
            for row, value in enumerate(percent[:, 0]):
                color = "white" if abs(value) > 0.7 * largest else "black"
                axis.text(0.5, row + 0.5, f"{value:+.1f}", ha="center", va="center", fontsize=7, color=color)
            axis.axvline(1, color="black", linewidth=1)
            axis.set_xticks(np.arange(columns) + 0.5, ["mean", *(c.label for c in self.channels)])
            axis.set_yticks(np.arange(rows) + 0.5, names)
            axis.tick_params(length=0, labelsize=9)
            axis.tick_params(axis="x", labelrotation=90)
            axis.invert_yaxis()
            figure.colorbar(
                mesh,
                ax=axis,
                location="bottom",
                extend="both",
                aspect=50,
                fraction=0.3 / figure.get_figheight(),
                label=f"{self.score.upper()} against {self.reference} (%); blue is better",
            )
            text = f"{self.score.upper()} of every method and field against {self.reference} in percent"
            return image_of(figure, text, 140)


def _percent(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:+.2f}%"


def compare_with(
    reference: str, entries: Sequence[Entry], channels: Sequence[Channel], scores_of: Mapping[str, Path]
) -> Compared | None:
    """Compare every method and baseline with one of them.

    Args:
        reference: name of the method or baseline that the others are compared with.
        entries: runs and baselines.
        channels: fields of the scores.
        scores_of: artifact of the evaluate stage by label of run or baseline.

    Returns:
        The comparisons; None if there is no other.

    Raises:
        ValueError: an artifact lacks the score or a field, or no entry has the name of the reference.
    """
    names = list(dict.fromkeys(entry.name for entry in entries))
    if reference not in names:
        raise ValueError(f"reference: no run or baseline {reference}; known are {', '.join(names)}")
    score = main_score(next(scores_of[entry.label] for entry in entries if entry.name == reference))
    labels = [channel.label for channel in channels]

    def runs(name: str) -> Runs:
        own = [entry for entry in entries if entry.name == name]
        return {entry.seed: read_series(scores_of[entry.label], score).sel(field=labels) for entry in own}

    others, baselines = runs(reference), [entry.name for entry in entries if entry.kind == "baseline"]
    found = {name: compare_series(runs(name), others) for name in names if name != reference}
    if not found:
        return None
    order = sorted(found, key=lambda name: (name not in baselines, -np.nan_to_num(found[name].mean_percent)))
    return Compared(reference, score, channels, {name: found[name] for name in order}, baselines)
